//! The command line.
//!
//! The daemon starts itself as `lunboxd worker …` and `lunboxd compile …`. These are nobody else's business and not in
//! the help.

use std::ffi::OsString;
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

Devices run in worker processes, one for each tenant of the policy file, which are confined: they hold descriptors
and can open nothing. The daemon starts a worker again that has died; workers outlive the daemon.

Log lines go to stderr. SIGTERM and SIGINT end daemon and workers in good order: commands in progress are finished,
new ones are answered BUSY meanwhile. Afterwards commands wait in the kernel for the next daemon, as long as
attrib/cmd_time_out of their device says (30 s unless changed). SIGUSR2 (or `lunbox handover`) ends the daemon alone:
workers go on serving, and the next daemon takes them over, also if it is of another version.

Exit status: 0 after SIGTERM, SIGINT or SIGUSR2, --help, --version and --list-handlers; 1 when the daemon could not
start, lost its connection to the kernel, or did not understand its command line.";

/// Serves TCM-User devices (LIO's user backstores) with sandboxed handlers.
#[derive(Debug, Parser)]
#[command(name = "lunboxd", version, after_help = MORE)]
pub struct Cli {
    /// Directory with the handlers: every handler_*.wasm and handler_*.cwasm in it is loaded
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/lunbox/handlers")]
    pub handler_path: PathBuf,

    /// Whose devices these are and what they may; without the default file everything belongs to one tenant that may
    /// everything; another file must exist
    #[arg(long, value_name = "FILE", default_value = lunbox_policy::PATH)]
    pub policy: PathBuf,

    /// Directory for the control socket and the workers' sockets; on a file system that a reboot empties
    #[arg(long, value_name = "DIR", default_value = "/run/lunbox")]
    pub run_dir: PathBuf,

    /// Run everything in this one process, unconfined: for debugging; a crash then ends all devices' service
    #[arg(long)]
    pub single_process: bool,

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

/// What this process is to be.
#[derive(Debug)]
pub enum Role {
    /// The daemon.
    Supervisor(Cli),
    /// A worker that the daemon started.
    Worker(WorkerCli),
    /// A compiler that the daemon started.
    Compiler(CompilerCli),
}

/// What the daemon tells a worker.
#[derive(Debug, Parser)]
#[command(name = "lunboxd worker", about = "Started by lunboxd only")]
pub struct WorkerCli {
    /// Its name
    #[arg(long)]
    pub tenant: String,
    /// Version of the program that started it
    #[arg(long)]
    pub build: String,
    /// Log level
    #[arg(long)]
    pub level: LevelFilter,
    /// User and group to become
    #[arg(long, value_parser = user)]
    pub user: Option<(u32, u32)>,
    /// End if it can not be confined in every way
    #[arg(long)]
    pub required: bool,
}

/// What the daemon tells a compiler.
#[derive(Debug, Parser)]
#[command(name = "lunboxd compile", about = "Started by lunboxd only")]
pub struct CompilerCli {
    /// Log level
    #[arg(long)]
    pub level: LevelFilter,
    /// End if it can not be confined in every way
    #[arg(long)]
    pub required: bool,
}

fn user(text: &str) -> Result<(u32, u32), String> {
    let numbers =
        text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    numbers.ok_or_else(|| "not UID:GID".to_owned())
}

/// Understands the command line, the program's name included.
///
/// # Errors
/// What is not understood, and requests for help.
pub fn role(arguments: impl IntoIterator<Item = OsString>) -> Result<Role, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("worker") => WorkerCli::try_parse_from(&arguments[1..]).map(Role::Worker),
        Some("compile") => CompilerCli::try_parse_from(&arguments[1..]).map(Role::Compiler),
        _ => Cli::try_parse_from(arguments).map(Role::Supervisor),
    }
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
        for option in [
            "--handler-path",
            "--cache-dir",
            "--log-level",
            "--debug",
            "--list-handlers",
            "--version",
            "--policy",
            "--run-dir",
            "--single-process",
        ] {
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
    fn the_daemons_own_children_are_not_offered_to_anybody() {
        let help = Cli::command().render_long_help().to_string();
        assert!(!help.contains("compile ") && !help.contains("--tenant"), "{help}");
        let role = |line: &str| role(line.split(' ').map(OsString::from));
        let worker =
            role("lunboxd worker --tenant a.uio3 --build 1 --level info --user 7:8 --required").unwrap();
        let Role::Worker(worker) = worker else { panic!("{worker:?}") };
        assert_eq!((worker.tenant.as_str(), worker.build.as_str()), ("a.uio3", "1"));
        assert_eq!((worker.user, worker.required, worker.level), (Some((7, 8)), true, LevelFilter::INFO));
        let compiler = role("lunboxd compile --level warn").unwrap();
        assert!(matches!(compiler, Role::Compiler(CompilerCli { required: false, .. })));
        let compiler = role("lunboxd compile --level warn --required").unwrap();
        assert!(matches!(compiler, Role::Compiler(CompilerCli { required: true, .. })));
        assert!(matches!(role("lunboxd -d").unwrap(), Role::Supervisor(_)));
        assert!(role("lunboxd worker").is_err());
        assert!(role("lunboxd worker --tenant a --build 1 --level info --user root").is_err());
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
