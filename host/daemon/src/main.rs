//! lunboxd: serves TCM-User devices with sandboxed handlers.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use lunbox_daemon::cli::Cli;
use lunbox_daemon::control::Control;
use lunbox_daemon::job::Surroundings;
use lunbox_daemon::lock::{InstanceLock, LOCK_PATH};
use lunbox_daemon::mailbox::mailbox;
use lunbox_daemon::module::ensure_loaded;
use lunbox_daemon::open::Opener;
use lunbox_engine::{Catalogue, Engine, EngineOptions};
use lunbox_tcmu::{Configfs, Netlink, Uio};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How long a device may take to finish its commands before they are cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the kernel waits for a device to be opened, and with it whoever enables it.
const ADMISSION: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // If nobody reads the message, the status still tells.
            let _ = message.print();
            return if message.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    log_to_stderr(cli.level());
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Our own crates at the level asked for, all others only with warnings.
fn log_to_stderr(level: LevelFilter) {
    let others = level.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},lunbox={level}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    // Before any thread begins: threads inherit what is blocked.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    if cli.list_handlers {
        // Without the cache: a look changes nothing.
        let engine = Engine::new(EngineOptions::default())?;
        return list_handlers(&Catalogue::load(&cli.handler_path, &engine)?);
    }
    let engine = EngineOptions { cache: Some(cli.cache_dir.clone()), ..EngineOptions::default() };
    if !nix::unistd::geteuid().is_root() {
        bail!("lunboxd must run as root: it opens UIO nodes and answers the kernel; use systemctl or sudo");
    }
    signals.thread_block().context("blocking signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("making a signalfd")?;
    let _lock = InstanceLock::take(Path::new(LOCK_PATH))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let around = Surroundings { patience: PATIENCE, admission: ADMISSION, ..Surroundings::default() };
    ensure_loaded(&around.configfs)?;
    let handlers = Catalogue::load(&cli.handler_path, &Engine::new(engine)?)?;
    if handlers.descriptions().next().is_none() {
        tracing::warn!(path = %cli.handler_path.display(), "no handlers: every device will be refused");
    }
    serve(handlers, around, &signals)
}

fn list_handlers(handlers: &Catalogue) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for handler in handlers.descriptions() {
        writeln!(out, "{} {}: {}", handler.subtype, handler.version, handler.name)?;
        for line in handler.config_help.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

fn serve(handlers: Catalogue, around: Surroundings, signals: &SignalFd) -> anyhow::Result<()> {
    let netlink = Netlink::open()?;
    let (sender, inbox) = mailbox().context("making an eventfd")?;
    let (uio, configfs): (Uio, Configfs) = (around.uio.clone(), around.configfs.clone());
    let opener = Arc::new(Opener::new(handlers, uio, configfs, sender.clone()));
    let mut control = Control::new(netlink, opener, around, sender, inbox);
    control.start()?;
    tracing::info!(devices = control.devices(), "ready");
    loop {
        let served = control.serve(signals.as_fd());
        match served.map(|()| signals.read_signal()) {
            Ok(Ok(Some(signal))) if i32::try_from(signal.ssi_signo) == Ok(Signal::SIGHUP as i32) => {
                tracing::info!("SIGHUP: nothing to read again; the log goes to stderr");
            }
            Ok(Ok(None)) => {}
            Ok(Ok(Some(_))) => break,
            // Devices need not go down with the control plane, but nobody would hear of new ones: the successor
            // that the service manager starts takes over.
            Ok(Err(errno)) => return Err(errno).context("reading signals"),
            Err(error) => return Err(error).context("control plane"),
        }
    }
    tracing::info!(devices = control.devices(), "stopping");
    control.shut_down()?;
    tracing::info!("stopped");
    Ok(())
}
