//! Who is at the other end of a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Credentials of the other end as the kernel noted them when the connection was made (SO_PEERCRED, unix(7)): for
/// whoever connected, those of the process that called listen(2); for whoever accepted, of the one that called
/// connect(2); for a pair, of the one that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id in the eyes of this process; 0 if it is not visible.
    pub pid: i32,
}

impl Credentials {
    /// Asks the kernel. Never blocks, and needs nothing that a jailed process does not have.
    ///
    /// # Errors
    /// [`PeerError::Io`].
    pub fn of(link: impl AsFd) -> Result<Self, PeerError> {
        let noted = getsockopt(&link.as_fd(), sockopt::PeerCredentials).map_err(std::io::Error::from)?;
        Ok(Self { uid: noted.uid(), gid: noted.gid(), pid: noted.pid() })
    }
}

/// The process at the other end: whose credentials [`Credentials`] are.
#[derive(Debug)]
pub struct Peer {
    /// What it was allowed when the connection was made.
    pub credentials: Credentials,
    /// The process itself.
    pub process: Process,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not visible from here (another pid namespace), or it has died.
    #[error("the process at the other end is not visible or has died")]
    Unknown,
    /// A system call failed.
    #[error("can not tell who is at the other end: {0}")]
    Io(#[from] std::io::Error),
}

impl Peer {
    /// Asks the kernel about the other end of a connected socket. Never blocks.
    ///
    /// # Errors
    /// [`PeerError::Unknown`], [`PeerError::Io`].
    pub fn of(link: impl AsFd) -> Result<Self, PeerError> {
        let link = link.as_fd();
        let credentials = Credentials::of(link)?;
        // Linux 6.5 and later name the very process. Before that a number has to do, and the connection has to live
        // still after the number was looked up: then the process did, too, and the number was its own.
        let process = match getsockopt(&link, sockopt::PeerPidfd) {
            Ok(process) => Process { process },
            Err(_) => Process::open(credentials.pid)?,
        };
        if hung_up(link)? || process.has_ended()? {
            return Err(PeerError::Unknown);
        }
        Ok(Self { credentials, process })
    }
}

/// A process by a descriptor (pidfd_open(2)): its number being used again does not confuse it.
#[derive(Debug)]
pub struct Process {
    process: OwnedFd,
}

impl Process {
    /// The process of that number at this moment. For a child that was not waited for it is surely that child.
    ///
    /// # Errors
    /// [`PeerError::Unknown`] if there is none, [`PeerError::Io`].
    pub fn open(pid: i32) -> Result<Self, PeerError> {
        let pid = Pid::from_raw(pid).ok_or(PeerError::Unknown)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Ok(Self { process }),
            Err(rustix::io::Errno::SRCH) => Err(PeerError::Unknown),
            Err(error) => Err(PeerError::Io(error.into())),
        }
    }

    /// Sends SIGKILL. A process that has ended already is no error.
    ///
    /// # Errors
    /// [`PeerError::Io`]: not allowed.
    pub fn kill(&self) -> Result<(), PeerError> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(PeerError::Io(error.into())),
        }
    }

    /// Whether it has ended: all of its threads; a child that is still to be waited for counts as ended.
    ///
    /// # Errors
    /// [`PeerError::Io`].
    pub fn has_ended(&self) -> Result<bool, PeerError> {
        self.ends_within(std::time::Duration::ZERO)
    }

    /// Waits until it has ended, at most for `patience`; false if it has not.
    ///
    /// # Errors
    /// [`PeerError::Io`].
    pub fn ends_within(&self, patience: std::time::Duration) -> Result<bool, PeerError> {
        let end = std::time::Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let timeout = if left.is_zero() {
                PollTimeout::ZERO
            } else {
                PollTimeout::try_from(left + std::time::Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            };
            match poll(&mut [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(PeerError::Io(error.into())),
            }
        }
    }
}

impl AsFd for Process {
    /// For poll: readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

fn hung_up(link: BorrowedFd<'_>) -> Result<bool, PeerError> {
    let mut waiting = [PollFd::new(link, PollFlags::empty())];
    poll(&mut waiting, PollTimeout::ZERO).map_err(std::io::Error::from)?;
    let seen = waiting.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
    Ok(seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL))
}
