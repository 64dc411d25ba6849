//! The server: one thread, a few connections, a deadline for each.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::address::Address;
use crate::family::{Family, text};
use crate::http::{self, Asked, HEAD_BYTES};
use crate::place::{self, Place};

/// Connections at a time. Who comes when there are so many takes the place of the oldest: an honest one is short.
const CONNECTIONS: usize = 8;

/// How long a connection may take to ask.
const ASKING: Duration = Duration::from_secs(2);

/// How long it may take to read the answer.
const READING: Duration = Duration::from_secs(10);

/// For so long everybody is told the same: collecting asks all workers.
const FRESH: Duration = Duration::from_secs(1);

/// What knows the metrics.
pub trait Source: Send + Sync + 'static {
    /// What it knows at this moment. Called on the endpoint's thread, at most once a second; may block, for a bounded
    /// time, and then everybody who fetches waits.
    fn collect(&self) -> Vec<Family>;
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It can not be listened there.
    #[error(
        "metrics can not be served at {address}: {source}; name another address in tcmu.conf (metrics = …)"
    )]
    Listen {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("the thread that serves metrics could not be started: {0}")]
    Thread(io::Error),
}

/// A server of metrics. Dropping it ends it, and removes its socket.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    _place: Option<Place>,
}

impl Endpoint {
    /// Serves `GET /metrics` at `address` on a thread of its own.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn start(address: &Address, source: Arc<dyn Source>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Listen { address: address.clone(), source };
        let (listener, place, address) = match address {
            Address::Unix(path) => {
                let (listener, place) = place::listen(path).map_err(failed)?;
                (Listener::Unix(listener), Some(place), address.clone())
            }
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at).map_err(failed)?;
                let at = listener.local_addr().map_err(failed)?;
                (Listener::Tcp(listener), None, Address::Tcp(at))
            }
        };
        listener.set_nonblocking().map_err(failed)?;
        let stop = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| EndpointError::Thread(errno.into()))?;
        let stop = Arc::new(stop);
        let mut serving =
            Serving { listener, stop: Arc::clone(&stop), source, kept: None, connections: Vec::new() };
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serving.run())
            .map_err(EndpointError::Thread)?;
        Ok(Self { address, stop, thread: Some(thread), _place: place })
    }

    /// Where it listens: with the port that it got if port 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Only a counter at its end could refuse, and nobody else adds to it.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // It ends with the stop event, after the collection that it may be at; a panic in it has been reported.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Unix(listener) => listener.set_nonblocking(true),
            Self::Tcp(listener) => listener.set_nonblocking(true),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Unix(listener) => Stream::Unix(listener.accept()?.0),
            Self::Tcp(listener) => {
                let (stream, _): (_, SocketAddr) = listener.accept()?;
                Stream::Tcp(stream)
            }
        };
        match &stream {
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
            Stream::Tcp(stream) => stream.set_nonblocking(true)?,
        }
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn end(&self) {
        // The peer may have gone.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// A peer.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    deadline: Instant,
    come: Vec<u8>,
    /// What it is answered, and how much of that it has.
    answer: Option<(Vec<u8>, usize)>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stream.end();
    }
}

struct Serving {
    listener: Listener,
    stop: Arc<EventFd>,
    source: Arc<dyn Source>,
    /// What was collected last.
    kept: Option<(Instant, String)>,
    /// The oldest first.
    connections: Vec<Connection>,
}

impl Serving {
    fn run(&mut self) {
        loop {
            let now = Instant::now();
            self.connections.retain(|connection| connection.deadline > now);
            let rest = self.connections.iter().map(|connection| connection.deadline - now).min();
            // Rounded up: one that is about to end is not looked at a thousand times.
            let patience = rest.map_or(PollTimeout::NONE, |rest| {
                PollTimeout::try_from(rest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let ready = {
                let mut fds = vec![
                    PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                ];
                fds.extend(self.connections.iter().map(|connection| {
                    let flags =
                        if connection.answer.is_some() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
                    PollFd::new(connection.stream.as_fd(), flags)
                }));
                if poll(&mut fds, patience).is_err() {
                    // A signal.
                    continue;
                }
                fds.iter().map(|fd| fd.any() == Some(true)).collect::<Vec<bool>>()
            };
            if ready[0] {
                return;
            }
            let mut looked = ready[2..].iter();
            let connections = std::mem::take(&mut self.connections);
            for mut connection in connections {
                if looked.next() != Some(&true) || self.serve(&mut connection) {
                    self.connections.push(connection);
                }
            }
            if ready[1] {
                self.admit();
            }
        }
    }

    fn admit(&mut self) {
        match self.listener.accept() {
            Ok(stream) => {
                if self.connections.len() >= CONNECTIONS {
                    self.connections.remove(0);
                }
                let deadline = Instant::now() + ASKING;
                self.connections.push(Connection { stream, deadline, come: Vec::new(), answer: None });
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Out of descriptors: the connection stays in the queue and the listener readable. Look again after a
            // pause, unless this is the end.
            Err(_) => {
                let mut fds = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(100u8));
            }
        }
    }

    /// Does what can be done for a peer without waiting; false when nothing is left to do.
    fn serve(&mut self, connection: &mut Connection) -> bool {
        if connection.answer.is_none() {
            let mut buffer = [0; HEAD_BYTES];
            let room = HEAD_BYTES - connection.come.len().min(HEAD_BYTES);
            match connection.stream.read(&mut buffer[..room]) {
                Ok(0) => return false,
                Ok(come) => connection.come.extend_from_slice(&buffer[..come]),
                Err(error) => return is_for_later(&error),
            }
            let answer = match http::understand(&connection.come) {
                Asked::Unfinished => return true,
                Asked::Metrics { head_only } => http::metrics(self.text(), head_only),
                Asked::Refused(status) => http::refusal(status),
            };
            connection.answer = Some((answer, 0));
            connection.deadline = Instant::now() + READING;
        }
        let Some((answer, written)) = &mut connection.answer else { return true };
        while *written < answer.len() {
            match connection.stream.write(&answer[*written..]) {
                Ok(0) => return false,
                Ok(more) => *written += more,
                Err(error) => return is_for_later(&error),
            }
        }
        false
    }

    fn text(&mut self) -> &str {
        let stale = self.kept.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH);
        if stale {
            self.kept = None;
        }
        let source = &self.source;
        &self
            .kept
            .get_or_insert_with(|| {
                let text = text(source.collect());
                (Instant::now(), text)
            })
            .1
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
