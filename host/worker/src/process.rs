//! A worker from the start of its process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use anyhow::Context;
use lunbox_jail::{Confinement, ProcessLimits, Profile};
use lunbox_wire::Link;
use lunbox_wire::listener::Listener;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::control::{Options, serve};
use crate::log::Log;

/// What `ps` and `top` show; Linux keeps 15 characters.
const NAME: &std::ffi::CStr = c"lunbox-w";

/// What the supervisor says on the command line.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// Whose devices it runs.
    pub tenant: String,
    /// Version of the program, and what tells two builds of one version apart.
    pub build: String,
    /// Level of the log: a word of `lunbox_log::Level`.
    pub level: String,
    /// User and group to become. None: stay who one is, without capabilities.
    pub user: Option<(u32, u32)>,
    /// Most descriptors that may be open (RLIMIT_NOFILE): about 12 for each device.
    pub open_files: u64,
    /// End instead of warning when the kernel can not confine the process wholly.
    pub required: bool,
}

/// Runs a worker. Standard input is its end of the link; standard output is the socket at which a successor of the
/// supervisor knocks ([`Listener::bind`]), or anything else for none; standard error is the log.
///
/// Call it first thing in `main`, while the process has one thread: the jail covers threads that start later.
#[must_use]
pub fn main(arguments: &Arguments) -> ExitCode {
    let log = Log::start(&arguments.level);
    match run(arguments, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(tenant = arguments.tenant, "worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, log: &Log) -> anyhow::Result<()> {
    let link = take(io::stdin()).context("standard input")?;
    let link = Link::from_fd(link).context("standard input: start workers through lunboxd")?;
    let listener = Listener::from_fd(take(io::stdout()).context("standard output")?).ok();
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    // A stray print must not end up in the link, nor a copy of either socket stay open.
    nix::unistd::dup2_stdin(&null).context("replacing standard input")?;
    nix::unistd::dup2_stdout(&null).context("replacing standard output")?;
    drop(null);
    nix::sys::prctl::set_name(NAME).context("naming the process")?;
    let signals = SigSet::from_iter([
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]);
    // SIGPIPE is ignored since the program began. Blocked it would be reported, each report would be logged, and
    // with a log that is closed each line would raise it again.
    //
    // Before any thread begins: threads inherit what is blocked.
    signals.thread_block().context("blocking signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("making a signalfd")?;
    let parts = lunbox_jail::enter(&Confinement {
        profile: Profile::Worker,
        user: arguments.user,
        limits: ProcessLimits {
            open_files: arguments.open_files,
            address_space: None,
            cpu_seconds: None,
            file_size: None,
        },
        required: arguments.required,
    })
    .context("the jail")?;
    log.confined()?;
    let jail: Vec<String> = parts.iter().map(ToString::to_string).collect();
    tracing::info!(tenant = arguments.tenant, jail = jail.join(" "), "worker");
    let options = Options {
        tenant: arguments.tenant.clone(),
        build: arguments.build.clone(),
        jail,
        signals: Some(signals),
        set_level: Some(log.set_level()),
        set_log: Some(log.set_file()),
    };
    serve(link, listener, options)?;
    tracing::info!(tenant = arguments.tenant, "worker ends: nothing is left to serve");
    Ok(())
}

/// A copy that is closed on exec.
fn take(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}
