//! The command line.

mod extras;
mod operate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use extras::{ENVIRONMENT, EXAMPLES, examples};
pub use operate::{
    CheckPolicy, Daemon, Device, DeviceCommand, Doctor, Events, Handover, OneDevice, Policy, PolicyCommand,
    ResetDevice, SortKey, Status, Top, Trace, Worker, WorkerCommand,
};

use crate::serve::{LunSpec, TargetName};
use crate::size::Size;

/// Makes and tries LUNs whose behaviour is a sandboxed handler, and operates lunboxd
///
/// A handler is a WebAssembly component that decides what SCSI commands mean. lunbox serves LUNs with it, without a
/// kernel module and without root, and tells what it is. lunboxd serves the kernel's devices: status, worker, device,
/// events, top, trace and handover talk to it, doctor looks for what keeps it from working, and policy judges what it is going to read.
#[derive(Debug, Parser)]
#[command(name = "lunbox", version, max_term_width = 100, after_help = extras::help(""))]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    /// What all commands understand.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands understand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Common {
    /// Print JSON: results on stdout, one object per line; errors on stderr as {"error": …}. What is
    /// logged to stderr stays text; --log-level off keeps it away
    #[arg(long, global = true, display_order = 1000)]
    pub json: bool,

    /// How much to log to stderr. Without it RUST_LOG says what is logged, without that it is warnings
    #[arg(long, value_name = "LEVEL", global = true, display_order = 1001)]
    pub log_level: Option<LogLevel>,
}

/// Levels of the log, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing
    Off,
    /// What failed
    Error,
    /// What may become a problem
    Warn,
    /// What happens
    Info,
    /// How it happens
    Debug,
    /// Everything
    Trace,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "what stands here would take the place of what the types say about themselves"
)]
pub enum Command {
    Serve(Box<Serve>),
    Inspect(Inspect),
    Handlers(Handlers),
    Status(Status),
    Device(Device),
    Worker(Worker),
    Events(Events),
    Top(Top),
    Trace(Trace),
    Doctor(Doctor),
    Handover(Handover),
    Policy(Policy),
    Completions(Completions),
    Man(Man),
}

/// Where handlers are found.
#[derive(Clone, Debug, Default, Args)]
pub struct Search {
    /// Directory with handlers (every handler_*.wasm and handler_*.cwasm in it); may be repeated, or several separated
    /// by colons. The first handler of a subtype wins [default: ../handlers as seen from the directory of this
    /// program, if it is there, then /usr/lib/lunbox/handlers]
    #[arg(
        long,
        value_name = "DIR",
        env = "LUNBOX_HANDLER_PATH",
        value_delimiter = ':',
        hide_env_values = true
    )]
    pub handler_path: Vec<PathBuf>,
}

/// Offer LUNs as an iSCSI target
///
/// Runs the same device loop and the same sandbox as lunboxd, with an emulated kernel ring and an iSCSI target in
/// front of it. Any initiator can use it: libiscsi and qemu by the URL that is printed, others (open-iscsi, Windows)
/// by address and target name. The first line on stdout is the URL of LUN 0, printed when it can be used, and the other
/// LUNs follow. With CHAP the URL does not say who may log in; libiscsi's tools take LIBISCSI_CHAP_USERNAME and
/// LIBISCSI_CHAP_PASSWORD from their environment.
///
/// A file is locked while it is served: another lunbox or lunboxd refuses it unless both only read.
///
/// SIGINT (Ctrl-C), SIGTERM and SIGHUP end it: commands in progress are finished and everything is flushed.
///
/// Persistent reservations and RESERVE are not supported (5/20/00).
#[derive(Debug, Args)]
#[command(after_help = extras::help("serve"))]
pub struct Serve {
    /// The LUNs, 0 and up. What stands behind the first slash is up to the handler; for `file` it is an absolute path
    #[arg(required = true, value_name = "SUBTYPE/CONFIG")]
    pub luns: Vec<LunSpec>,

    /// Size of the LUNs: bytes, or with K, M, G or T (binary). One for all, or one for each in order. Needed for a
    /// file that is new or empty, which becomes that long at once (sparse: it takes room as it is written to); else
    /// the size that the file or block device has
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub size: Vec<Size>,

    /// Logical block size: a power of two, 512 or more
    #[arg(long, value_name = "BYTES", default_value = "512")]
    pub block_size: Size,

    /// Refuse writes; files are opened for reading only and must exist
    #[arg(long)]
    pub read_only: bool,

    /// Tell the device loop of aborts and resets, as a kernel with task management entries in its ring does
    #[arg(long)]
    pub tmr: bool,

    /// Address and port to listen on; port 0 takes any that is free. Any address but loopback (127.0.0.0/8 and
    /// ::1) needs CHAP, this machine's own included
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3260")]
    pub listen: SocketAddr,

    /// Name that initiators must give (CHAP). The secret comes from --chap-secret-file or LUNBOX_CHAP_SECRET, never
    /// from the command line, which others can see
    #[arg(long, value_name = "NAME")]
    pub chap_user: Option<String>,

    /// File with the CHAP secret, 12 bytes or more; a line break at its end does not count
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    pub chap_secret_file: Option<PathBuf>,

    /// Name of the target: iqn., eui. or naa. [default: iqn.2026-11.org.lunbox: and this machine's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<TargetName>,

    /// Where handlers are found.
    #[command(flatten)]
    pub search: Search,

    /// Load this component, before those of --handler-path; may be repeated. If no directory is named then only it
    #[arg(long, value_name = "FILE")]
    pub handler: Vec<PathBuf>,

    /// Directory for compiled handlers; not used if others can write to it [default: lunbox in the user's cache
    /// directory; /var/cache/lunbox for root]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// No live status line, even on a terminal
    #[arg(long)]
    pub no_status: bool,

    /// How often the status is told: with --json as a line on stdout, on a terminal (1 unless given) as a live line
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub status_interval: Option<Duration>,

    /// Print totals at the end: commands, bytes, failures, faults of the handler
    #[arg(long)]
    pub stats_on_exit: bool,
}

/// Tell what a handler is, and whether this host would serve it
///
/// Shows its imports and exports, the version of the contract that it was built for, what it says about itself, and
/// if this host would not load it, why. Nothing of it is kept, and nothing but its description is run.
#[derive(Debug, Args)]
#[command(after_help = extras::help("inspect"))]
pub struct Inspect {
    /// A component (.wasm or .cwasm), or the subtype of a handler in --handler-path. What consists of a-z, 0-9 and _
    /// is a subtype; write ./NAME for a file of such a name
    #[arg(value_name = "FILE|SUBTYPE")]
    pub handler: PathBuf,

    /// Where subtypes are looked for.
    #[command(flatten)]
    pub search: Search,
}

/// List the handlers that there are
///
/// One line for each: subtype, name, version, size and file. Handlers that can not be loaded are told on stderr.
#[derive(Debug, Args)]
#[command(after_help = extras::help("handlers"))]
pub struct Handlers {
    /// Where to look.
    #[command(flatten)]
    pub search: Search,
}

/// Print a shell's completions
#[derive(Debug, Args)]
#[command(after_help = extras::help("completions"))]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Print the manual page, or write all of them into a directory
#[derive(Debug, Args)]
#[command(after_help = extras::help("man"))]
pub struct Man {
    /// Write a page for lunbox and one for each of its commands into this directory, which must exist
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "write seconds, from 0.1 to 86400".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.1..=86400.0).contains(&seconds) {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
