//! The control thread: one poll over supervisor, listener, devices and signals. Nothing here blocks.

mod finish;
mod requests;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_device::Ending;
use lunbox_engine::{Engine, EngineError, EngineOptions};
use lunbox_wire::listener::Listener;
use lunbox_wire::peer::Credentials;
use lunbox_wire::{Link, LinkError, Minor};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::connection::{Connection, Sent};
use crate::device::Entry;
use crate::handlers::Handlers;
use crate::jobs::{Job, Jobs, Work};
use crate::mailbox::{Inbox, Message, mailbox};

/// How long the devices of an orphan that is told to end may take for their commands.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// Packets that are read before others get their turn.
const PACKETS_PER_TURN: usize = 64;

/// Changes the level of the log to the word that tracing uses for it.
pub type SetLevel = Box<dyn Fn(&str) + Send>;

/// Appends the log to this file, too, or to none.
pub type SetLog = Box<dyn Fn(Option<OwnedFd>) + Send>;

/// How a worker is run.
pub struct Options {
    /// Whose devices it runs.
    pub tenant: String,
    /// Version of the program, and what tells two builds of one version apart.
    pub build: String,
    /// A word for each part of the jail that is in force; empty for none.
    pub jail: Vec<String>,
    /// Signals that the process has blocked: SIGTERM ends an orphan, all others are ignored. None if signals are
    /// somebody else's.
    pub signals: Option<SignalFd>,
    /// What [`lunbox_wire::Request::Level`] does. None: nothing.
    pub set_level: Option<SetLevel>,
    /// What [`lunbox_wire::Request::Log`] does. None: nothing.
    pub set_log: Option<SetLog>,
}

impl Options {
    /// Without jail and signals: for a thread of the supervisor.
    #[must_use]
    pub fn new(tenant: impl Into<String>, build: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            build: build.into(),
            jail: Vec::new(),
            signals: None,
            set_level: None,
            set_log: None,
        }
    }
}

/// Why a worker ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no sandbox to run handlers in.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The listener does not listen.
    #[error("the listener: {0}")]
    Listener(#[from] LinkError),
    /// Waiting failed.
    #[error("waiting for events: {0}")]
    Wait(#[from] nix::Error),
    /// Devices did not stop in time.
    #[error("{0} devices still had operations in progress when the worker ended")]
    Unfinished(usize),
}

/// Serves devices until there is nothing more to do; see the crate's text for when that is. Blocks.
///
/// With a `listener` the worker outlives its supervisor. Without one its devices are drained when the link ends,
/// within 5 seconds each.
///
/// # Errors
/// [`WorkerError`]: nothing is served any more.
pub fn serve(link: Link, listener: Option<Listener>, options: Options) -> Result<(), WorkerError> {
    if let Some(listener) = &listener {
        listener.listen()?;
    }
    let handlers = Arc::new(Handlers::new(Engine::new(EngineOptions::default())?));
    let (mailbox, inbox) = mailbox()?;
    let mut control = Control {
        options,
        listener,
        connection: Some(Connection::new(link, 0)),
        connections: 1,
        devices: BTreeMap::new(),
        generations: 0,
        jobs: Jobs::new(handlers, mailbox),
        inbox,
        dirty: BTreeSet::new(),
        traced: BTreeSet::new(),
        trace_at: None,
        leaving: false,
        closing: None,
    };
    control.run()
}

struct Control {
    options: Options,
    listener: Option<Listener>,
    connection: Option<Connection>,
    /// Connections there ever were.
    connections: u64,
    devices: BTreeMap<Minor, Entry>,
    /// Devices there ever were.
    generations: u64,
    jobs: Jobs,
    inbox: Inbox,
    /// Devices that may have something to say.
    dirty: BTreeSet<Minor>,
    /// Devices of which each command is told.
    traced: BTreeSet<Minor>,
    /// When that is done next.
    trace_at: Option<Instant>,
    /// The supervisor wants the process to end when it has no device.
    leaving: bool,
    /// The worker ends by itself: how many devices were given up.
    closing: Option<usize>,
}

/// What poll found.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    link: bool,
    listener: bool,
    signals: bool,
}

impl Control {
    fn run(&mut self) -> Result<(), WorkerError> {
        loop {
            self.tell();
            if self.connection.is_none() && self.listener.is_none() {
                self.close();
            }
            if self.is_done() {
                return self
                    .closing
                    .filter(|&lost| lost > 0)
                    .map_or(Ok(()), |lost| Err(WorkerError::Unfinished(lost)));
            }
            let ready = self.wait()?;
            self.inbox.acknowledge();
            while let Some(message) = self.inbox.next() {
                self.read(message);
            }
            if ready.link {
                self.read_link();
            }
            if ready.listener {
                self.accept();
            }
            if ready.signals {
                self.read_signals();
            }
        }
    }

    fn is_done(&self) -> bool {
        let nothing_owed = self.connection.as_ref().is_none_or(Connection::is_empty);
        let nobody_waits = self.connection.is_none() || self.leaving || self.closing.is_some();
        self.devices.is_empty() && self.jobs.is_idle() && nobody_waits && nothing_owed
    }

