//! The daemon from its start to its end.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use lunbox_bus::BusError;
use lunbox_conf::Loaded;
use lunbox_control::{EventKind, Server, ServerHandle};
use lunbox_engine::{Shelf, engine_digest};
use lunbox_log::{Handle, Level, Options, System, crit};
use lunbox_policy::{Jail, Policy};
use lunbox_tcmu::Netlink;
use lunbox_wire::RingKind;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::bus::{self, Presence};
use crate::cli::Cli;
use crate::compiler::{Compiler, TIME_LIMIT};
use crate::control::{Ask, Control, Message, Outcome, is_readable};
use crate::control_socket::Door;
use crate::device::Device;
use crate::handlers::{Changes, Handlers, Loader, Overlong};
use crate::job::Surroundings;
use crate::journal::Journal;
use crate::list;
use crate::lock::{InstanceLock, LOCK_PATH};
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::metrics::{Metrics, Parts, Serving};
use crate::module::ensure_loaded;
use crate::open::{Opener, kernel_rings};
use crate::open_files::raise;
use crate::preflight;
use crate::records::Records;
use crate::reload::{Reloader, Reopener};
use crate::settings::{Base, Settings};
use crate::watch::{Watch, Watched};
use crate::workers::spawn::{Place, directory};
use crate::workers::{Pool, Spawner};

mod bus_name;
mod live;

use live::{Live, Watches, WorkersLog};

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

