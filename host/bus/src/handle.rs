//! Starting and stopping the service.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::backend::{Announced, Backend};
use crate::bell::Bell;
use crate::core::Core;
use crate::names::NAME;
use crate::session::{End, Seen, session};

/// How long a stop waits for the thread.
const STOP: Duration = Duration::from_secs(5);

/// Between two tries: at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the service is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of the bus (D-Bus Specification, "Server Addresses"); `None`: the system bus, or what
    /// `DBUS_SYSTEM_BUS_ADDRESS` says.
    pub address: Option<String>,
    /// The handlers that are there from the start: who sees the name sees them.
    pub handlers: Vec<Announced>,
    /// User number whose programs may register handlers, and are not rationed: 0, root's, but for tests.
    pub trusted_user: u32,
    /// Subtypes of external handlers that have not registered yet, as [`Bus::check_free`] has found them. The backend
    /// leaves their devices alone already; it is told when that is over. One that `handlers` has, too, is the daemon's.
    pub awaited: Vec<String>,
    /// How long is waited for others; other than the default only in tests.
    pub timing: Timing,
}

/// How long the service waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A start, for the bus. Then it goes on without. 10 s.
    pub start: Duration,
    /// External handlers that have lost the bus, and those that [`Options::awaited`] names, have so long to register once
    /// the service is on the bus. Then their subtypes are theirs no more. 30 s.
    pub registration: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { start: Duration::from_secs(10), registration: Duration::from_secs(30) }
    }
}

/// Why the service is not there.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Another program is the service already. The only one with which a daemon should not start.
    #[error("the D-Bus name {NAME} belongs to another program{}; stop it (systemctl stop tcmu-runner)", Holder(*.holder))]
    NameTaken {
        /// Its process, if the bus tells.
        holder: Option<u32>,
    },
    /// The policy of the bus does not let us have the name.
    #[error(
        "the bus does not let this program have the name {NAME}; install its policy file in dbus-1/system.d, and run it as root"
    )]
    NotAllowed,
    /// No connection, or it went wrong.
    #[error("the bus: {0}; is dbus running, and its socket there?")]
    Connect(#[source] zbus::Error),
    /// It was there and has gone.
    #[error("the bus has closed the connection")]
    Lost,
    /// No thread for it.
    #[error("no thread for the bus: {0}; raise TasksMax")]
    Thread(#[source] std::io::Error),
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |process| write!(out, " (process {process})"))
    }
}

/// The service.
#[derive(Debug)]
pub enum Bus {}

/// The running service. Dropping it stops it, as [`Self::stop`] does.
pub struct Handle {
    core: Arc<Core>,
    up: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
    thread: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts the service, and waits up to 10 s for its name on the bus (what systemd's `Type=dbus` waits for, too).
    ///
    /// Without a bus, and if the bus does not let us have the name, there is a warning, and the service tries again until
    /// it is stopped: devices do not need it. The same if the bus goes away later; handlers that other programs have
    /// registered then have to register again, and keep their subtypes for 30 s from when the service is there again.
    ///
    /// # Errors
    /// [`BusError::NameTaken`]: another daemon is there. [`BusError::Thread`].
    pub fn start(options: Options, backend: Arc<dyn Backend>) -> Result<Handle, BusError> {
        let core = Arc::new(Core::new(backend, options.trusted_user));
        core.wait_for(options.awaited);
        core.set_own(options.handlers);
        let up = Arc::new(AtomicBool::new(false));
        let trouble = Arc::default();
        let (tell, told) = channel();
        let (over, ended) = channel();
        let runner = Runner {
            core: Arc::clone(&core),
            address: options.address,
            up: Arc::clone(&up),
            trouble: Arc::clone(&trouble),
            first: Some(tell),
            registration: options.timing.registration,
            _over: over,
        };
        let thread = std::thread::Builder::new().name("bus".to_owned()).spawn(move || runner.run());
        let thread = thread.map_err(BusError::Thread)?;
        let handle = Handle { core, up, trouble, thread: Mutex::new(Some((thread, ended))) };
        match told.recv_timeout(options.timing.start) {
            // Dropping the handle ends the thread.
            Ok(Err(error @ BusError::NameTaken { .. })) => return Err(error),
            Ok(Err(_) | Ok(())) => {}
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the bus does not answer; targetcli knows no handlers until it does");
            }
            Err(RecvTimeoutError::Disconnected) => tracing::error!("the thread of the bus has ended"),
        }
        Ok(handle)
    }
}

/// How long a look at the name may take.
const LOOK: Duration = Duration::from_secs(2);

