//! The command line.

use std::path::PathBuf;

use clap::Parser;
use tracing::level_filters::LevelFilter;

/// What `--help` says after the options.
const MORE: &str = "\
Examples:
  lunboxd                                    serve, with the handlers of the system
  lunboxd -d --handler-path ./handlers       try out handlers of one's own, and see details
  lunboxd --list-handlers                    what can be written into dev_config, and stop

A device is made with targetcli (/backstores/user:file create name=disk size=1G cfgstring=/srv/disk.img)
or in configfs (dev_config=file//srv/disk.img).

Log lines go to stderr. SIGTERM and SIGINT end the daemon in good order: commands in progress are finished, new
ones are answered BUSY meanwhile. Afterwards commands wait in the kernel for the next daemon, as long as
attrib/cmd_time_out of their device says (30 s unless changed).

Exit status: 0 after SIGTERM or SIGINT, --help, --version and --list-handlers; 1 when the daemon could not
start, lost its connection to the kernel, or did not understand its command line.";

/// Serves TCM-User devices (LIO's user backstores) with sandboxed handlers.
#[derive(Debug, Parser)]
#[command(name = "lunboxd", version, after_help = MORE)]
pub struct Cli {
    /// Directory with the handlers: every handler_*.wasm and handler_*.cwasm in it is loaded
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/lunbox/handlers")]
    pub handler_path: PathBuf,

    /// Directory for compiled handlers; made if it is missing, not used if others can write to it
    #[arg(long, value_name = "DIR", default_value = "/var/cache/lunbox")]
    pub cache_dir: PathBuf,

    /// How much to log: 0 and 1 errors, 2 warnings, 3 what happens, 4 and 5 details
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub log_level: u8,

    /// The same as --log-level 5
    #[arg(short, long, conflicts_with = "log_level")]
    pub debug: bool,

    /// Load the handlers (without --cache-dir), print what they are and how their devices are configured, and stop
    #[arg(long)]
    pub list_handlers: bool,
}

impl Cli {
    /// The log level in tracing's terms. There is no level above errors, so 0 is 1.
    pub fn level(&self) -> LevelFilter {
        match if self.debug { 5 } else { self.log_level } {
            0 | 1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["lunboxd"], arguments].concat())
    }

    #[test]
    fn the_definition_is_sound_and_the_help_tells_what_it_promises() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for option in
            ["--handler-path", "--cache-dir", "--log-level", "--debug", "--list-handlers", "--version"]
        {
            assert!(help.contains(option), "{option}");
        }
        assert!(help.contains("Examples:") && help.contains("Exit status:"));
        assert!(help.contains("0 and 1 errors") && help.contains("attrib/cmd_time_out"));
    }

    #[test]
    fn defaults_and_levels() {
        let cli = parse(&[]).unwrap();
        assert_eq!(cli.handler_path, PathBuf::from("/usr/lib/lunbox/handlers"));
        assert_eq!(cli.cache_dir, PathBuf::from("/var/cache/lunbox"));
        assert_eq!(cli.level(), LevelFilter::INFO);
        assert_eq!(parse(&["-d"]).unwrap().level(), LevelFilter::TRACE);
        let levels = [
            ("0", LevelFilter::ERROR),
            ("1", LevelFilter::ERROR),
            ("2", LevelFilter::WARN),
            ("3", LevelFilter::INFO),
            ("4", LevelFilter::DEBUG),
            ("5", LevelFilter::TRACE),
        ];
        for (level, expected) in levels {
            assert_eq!(parse(&["--log-level", level]).unwrap().level(), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parse(&["--log-level", "6"]).unwrap_err().kind(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["--no-such-option"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
        assert_eq!(parse(&["stray"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
        assert_eq!(parse(&["-d", "--log-level", "1"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
        assert_eq!(parse(&["-V"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
        assert_eq!(parse(&["-h"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