/// How long the end waits for the log to be written: its disk may hang.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs the daemon, or does the one thing that was asked for. `name` is what we were started as, for the log.
pub fn main(cli: &Cli, name: &str) -> ExitCode {
    if cli.list_handlers || cli.check {
        return look(cli);
    }
    // tcmu-runner's way, too: what comes before the log goes to standard error as it is.
    let start = match Start::new(cli, name) {
        Ok(start) => start,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let log = start.log.clone();
    let result = run(cli, start);
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    crit!("Exiting...");
    if !log.flush(LAST_WORDS) {
        eprintln!("{name}: the last lines of the log could not be written");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers without serving anything.
fn look(cli: &Cli) -> ExitCode {
    let options = Options::new(cli.level().unwrap_or(if cli.check { Level::CRIT } else { Level::INFO }));
    let log = match lunbox_log::start(options) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("lunboxd: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Without the shelf: a look changes nothing.
    let handlers = || {
        let level = Base::of_process(cli).under(&lunbox_conf::Conf::default()).level;
        Ok(Handlers::load(&cli.handler_path, &loader(cli, level, None, false)?)?)
    };
    let result = if cli.check {
        let findings = preflight::look(cli, &Base::of_process(cli), handlers);
        findings.print(&mut std::io::stdout().lock()).map_err(Into::into).map(|()| !findings.has_problems())
    } else {
        handlers().and_then(|handlers| list::print(&handlers)).map(|()| true)
    };
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    // Its lines have no other place to be.
    let _ = log.flush(LAST_WORDS);
    if matches!(result, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What comes first: signals, configuration, log.
struct Start {
    signals: SignalFd,
    base: Base,
    settings: Settings,
    log: Handle,
}

impl Start {
    fn new(cli: &Cli, name: &str) -> anyhow::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!(
                "lunboxd must run as root: it opens UIO nodes and answers the kernel; use systemctl or sudo"
            );
        }
        // Before any thread begins, that of the log included: threads inherit what is blocked.
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2]);
        signals.thread_block().context("blocking signals")?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("making a signalfd")?;
        let base = Base::of_process(cli);
        let (loaded, unread) = match lunbox_conf::load(&cli.config) {
            Ok(loaded) => (loaded, None),
            Err(error) => (Loaded::default(), Some(error)),
        };
        let settings = base.under(&loaded.conf);
        let log = lunbox_log::start(Options {
            directory: Some(settings.log_directory.clone()),
            system: System::Detect,
            name: name.to_owned(),
            ..Options::new(settings.level)
        })?;
        crit!("Starting...");
        for warning in &loaded.warnings {
            tracing::warn!("{}: {warning}", cli.config.display());
        }
        if let Some(error) = unread {
            tracing::warn!("{error}; everything is as the command line and the defaults say");
        }
        raise(cli.nofile);
        Ok(Self { signals, base, settings, log })
    }
}

fn run(cli: &Cli, start: Start) -> anyhow::Result<()> {
    let policy = Policy::load(&cli.policy).context("policy")?;
    for warning in policy.warnings() {
        tracing::warn!("{warning}");
    }
    let _lock = InstanceLock::take(Path::new(LOCK_PATH))?;
    // The lock does not reach into other mount namespaces, the bus does. Its name is taken when devices are served.
    let seen = bus::check_free()?;
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
    let level = start.settings.level;
    let loader = loader(cli, level, Some(&cli.cache_dir), required)?;
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
    let spawner = Spawner { place: place(cli, &build), sockets, build, level: level.to_string() };
    let daemon = Daemon::new(cli, policy, handlers, around, spawner, sender);
    let serving = Serving::default();
    let name = Presence::default();
    let door = daemon.listen(cli, &start.log, &serving, &name);
    if let Some(door) = &door {
        // Nobody has set it before.
        let _ = publisher.set(door.publisher());
    }
    let setting = bus::Setting {
        handlers: daemon.opener.handlers.clone(),
        checker: loader.compiler.clone(),
        foreign: daemon.around.foreign.clone(),
        awaited: bus::awaited(seen, &daemon.opener.handlers, &daemon.around.foreign),
    };
    let live = daemon.live(&start.log, door.as_ref(), serving, loader.compiler.clone());
    let _watches = daemon.watch(cli, loader, start.base, start.settings, live, &name);
    let reopener = Reopener::start(start.log).context("starting a thread")?;
    let own_name = {
        let name = name.clone();
        move || name.own(setting)
    };
    daemon.serve(inbox, &start.signals, &urgent, &reopener, own_name)
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

fn loader(cli: &Cli, level: Level, shelf: Option<&Path>, required: bool) -> anyhow::Result<Loader> {
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
    let compiler = Compiler::new(PathBuf::from(SELF), level.to_string(), TIME_LIMIT).required(required);
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
    fn listen(&self, cli: &Cli, log: &Handle, serving: &Serving, name: &Presence) -> Option<ServerHandle> {
        let door = Door {
            mailbox: self.mailbox.clone(),
            records: Arc::clone(&self.opener.records),
            pool: Arc::clone(&self.opener.pool),
            handlers: self.opener.handlers.clone(),
            program: self.build.clone(),
            started: SystemTime::now(),
            policy: self.opener.policy.source().map(Path::to_owned),
            single_process: self.single_process,
            log: Some(log.clone()),
            metrics: serving.clone(),
            bus: name.observer(),
        };
        let server = Server::start(&cli.run_dir.join("control.sock"), Arc::new(door));
        server
            .inspect_err(|error| {
                tracing::error!(
                    "control socket: {error}; devices are served, but `lunbox` reaches this daemon only after a restart"
                );
            })
            .ok()
    }

    /// What settings that change are put into effect with.
    fn live(&self, log: &Handle, door: Option<&ServerHandle>, serving: Serving, compiler: Compiler) -> Live {
        let metrics = Metrics::new(Parts {
            pool: Arc::clone(&self.opener.pool),
            records: Arc::clone(&self.opener.records),
            program: self.build.clone(),
            log: Some(log.clone()),
            control: door.map(ServerHandle::publisher),
            serving,
        });
        Live {
            workers: WorkersLog { log: log.clone(), pool: Arc::downgrade(&self.opener.pool) },
            compiler,
            foreign: self.around.foreign.clone(),
            metrics: Arc::new(Mutex::new(metrics)),
        }
    }

    /// Follows the configuration file and the directory of handlers until the result is dropped. Without that the
    /// daemon serves all the same.
    fn watch(
        &self,
        cli: &Cli,
        loader: Loader,
        base: Base,
        settings: Settings,
        live: Live,
        name: &Presence,
    ) -> Watches {
        live.workers.tell();
        let again = live.workers.clone();
        live.workers.log.on_reopen(move || again.tell());
        let metrics = Arc::clone(&live.metrics);
        let configuration = Reloader::new(cli.config.clone(), base, settings, live).watch();
        let watched = Watched {
            directory: cli.handler_path.clone(),
            loader,
            handlers: self.opener.handlers.clone(),
            journal: self.around.journal.clone(),
            foreign: self.around.foreign.clone(),
        };
        let mailbox = self.mailbox.clone();
        let name = name.clone();
        let changed = move |handlers: &Handlers, changes: &Changes| {
            name.show(handlers);
            // The kernel may still wait for somebody who serves these.
            if !changes.appeared.is_empty() {
                mailbox.send(Message::Ask(Ask::LookAgain));
            }
        };
        let handlers = Watch::start(watched, changed).inspect_err(|error| {
            tracing::warn!("handlers are not watched: {error}; restart lunboxd after changes");
        });
        Watches { configuration, handlers: handlers.ok(), metrics }
    }

    fn serve(
        &self,
        inbox: Inbox<Message<Device>>,
        signals: &SignalFd,
        urgent: &SignalFd,
        log: &Reopener,
        own_name: impl FnOnce() -> Result<(), BusError> + Send + 'static,
    ) -> anyhow::Result<()> {
        let netlink = Netlink::open()?;
        let opener = Arc::clone(&self.opener);
        let mut control = Control::new(netlink, opener, self.around.clone(), self.mailbox.clone(), inbox);
        control.start_unless(Some(urgent.as_fd()))?;
        // Whoever was told to end does not begin to be found.
        let refused = if is_pending(urgent) {
            None
        } else {
            let found = bus_name::be_found(self.mailbox.clone(), control.devices(), own_name);
            match found.context("starting a thread") {
                Ok(refused) => Some(refused),
                Err(error) => {
                    self.hand_over(&mut control)?;
                    return Err(error);
                }
            }
        };
        let journal = &self.around.journal;
        journal.supervisor(EventKind::PhaseChanged, "serving");
        loop {
            let signal = match control.serve(signals.as_fd()).context("control plane")? {
                Outcome::HandOver => {
                    self.hand_over(&mut control)?;
                    // Somebody has come meanwhile. What is served goes on until it is clear who serves it.
                    let refusal = refused.and_then(|refused| refused.try_recv().ok());
                    return refusal.map_or(Ok(()), |error| Err(error.into()));
                }
                Outcome::Signal => signals.read_signal().context("reading signals")?,
            };
            let is = |wanted: Signal| {
                signal.is_some_and(|signal| i32::try_from(signal.ssi_signo) == Ok(wanted as i32))
            };
            if is(Signal::SIGHUP) {
                log.reopen();
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
