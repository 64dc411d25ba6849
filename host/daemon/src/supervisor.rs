//! The daemon from its start to its end.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use lunbox_control::{EventKind, Server, ServerHandle};
use lunbox_engine::{Shelf, engine_digest};
use lunbox_policy::{Jail, Policy};
use lunbox_tcmu::Netlink;
use lunbox_wire::RingKind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::Cli;
use crate::compiler::{Compiler, TIME_LIMIT};
use crate::control::{Control, Message, Outcome, is_readable};
use crate::control_socket::{self, Door};
use crate::device::Device;
use crate::handlers::{Handlers, Loader, Overlong};
use crate::job::Surroundings;
use crate::journal::Journal;
use crate::list;
use crate::lock::{InstanceLock, LOCK_PATH};
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::module::ensure_loaded;
use crate::open::{Opener, kernel_rings};
use crate::records::Records;
use crate::workers::spawn::{Place, directory};
use crate::workers::{Pool, Spawner};

/// How long a device may take to finish its commands before they are cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the kernel waits for a device to be opened, and with it whoever enables it.
const ADMISSION: Duration = Duration::from_secs(20);

/// How long a device waits before it is tried again whose loop ended or that did not start: for each try one.
const RETRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// How long workers without devices may take to end.
const LEAVING: Duration = Duration::from_secs(3);

/// How long a component is remembered that took too long to be compiled: restarts in quick succession do not wait for it
/// each time, and a later one tries it again, since the machine may have been busy.
const OVERLONG: Duration = Duration::from_secs(5 * 60);

/// This program, also when its file was replaced since.
const SELF: &str = "/proc/self/exe";

/// Runs the daemon, or does the one thing that was asked for.
///
/// # Errors
/// It could not start, or lost its connection to the kernel.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    if cli.list_handlers {
        // Without the shelf: a look changes nothing.
        let loader = loader(cli, None, false)?;
        return list::print(&Handlers::load(&cli.handler_path, &loader)?);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("lunboxd must run as root: it opens UIO nodes and answers the kernel; use systemctl or sudo");
    }
    raise_open_files();
    // Before any thread begins: threads inherit what is blocked.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2]);
    signals.thread_block().context("blocking signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("making a signalfd")?;
    let policy = Policy::load(&cli.policy).context("policy")?;
    for warning in policy.warnings() {
        tracing::warn!("{warning}");
    }
    let _lock = InstanceLock::take(Path::new(LOCK_PATH))?;
    let build = build()?;
    tracing::info!(build, policy = ?policy.source(), "starting");
    let sockets = directory(&cli.run_dir).map_err(|error| anyhow!(error))?;
    let mut around = Surroundings {
        patience: PATIENCE,
        admission: ADMISSION,
        retries: RETRIES,
        ..Surroundings::default()
    };
    ensure_loaded(&around.configfs)?;
    // All tenants use what it makes.
    let required = policy.tenants().any(|tenant| tenant.jail == Jail::Required);
    let loader = loader(cli, Some(&cli.cache_dir), required)?;
    let urgent = urgent(cli)?;
    let handlers = Handlers::load_unless(&cli.handler_path, &loader, &|| is_pending(&urgent))?;
    if is_pending(&urgent) {
        tracing::info!(
            "told to end before anything was served; workers of a predecessor, if there are any, go on"
        );
        return Ok(());
    }
    if handlers.iter().next().is_none() {
        tracing::warn!(path = %cli.handler_path.display(), "no handlers: every device will be refused");
    }
    let publisher = Arc::new(OnceLock::<lunbox_control::server::Publisher>::new());
    around.journal = Journal::new({
        let publisher = Arc::clone(&publisher);
        move |event| {
            if let Some(publisher) = publisher.get() {
                publisher.publish(event);
            }
        }
    });
    let (sender, inbox) = mailbox().context("making an eventfd")?;
    let spawner = Spawner { place: place(cli, &build), sockets, build, level: level(cli) };
    let daemon = Daemon::new(cli, policy, handlers, around, spawner, sender);
    let door = daemon.listen(cli)?;
    // Nobody has set it before.
    let _ = publisher.set(door.publisher());
    daemon.serve(inbox, &signals, &urgent)
}

/// A device takes some descriptors here, and the usual limit is for programs that use select(2).
fn raise_open_files() {
    if let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE)
        && now < most
        && let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, most, most)
    {
        tracing::warn!("no more than {now} files can be open: {errno}; raise LimitNOFILE for many devices");
    }
}

fn level(cli: &Cli) -> String {
    cli.level().to_string().to_lowercase()
}

/// The signals by which the program ends, for a start that takes long. It is never read: whoever serves does that.
fn urgent(cli: &Cli) -> anyhow::Result<SignalFd> {
    let mut signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    if !cli.single_process {
        signals.add(Signal::SIGUSR2);
    }
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("making a signalfd")
}

fn is_pending(signals: &SignalFd) -> bool {
    is_readable(Some(signals.as_fd()))
}