    fn wait(&self) -> Result<Ready, WorkerError> {
        let mut fds = vec![PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN)];
        let mut wanted = PollFlags::empty();
        let mut at = (None, None, None);
        if let Some(connection) = &self.connection {
            if connection.has_room() {
                wanted |= PollFlags::POLLIN;
            }
            if !connection.is_empty() || (connection.greeted && !self.dirty.is_empty()) {
                wanted |= PollFlags::POLLOUT;
            }
            at.0 = Some(fds.len());
            fds.push(PollFd::new(connection.link.as_fd(), wanted));
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.closing.is_none()) {
            at.1 = Some(fds.len());
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        if let Some(signals) = &self.options.signals {
            at.2 = Some(fds.len());
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        }
        // Rounded up: a rest below a millisecond would spin.
        let timeout = self.time_to_trace().map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(WorkerError::Wait(error)),
        }
        let seen = |at: Option<usize>| {
            at.and_then(|at| fds.get(at)?.revents()).unwrap_or(PollFlags::empty()) - PollFlags::POLLOUT
                != PollFlags::empty()
        };
        Ok(Ready { link: seen(at.0), listener: seen(at.1), signals: seen(at.2) })
    }

    /// Says what is to be said, as far as the supervisor reads.
    fn tell(&mut self) {
        self.tell_traces();
        let Some(connection) = &mut self.connection else { return };
        let mut sent = connection.flush();
        if sent == Sent::Yes && connection.greeted {
            while let Some(&minor) = self.dirty.first() {
                if let Some(entry) = self.devices.get_mut(&minor) {
                    sent = entry.tell(minor, connection);
                    if sent != Sent::Yes {
                        break;
                    }
                }
                self.dirty.pop_first();
            }
        }
        if sent == Sent::Gone {
            self.lose_connection();
        }
    }

    fn lose_connection(&mut self) {
        if self.connection.take().is_none() {
            return;
        }
        tracing::warn!(devices = self.devices.len(), "the supervisor is gone; going on without it");
        self.leaving = false;
        self.end_traces();
        // Nobody waits for these; the successor decides for itself.
        for entry in self.devices.values_mut() {
            entry.waiting.clear();
        }
        self.forget_the_stopped();
    }

    /// A supervisor at the door: the one before it is dead, or has handed over.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let link = match listener.accept() {
            Ok(Some(link)) => link,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "accepting a connection failed"),
        };
        let own = nix::unistd::geteuid().as_raw();
        match Credentials::of(&link) {
            Ok(peer) if peer.uid == 0 || peer.uid == own => {
                tracing::info!(pid = peer.pid, "a supervisor has come");
            }
            Ok(peer) => {
                return tracing::warn!(
                    pid = peer.pid,
                    uid = peer.uid,
                    "refused a connection of another user"
                );
            }
            Err(error) => return tracing::warn!(%error, "refused a connection"),
        }
        if let Some(before) = &self.connection {
            before.link.shut_down();
        }
        self.lose_connection();
        self.connection = Some(Connection::new(link, self.connections));
        self.connections += 1;
    }

    fn read_signals(&mut self) {
        let Some(signals) = &self.options.signals else { return };
        while let Ok(Some(signal)) = signals.read_signal() {
            let terminate = i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32);
            if self.closing.is_some() {
                continue;
            }
            if terminate && self.connection.is_none() {
                tracing::info!(devices = self.devices.len(), "SIGTERM without a supervisor: stopping");
                self.close();
                return;
            }
            tracing::debug!(signal = signal.ssi_signo, "ignored: the supervisor decides");
        }
    }

    /// Drains every device and ends.
    fn close(&mut self) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(0);
        let minors: Vec<_> = self.devices.keys().copied().collect();
        for minor in minors {
            self.close_device(minor);
        }
    }

    fn close_device(&mut self, minor: Minor) {
        let Some(entry) = self.devices.get_mut(&minor).filter(|entry| !entry.busy) else { return };
        entry.waiting.clear();
        let Some(handle) = entry.handle.clone() else {
            self.devices.remove(&minor);
            return;
        };
        entry.busy = true;
        let work = Work::Stop { handle, how: Ending::Drain, patience: LAST_PATIENCE };
        let generation = entry.generation;
        self.jobs.begin(Job { minor, generation, asker: None, work });
    }

    fn read(&mut self, message: Message) {
        match message {
            Message::Event { minor, generation, event } => {
                if let Some(entry) =
                    self.devices.get_mut(&minor).filter(|entry| entry.generation == generation)
                {
                    entry.heard(event);
                    self.dirty.insert(minor);
                }
            }
            Message::Silent { minor, generation } => self.loop_is_over(minor, generation),
            Message::Finished(finished) => self.finished(finished),
        }
    }

    fn read_link(&mut self) {
        for _ in 0..PACKETS_PER_TURN {
            let Some(connection) = self.connection.as_ref().filter(|connection| connection.has_room()) else {
                return;
            };
            match connection.link.try_receive() {
                Ok(Some((request, descriptors))) => self.request(request, descriptors),
                Ok(None) => return self.lose_connection(),
                Err(LinkError::WouldBlock) => return,
                Err(LinkError::Io(error)) => {
                    tracing::error!(%error, "reading from the supervisor failed");
                    return self.lose_connection();
                }
                Err(error) => tracing::error!(%error, "a packet of the supervisor was dropped"),
            }
        }
    }
}
