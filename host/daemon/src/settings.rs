//! What the configuration file, the command line, the environment and the defaults come to, in this order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lunbox_conf::{Conf, ForeignSubtypes};
use lunbox_log::Level;

use crate::cli::Cli;
use crate::foreign::Unclaimed;

/// The variable that names the directory of the log.
pub const LOG_DIRECTORY_VARIABLE: &str = "TCMU_LOGDIR";

/// The directory of the log if nobody names one.
pub const LOG_DIRECTORY: &str = "/var/log";

/// What can be changed while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much is logged.
    pub level: Level,
    /// Where the log file is.
    pub log_directory: PathBuf,
    /// What becomes of devices whose subtype nobody is known to serve.
    pub unclaimed: Unclaimed,
    /// Where metrics are fetched, as the file has it; none unless it does.
    pub metrics: Option<String>,
}

/// What the file is laid over: it does not change while the daemon runs, and is there again when a key disappears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    level: Level,
    log_directory: PathBuf,
}

impl Base {
    /// The command line over the environment over the defaults. `variable` is the value of
    /// [`LOG_DIRECTORY_VARIABLE`]; an empty one is none.
    pub fn new(cli: &Cli, variable: Option<OsString>) -> Self {
        let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
        let default = || PathBuf::from(LOG_DIRECTORY);
        Self {
            level: cli.level().unwrap_or(Level::INFO),
            log_directory: cli.tcmu_log_dir.clone().or(variable).unwrap_or_else(default),
        }
    }

    /// The same of this process.
    pub fn of_process(cli: &Cli) -> Self {
        Self::new(cli, std::env::var_os(LOG_DIRECTORY_VARIABLE))
    }

    /// What holds with this file.
    pub fn under(&self, conf: &Conf) -> Settings {
        let unclaimed = match conf.foreign_subtypes.unwrap_or_default() {
            ForeignSubtypes::Answer => Unclaimed::Answer,
            ForeignSubtypes::Leave => Unclaimed::Leave,
        };
        Settings {
            level: conf.log_level.and_then(Level::new).unwrap_or(self.level),
            log_directory: conf.log_dir.clone().unwrap_or_else(|| self.log_directory.clone()),
            unclaimed,
            metrics: conf.metrics.clone().filter(|address| address != "off"),
        }
    }
}

impl Settings {
    /// The log file.
    pub fn log_file(&self) -> PathBuf {
        Path::new(&self.log_directory).join(lunbox_log::FILE_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunbox_conf::Document;

    fn cli(line: &str) -> Cli {
        match crate::cli::role(line.split(' ').map(OsString::from)).unwrap() {
            crate::cli::Role::Supervisor(cli) => cli,
            other => panic!("{other:?}"),
        }
    }

    fn settings(conf: &str, line: &str, variable: &str) -> Settings {
        let (conf, warnings) = Document::parse(conf.as_bytes());
        assert_eq!(warnings, []);
        Base::new(&cli(line), Some(OsString::from(variable))).under(&conf)
    }

    #[test]
    fn prec_1_file_over_command_line_over_environment_over_default() {
        let directory = |conf, line, variable| settings(conf, line, variable).log_directory;
        assert_eq!(directory("", "lunboxd", ""), Path::new("/var/log"));
        assert_eq!(directory("", "lunboxd", "/e"), Path::new("/e"));
        assert_eq!(directory("", "lunboxd -l /c", "/e"), Path::new("/c"));
        assert_eq!(directory("log_dir = /f", "lunboxd -l /c", "/e"), Path::new("/f"));
        let level = |conf, line| settings(conf, line, "").level.number();
        assert_eq!(level("", "lunboxd"), 3);
        assert_eq!(level("", "lunboxd -d"), 5);
        assert_eq!(level("", "lunboxd --log-level 1"), 1);
        assert_eq!(level("log_level = 2", "lunboxd -d"), 2);
        assert_eq!(level("log_level = 0", "lunboxd -d"), 0);
        assert_eq!(settings("log_dir = /f", "lunboxd", "").log_file(), Path::new("/f/tcmu-runner.log"));
    }

    #[test]
    fn our_own_keys_have_defaults() {
        let default = settings("", "lunboxd", "");
        assert_eq!((default.unclaimed, default.metrics), (Unclaimed::Answer, None));
        let set = settings("foreign_subtypes = leave\nmetrics = unix:/m", "lunboxd", "");
        assert_eq!((set.unclaimed, set.metrics.as_deref()), (Unclaimed::Leave, Some("unix:/m")));
        assert_eq!(settings("metrics = off", "lunboxd", "").metrics, None);
    }
}