fn loader(cli: &Cli, shelf: Option<&Path>, required: bool) -> anyhow::Result<Loader> {
    let engine = engine_digest()?;
    let overlong = shelf.map(|_| Overlong { directory: cli.run_dir.join("overlong"), memory: OVERLONG });
    let shelf = shelf.and_then(|path| {
        let opened = Shelf::open(path, engine);
        opened
            .inspect_err(|error| {
                tracing::warn!("{error}; handlers are compiled at every start (--cache-dir)")
            })
            .ok()
    });
    let compiler = Compiler::new(PathBuf::from(SELF), level(cli), TIME_LIMIT).required(required);
    Ok(Loader { compiler, engine, shelf, overlong })
}

fn place(cli: &Cli, build: &str) -> Place {
    if !cli.single_process {
        return Place::Process { executable: PathBuf::from(SELF) };
    }
    tracing::warn!("everything runs in this one process, unconfined (--single-process)");
    let build = build.to_owned();
    Place::Thread(Arc::new(move |link, tenant| {
        let options = lunbox_worker::Options::new(tenant, build.clone());
        if let Err(error) = lunbox_worker::serve(link, None, options) {
            tracing::error!("worker: {error}");
        }
    }))
}

/// Version of this program, and what tells two files of one version apart.
fn build() -> anyhow::Result<String> {
    let file = std::fs::metadata(SELF).with_context(|| format!("{SELF}; is /proc mounted?"))?;
    let (device, inode) = (file.dev(), file.ino());
    let (size, seconds, nanoseconds) = (file.len(), file.mtime(), file.mtime_nsec());
    Ok(format!("{}+{size:x}.{device:x}.{inode:x}.{seconds:x}.{nanoseconds:x}", env!("CARGO_PKG_VERSION")))
}

/// Everything that serves.
struct Daemon {
    opener: Arc<Opener>,
    around: Surroundings,
    mailbox: Mailbox<Message<Device>>,
    build: String,
    single_process: bool,
}

impl Daemon {
    fn new(
        cli: &Cli,
        policy: Policy,
        handlers: Handlers,
        around: Surroundings,
        spawner: Spawner,
        mailbox: Mailbox<Message<Device>>,
    ) -> Self {
        let build = spawner.build.clone();
        let notices = mailbox.clone();
        let listener = Arc::new(move |minor, notice| notices.send(Message::Notice(minor, notice)));
        let pool = Pool::new(spawner, listener, around.journal.clone());
        let opener = Opener {
            rings: kernel_rings(),
            ring: RingKind::Uio,
            handlers,
            policy,
            uio: around.uio.clone(),
            configfs: around.configfs.clone(),
            claims: Arc::default(),
            pool,
            records: Arc::new(Records::default()),
            journal: around.journal.clone(),
        };
        Self { opener: Arc::new(opener), around, mailbox, build, single_process: cli.single_process }
    }

    /// Answers at the control socket. Without it devices are served all the same.
    fn listen(&self, cli: &Cli) -> anyhow::Result<ServerHandle> {
        let door = Door {
            mailbox: self.mailbox.clone(),
            records: Arc::clone(&self.opener.records),
            pool: Arc::clone(&self.opener.pool),
            handlers: control_socket::handlers(&self.opener.handlers),
            program: self.build.clone(),
            started: SystemTime::now(),
            policy: self.opener.policy.source().map(Path::to_owned),
            single_process: self.single_process,
        };
        Server::start(&cli.run_dir.join("control.sock"), Arc::new(door)).context("control socket")
    }

    fn serve(
        &self,
        inbox: Inbox<Message<Device>>,
        signals: &SignalFd,
        urgent: &SignalFd,
    ) -> anyhow::Result<()> {
        let netlink = Netlink::open()?;
        let opener = Arc::clone(&self.opener);
        let mut control = Control::new(netlink, opener, self.around.clone(), self.mailbox.clone(), inbox);
        control.start_unless(Some(urgent.as_fd()))?;
        let journal = &self.around.journal;
        tracing::info!(devices = control.devices(), "ready");
        journal.supervisor(EventKind::PhaseChanged, "serving");
        loop {
            let signal = match control.serve(signals.as_fd()).context("control plane")? {
                Outcome::HandOver => return self.hand_over(&mut control),
                Outcome::Signal => signals.read_signal().context("reading signals")?,
            };
            let is = |wanted: Signal| {
                signal.is_some_and(|signal| i32::try_from(signal.ssi_signo) == Ok(wanted as i32))
            };
            if is(Signal::SIGHUP) {
                tracing::info!("SIGHUP: nothing to read again; the log goes to stderr");
            } else if is(Signal::SIGUSR2) && self.single_process {
                tracing::warn!(
                    "SIGUSR2: nothing outlives this one process (--single-process); still serving"
                );
            } else if is(Signal::SIGUSR2) {
                return self.hand_over(&mut control);
            } else if signal.is_some() {
                break;
            }
        }
        tracing::info!(devices = control.devices(), "stopping");
        journal.supervisor(EventKind::PhaseChanged, "stopping");
        control.shut_down()?;
        self.opener.pool.leave(LEAVING);
        tracing::info!("stopped");
        Ok(())
    }

    /// Leaves the workers as they are, when what is under way has ended.
    fn hand_over(&self, control: &mut Control<Netlink, Opener>) -> anyhow::Result<()> {
        let withdrawn = control.withdraw().context("control plane");
        let devices = control.devices();
        tracing::info!(devices, "leaving; the workers go on, and the next lunboxd takes them over");
        self.around.journal.supervisor(EventKind::Handover, format!("{devices} devices go on"));
        withdrawn
    }
}
