//! The daemon's end of the control socket.
//!
//! One thread accepts; each connection has a thread of its own, at most [`CONNECTIONS`] at a time. Nothing that a peer
//! does or leaves undone keeps other peers, or whoever publishes events, from going on.

mod connection;
mod followers;
mod place;

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::message::{Answer, Code, Refusal, Request};
use crate::peer;
use crate::report::{ControlReport, EventReport};
use followers::Followers;
pub use followers::Teller;

/// Ends a trace when it is dropped.
pub type Tracing = Box<dyn std::any::Any + Send>;

/// Connections at a time.
pub const CONNECTIONS: usize = 64;

/// How long a peer may leave an answer unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Room for a connection's calls. What is parsed is at most [`crate::line::REQUEST_BYTES`] long and 128 levels deep.
const STACK_BYTES: usize = 256 << 10;

/// What a daemon answers.
pub trait Service: Send + Sync + 'static {
    /// Answers a request, on the thread of the connection that it came from: it may block, and is called by several
    /// threads at once. [`Request::Events`] and [`Request::Trace`] never come here.
    ///
    /// # Errors
    /// What can not be done, and what to do instead.
    fn answer(&self, request: Request) -> Result<Answer, Refusal>;

    /// Begins to tell of the commands that a device completes. `teller` is dropped when the device ends, and what is
    /// returned when the peer does. Called as [`Self::answer`] is.
    ///
    /// # Errors
    /// There is no such device, or it can not be done.
    fn trace(&self, device: &str, teller: Teller) -> Result<Tracing, Refusal> {
        drop(teller);
        Err(Refusal::new(Code::Failed, format!("the commands of {device:?} can not be told here")))
    }

    /// The answer to a request that was not refused has been handed to the kernel, so that the process may end without
    /// taking it along. Blocks its connection only.
    fn answered(&self, request: &Request) {
        let _ = request;
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody answers there.
    #[error(
        "{0} is in use by another lunboxd; stop that one, or give this one a directory of its own with --run-dir"
    )]
    InUse(PathBuf),
    /// Something else than a socket stands there.
    #[error("{0} is no socket; remove it, or name another directory with --run-dir")]
    NoSocket(PathBuf),
    /// Others could put another socket into its place.
    #[error("the directory {path} {problem}; repair it: chown root {path}; chmod 0711 {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A system call failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Makes control sockets.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Listens on a socket at `path`, mode 0600, in a directory that nobody but its owner (root or us) can write to. A
    /// socket that a dead daemon left is replaced.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(path: &Path, service: Arc<dyn Service>) -> Result<ServerHandle, ServerError> {
        let (listener, place) = place::listen(path)?;
        let system =
            |action| move |source: io::Error| ServerError::Io { action, path: path.to_owned(), source };
        let shared = Arc::new(Shared::new(service).map_err(system("making an eventfd for"))?);
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || own.accept(&listener))
            .map_err(system("starting a thread for"))?;
        Ok(ServerHandle { shared, thread: Some(thread), place })
    }
}

/// A control socket that listens. Dropping it closes and removes the socket and ends all connections; answers that are
/// being worked on go nowhere.
#[derive(Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    place: place::Place,
}

/// Tells followers what happens; as many as are needed.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Shared>);

impl ServerHandle {
    /// Tells all followers. Never waits for any of them: what one does not read in time it does not get, and is told
    /// how much it was.
    pub fn publish(&self, event: EventReport) {
        self.shared.followers.publish(event);
    }

    /// Publishes from elsewhere.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher(Arc::clone(&self.shared))
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> ControlReport {
        self.shared.counters()
    }
}

impl Publisher {
    /// As [`ServerHandle::publish`]. After the server's end nobody hears it.
    pub fn publish(&self, event: EventReport) {
        self.0.followers.publish(event);
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> ControlReport {
        self.0.counters()
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.place.remove();
        // Only a counter at its end could refuse, and nobody else adds to it.
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // It ends with the stop event; a panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// What the threads of a server have in common.
struct Shared {
    service: Arc<dyn Service>,
    followers: Followers,
    open: Mutex<Open>,
    refused: AtomicU64,
    slow_readers: AtomicU64,
    stop: EventFd,
}

/// Connections by number.
#[derive(Debug, Default)]
struct Open {
    ended: bool,
    next: u64,
    streams: HashMap<u64, UnixStream>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// Frees the place of a connection, whatever ended its thread.
struct Slot {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.open().streams.remove(&self.number);
    }
}

impl Shared {
    fn new(service: Arc<dyn Service>) -> io::Result<Self> {
        Ok(Self {
            service,
            followers: Followers::default(),
            open: Mutex::default(),
            refused: AtomicU64::new(0),
            slow_readers: AtomicU64::new(0),
            stop: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> ControlReport {
        ControlReport {
            connections: self.open().streams.len().try_into().unwrap_or(u64::MAX),
            refused: self.refused.load(Ordering::Relaxed),
            slow_readers: self.slow_readers.load(Ordering::Relaxed),
            lost_events: self.followers.lost(),
        }
    }

    /// The accepting thread.
    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let mut fds = [
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            ];
            let polled = poll(&mut fds, PollTimeout::NONE);
            if fds[0].any() == Some(true) {
                break;
            }
            if polled.is_err() {
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // Out of descriptors: the connection stays in the queue and the listener readable. Look again
                // after a pause, unless this is the end.
                Err(_) => {
                    let mut fds = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, PollTimeout::from(100u8));
                }
            }
        }
        let mut open = self.open();
        open.ended = true;
        for stream in open.streams.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        if let Err(refusal) = self.try_admit(&stream) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            connection::turn_away(&stream, refusal);
        }
    }

    fn try_admit(self: &Arc<Self>, stream: &UnixStream) -> Result<(), Refusal> {
        peer::judge(stream)?;
        let failed =
            |error: io::Error| Refusal::new(Code::Failed, format!("no connection to be had: {error}"));
        stream.set_nonblocking(false).map_err(failed)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE)).map_err(failed)?;
        let (kept, own) = (stream.try_clone().map_err(failed)?, stream.try_clone().map_err(failed)?);
        let mut open = self.open();
        if open.ended || open.streams.len() >= CONNECTIONS {
            let message = format!("{CONNECTIONS} connections are open already; close one of them");
            return Err(Refusal::new(Code::TooMany, message));
        }
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, kept);
        drop(open);
        let slot = Slot { shared: Arc::clone(self), number };
        std::thread::Builder::new()
            .name(format!("control-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let slot = slot;
                if connection::serve(&own, &slot.shared).is_err_and(|error| connection::is_timeout(&error)) {
                    slot.shared.slow_readers.fetch_add(1, Ordering::Relaxed);
                }
                // The other copies of the stream may live on for a moment: the peer shall not wait for that.
                let _ = own.shutdown(Shutdown::Both);
            })
            .map_err(failed)?;
        Ok(())
    }
}
