//! The server: one thread with an epoll loop around the protocol, which does no I/O itself.

mod accept;
mod event_loop;
mod options;
mod socket;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

pub use options::{LunConfig, ServerLimits, ServerOptions, StartError};

use crate::login::{Limits, LoginPolicy, TargetRecord};
use crate::status::{Counters, ServerStatus};
use crate::target_port::Target;
use event_loop::EventLoop;

/// Most LUNs of a target: what peripheral device addressing can name (SAM-5 4.7.7.2).
const LUNS_MAX: usize = 256;

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Listens, and serves on a thread of its own until [`ServerHandle::stop`].
    ///
    /// An address that is not loopback is refused without credentials: the check is here so that nobody can
    /// forget it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: ServerOptions) -> Result<ServerHandle, StartError> {
        let ServerOptions { listen, target_name, alias, credentials, luns, limits } = options;
        if luns.is_empty() || luns.len() > LUNS_MAX {
            return Err(StartError::Luns { count: luns.len() });
        }
        if credentials.is_none() && !listen.ip().to_canonical().is_loopback() {
            return Err(StartError::NotLoopback { address: listen });
        }
        let listener = TcpListener::bind(listen).map_err(|error| StartError::listen(listen, error))?;
        let failed = |error| StartError::listen(listen, error);
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let names = luns.iter().map(|lun| lun.name.clone()).collect();
        let counters = Arc::new(Counters::new(luns.len()));
        let control = Arc::new(Control {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(StartError::system("create an eventfd"))?,
            patience: Mutex::new(None),
        });
        let policy = Arc::new(LoginPolicy {
            targets: vec![TargetRecord { name: target_name.clone(), alias }],
            portal_group_tag: 1,
            credentials,
            limits: Limits::default(),
        });
        let now = Instant::now();
        let target = Target::new(policy, luns, limits, Arc::clone(&counters), now);
        let event_loop = EventLoop::new(target, listener, Arc::clone(&control), limits)
            .map_err(StartError::system("set up epoll"))?;
        let thread = std::thread::Builder::new()
            .name("iscsi".to_owned())
            .spawn(move || event_loop.run())
            .map_err(|error| StartError::System { what: "start the server's thread", error })?;
        Ok(ServerHandle { address, target_name, luns: names, counters, control, thread: Some(thread) })
    }
}

/// How the thread is told to stop.
#[derive(Debug)]
pub(crate) struct Control {
    event: EventFd,
    patience: Mutex<Option<Duration>>,
}

/// A running server. Dropping it stops the server without patience.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    target_name: String,
    luns: Vec<String>,
    counters: Arc<Counters>,
    control: Arc<Control>,
    thread: Option<JoinHandle<Stopped>>,
}

/// How a server stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// Commands that LUNs had not ended.
    running: usize,
    /// Connections that were cut.
    connections: usize,
}

/// What was not finished when a server stopped. It has stopped all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The time was over.
    #[error(
        "stopped with {running} commands that their LUNs have not ended and {connections} connections cut; \
         allow more time, or look at the LUNs' stores"
    )]
    Unfinished {
        /// Commands that LUNs had not ended.
        running: usize,
        /// Connections whose initiators had not logged out.
        connections: usize,
    },
    /// The server's thread panicked; this is a defect, and stderr says more.
    #[error("the server's thread panicked: this is a defect, please report it with what it printed")]
    Panicked,
}

impl ServerHandle {
    /// Where it listens; the port is a real one even if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Name of the target.
    #[must_use]
    pub fn target_name(&self) -> &str {
        &self.target_name
    }

    /// Names of the LUNs, in the order of their numbers.
    #[must_use]
    pub fn luns(&self) -> &[String] {
        &self.luns
    }

    /// What the server has done so far. Takes no lock.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        self.counters.read()
    }

    /// Whether the server's thread has gone although nobody stopped it: a defect, or no epoll to be had.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops: takes no new connections and commands, asks initiators to log out, waits for the commands that LUNs
    /// have, sends their answers and closes. Blocks for at most `patience` and a moment.
    ///
    /// # Errors
    /// [`StopError::Unfinished`] if `patience` was over before that; everything is closed then, too.
    pub fn stop(mut self, patience: Duration) -> Result<(), StopError> {
        self.stop_within(patience)
    }

    fn stop_within(&mut self, patience: Duration) -> Result<(), StopError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        *self.control.patience.lock().unwrap_or_else(PoisonError::into_inner) = Some(patience);
        if self.control.event.write(1).is_err() && !thread.is_finished() {
            tracing::error!("the server's thread could not be told to stop");
            return Err(StopError::Panicked);
        }
        match thread.join() {
            Ok(Stopped { running: 0, connections: 0 }) => Ok(()),
            Ok(Stopped { running, connections }) => Err(StopError::Unfinished { running, connections }),
            Err(_) => Err(StopError::Panicked),
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Err(error) = self.stop_within(Duration::ZERO) {
            tracing::debug!(%error, "server dropped");
        }
    }
}
