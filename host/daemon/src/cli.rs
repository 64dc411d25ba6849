//! The command line: tcmu-runner's options, and our own.
//!
//! The daemon starts itself as `lunboxd worker …`, `lunboxd compile …` and `lunboxd check …`. These are nobody else's business and not in
//! the help.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{CommandFactory, FromArgMatches, Parser};
use lunbox_log::Level;

use crate::open_files::{LEAST, MOST};

/// The name by which others look for us, if we are started by it.
pub const RUNNER: &str = "tcmu-runner";

/// What of tcmu-runner this is compatible with. Others compare the last word of `--version` with what they need.
const RUNNER_VERSION: &str = "1.6.2";

/// What `--help` says after the options.
const MORE: &str = "\
Examples:
  lunboxd                                    serve, with the handlers of the system
  lunboxd -d --handler-path ./handlers       try out handlers of one's own, and see details
  lunboxd --list-handlers                    what can be written into dev_config, and stop
  lunboxd --check                            whether configuration, policy and handlers are in order, and stop

A device is made with targetcli (/backstores/user:file create name=disk size=1G cfgstring=/srv/disk.img)
or in configfs (dev_config=file//srv/disk.img).

Devices run in worker processes, one for each tenant of the policy file, which are confined: they hold descriptors
and can open nothing. The daemon starts a worker again that has died; workers outlive the daemon.

What is set in the configuration file counts more than options, these more than the environment (TCMU_LOGDIR). The
file may be changed at any time: log_level, log_dir, foreign_subtypes and metrics take effect at once.

Log lines go to DIR/tcmu-runner.log, to the journal or syslog, and to stderr unless that is the journal. SIGHUP has
the file opened again, after it was renamed. SIGTERM and SIGINT end daemon and workers in good order: commands in progress are finished,
new ones are answered BUSY meanwhile. Afterwards commands wait in the kernel for the next daemon, as long as
attrib/cmd_time_out of their device says (30 s unless changed). SIGUSR2 (or `lunbox handover`) ends the daemon alone:
workers go on serving, and the next daemon takes them over, also if it is of another version.

Exit status: 0 after SIGTERM, SIGINT or SIGUSR2, --help, --version and --list-handlers, and after --check if it found
no problem; 1 when it did, when the daemon could not start, lost its connection to the kernel, or did not understand
its command line.";

/// Serves TCM-User devices (LIO's user backstores) with sandboxed handlers.
#[derive(Debug, Parser)]
#[command(name = "lunboxd", version, infer_long_args = true, args_override_self = true, after_help = MORE)]
pub struct Cli {
    /// Configuration file; one that is missing is an empty one
    #[arg(long, value_name = "FILE", default_value = lunbox_conf::PATH)]
    pub config: PathBuf,

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

    /// Directory of the log file, unless the configuration file has log_dir; made if it is missing [default:
    /// /var/log]
    #[arg(short = 'l', long, value_name = "DIR", value_parser = OsStringValueParser::new().map(log_directory))]
    pub tcmu_log_dir: Option<PathBuf>,

    /// How much to log, unless the configuration file has log_level: 0 critical, 1 errors, 2 warnings, 3 what happens,
    /// 4 details, 5 every command [default: 3]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=5))]
    pub log_level: Option<u8>,

    /// The same as --log-level 5
    #[arg(short, long, conflicts_with = "log_level")]
    pub debug: bool,

    /// How many files may be open, from 65536 to 1048576; without it as many as the service's limit allows
    #[arg(short = 'f', long, value_name = "N", value_parser = nofile, allow_hyphen_values = true)]
    pub nofile: Option<u64>,

    /// Look whether configuration, policy and handlers are in order, print what is not, and stop
    #[arg(long, conflicts_with = "list_handlers")]
    pub check: bool,

    /// Load the handlers (without --cache-dir), print what they are and how their devices are configured, and stop
    #[arg(long)]
    pub list_handlers: bool,
}

/// Too long a path is cut, as tcmu-runner does; the log can not be opened then, and the message shows it.
fn log_directory(path: OsString) -> PathBuf {
    let bytes = path.as_encoded_bytes();
    let cut = bytes.get(..lunbox_conf::MAX_PATH).unwrap_or(bytes);
    PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(cut))
}

/// A number as atol(3) takes it: blanks, a sign, digits; whatever follows is ignored, and without digits it is 0.
fn nofile(text: &str) -> Result<u64, String> {
    let text = text.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    // Too many digits are out of range in any case.
    let number = if end == 0 { 0 } else { digits[..end].parse().unwrap_or(u64::MAX) };
    if (LEAST..=MOST).contains(&number) {
        Ok(number)
    } else {
        Err(format!("the number of open files must be from {LEAST} to {MOST}"))
    }
}

/// What this process is to be.
#[derive(Debug)]
pub enum Role {
    /// The daemon.
    Supervisor(Cli),
    /// A worker that the daemon started.
    Worker(WorkerCli),
    /// A compiler that the daemon started.
    Compiler(ChildCli),
    /// A child that the daemon started to have a cfgstring looked at by its handler.
    Checker(ChildCli),
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
    pub level: Level,
    /// User and group to become
    #[arg(long, value_parser = user)]
    pub user: Option<(u32, u32)>,
    /// End if it can not be confined in every way
    #[arg(long)]
    pub required: bool,
}

/// What the daemon tells a child that does one thing and ends.
#[derive(Debug, Parser)]
#[command(name = "lunboxd compile", about = "Started by lunboxd only")]
pub struct ChildCli {
    /// Log level
    #[arg(long)]
    pub level: Level,
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
        Some("compile") => ChildCli::try_parse_from(&arguments[1..]).map(Role::Compiler),
        Some("check") => ChildCli::try_parse_from(&arguments[1..]).map(Role::Checker),
        _ => {
            let name = program(arguments.first());
            Cli::from_arg_matches(&command(name).try_get_matches_from(arguments)?).map(Role::Supervisor)
        }
    }
}

/// [`RUNNER`] if that is what we were started as, else our own name.
pub fn program(argument: Option<&OsString>) -> &'static str {
    let file = argument.and_then(|path| Path::new(path).file_name());
    if file == Some(OsStr::new(RUNNER)) { RUNNER } else { "lunboxd" }
}

/// The definition of the command line of a program of this name. The last word of its version is a bare version of
/// tcmu-runner, which gluster-block and others compare.
fn command(name: &'static str) -> clap::Command {
    let version = if name == RUNNER {
        RUNNER_VERSION
    } else {
        // Literals only: the version is compared by shell scripts.
        concat!(env!("CARGO_PKG_VERSION"), ", compatible with tcmu-runner 1.6.2")
    };
    debug_assert!(version.ends_with(RUNNER_VERSION), "one version for both names");
    Cli::command().name(name).bin_name(name).version(version)
}

impl Cli {
    /// The level that the command line asks for.
    pub fn level(&self) -> Option<Level> {
        if self.debug { Some(Level::TRACE) } else { self.log_level.and_then(Level::new) }
    }
}

#[cfg(test)]
mod tests;