impl Bus {
    /// Whether the name is free, without taking it: a daemon looks before it touches a device, and takes the name when
    /// all are served. `address` as in [`Options`]. Blocks for 2 s at the most. A bus that is not there, or says nothing,
    /// gives the name to nobody else either.
    ///
    /// Gives the subtypes whose bus names programs of `trusted_user` have: they are about to register, and may be answering
    /// the kernel for their devices. For [`Options::awaited`].
    ///
    /// # Errors
    /// [`BusError::NameTaken`]; [`BusError::Thread`].
    pub fn check_free(address: Option<&str>, trusted_user: u32) -> Result<Vec<String>, BusError> {
        let bell = Arc::new(Bell::default());
        let (tell, told) = channel();
        let (address, enough) = (address.map(ToOwned::to_owned), Arc::clone(&bell));
        let look = move || {
            zbus::block_on(async {
                let mut look = pin!(crate::session::look(address.as_deref(), trusted_user));
                let looked = poll_fn(|context| match enough.poll_stop(context) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => look.as_mut().poll(context).map(Some),
                });
                if let Some(result) = looked.await {
                    // Too late is too late.
                    let _ = tell.send(result);
                }
            });
        };
        std::thread::Builder::new().name("bus-look".to_owned()).spawn(look).map_err(BusError::Thread)?;
        let result = told.recv_timeout(LOOK);
        bell.stop();
        match result {
            Ok(Ok(Seen { holder: Some(holder), .. })) => Err(BusError::NameTaken { holder }),
            Ok(Ok(Seen { holder: None, external })) => Ok(external),
            Ok(Err(error)) => {
                tracing::debug!("who has the name {NAME} is not known: {error}");
                Ok(Vec::new())
            }
            Err(_) => {
                tracing::debug!("who has the name {NAME} is not known: the bus does not answer");
                Ok(Vec::new())
            }
        }
    }
}

struct Runner {
    core: Arc<Core>,
    address: Option<String>,
    up: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
    first: Option<Sender<Result<(), BusError>>>,
    registration: Duration,
    /// Dropped at the end.
    _over: Sender<()>,
}

impl Runner {
    fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let served = AtomicBool::new(false);
            let end = {
                let (core, registration) = (&self.core, self.registration);
                let (up, trouble, first) = (&self.up, &self.trouble, &mut self.first);
                zbus::block_on(session(&self.core, self.address.as_deref(), || {
                    tracing::info!("on the bus as {NAME}");
                    served.store(true, Ordering::Relaxed);
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    up.store(true, Ordering::Release);
                    if let Some(first) = first.take() {
                        // Whoever does not wait any more looks at the handle.
                        let _ = first.send(Ok(()));
                    }
                    await_registrations(core, registration);
                }))
            };
            self.up.store(false, Ordering::Release);
            self.core.forget_connection();
            let error = match end {
                End::Stopped => return self.core.forget_all(),
                End::Lost(error) => error,
            };
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            if served.into_inner() {
                pause = PAUSES.0;
            }
            let seconds = pause.as_secs_f32();
            let (taken, text) = (matches!(error, BusError::NameTaken { .. }), error.to_string());
            let told = self.first.take().is_some_and(|first| first.send(Err(error)).is_ok());
            // Whoever started us and still waits says that, and stops us.
            if !(told && taken) {
                tracing::warn!(
                    "{text}; next try in {seconds} s; devices are served, but targetcli knows no handlers until then"
                );
            }
            if self.core.bell.wait_stop(pause) {
                return self.core.forget_all();
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Gives up those who do not register on this connection in time.
fn await_registrations(core: &Arc<Core>, time: Duration) {
    let Some(connection) = core.connected() else { return };
    let waiting = Arc::clone(core);
    let wait = move || {
        if !waiting.bell.wait_stop(time) {
            waiting.give_up(connection);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("bus-grace".to_owned()).spawn(wait) {
        tracing::warn!(
            "external handlers that have not registered are not waited for: {error}; raise TasksMax"
        );
        core.give_up(connection);
    }
}

impl Handle {
    /// These are the daemon's handlers from now on. What is new or gone is signalled (`InterfacesAdded`,
    /// `InterfacesRemoved`). Does not block.
    pub fn set_handlers(&self, handlers: Vec<Announced>) {
        self.core.set_own(handlers);
        self.core.bell.settle(None);
    }

    /// Whether the service has its name on the bus now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Why it has not, as far as that is known: the last try's error.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the bus. Blocks for 5 s at the most; a second call does nothing. A check that is running is not waited for.
    pub fn stop(&self) {
        self.core.bell.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((thread, ended)) = thread else { return };
        if ended.recv_timeout(STOP) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the thread of the bus does not end; it is left behind");
        } else if thread.join().is_err() {
            tracing::error!("the thread of the bus has panicked; please report this");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
