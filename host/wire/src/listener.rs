//! The door at which a successor of the supervisor knocks.
//!
//! The supervisor makes and names the socket; the worker, which has no paths, makes it listen. So the credentials
//! that the kernel shows to whoever connects (SO_PEERCRED, unix(7)) are the worker's: they are noted by listen(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::link::{Link, LinkError};

/// Connections that may wait: only supervisors connect, one after the other.
const BACKLOG: i32 = 4;

/// A `SOCK_SEQPACKET` socket with a name in the file system.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Makes a socket and its name. It does not listen: a connection is refused until [`Listener::listen`].
    ///
    /// Keep no copy when it has been passed on: as long as one exists, a worker's death is not seen by those who
    /// have connected and were not accepted yet.
    ///
    /// # Errors
    /// [`LinkError::Io`]: `EADDRINUSE` if the name exists (remove the file if nobody is behind it), `ENAMETOOLONG`
    /// beyond 107 bytes, what the folder's rights say.
    pub fn bind(path: &Path) -> Result<Self, LinkError> {
        let address = SocketAddrUnix::new(path).map_err(io)?;
        let socket = new_socket(SocketFlags::CLOEXEC)?;
        rustix::net::bind(&socket, &address).map_err(io)?;
        Ok(Self { socket })
    }

    /// A socket that was inherited.
    ///
    /// # Errors
    /// [`LinkError::Io`] if it is no `SOCK_SEQPACKET` socket of the Unix domain.
    pub fn from_fd(socket: OwnedFd) -> Result<Self, LinkError> {
        Link::from_fd(socket).map(|link| Self { socket: link.into_fd() })
    }

    /// The descriptor, for a child's standard output.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Takes connections from now on. They see the credentials of this process as they are now.
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn listen(&self) -> Result<(), LinkError> {
        // The socket is the worker's alone, so its flags are, too.
        rustix::io::ioctl_fionbio(&self.socket, true).map_err(io)?;
        rustix::net::listen(&self.socket, BACKLOG).map_err(io)
    }

    /// The next connection, or `None` if nobody waits. Never blocks after [`Listener::listen`].
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn accept(&self) -> Result<Option<Link>, LinkError> {
        loop {
            return match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(socket) => Link::from_fd(socket).map(Some),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => Ok(None),
                Err(error) => Err(io(error)),
            };
        }
    }
}

impl AsFd for Listener {
    /// For poll: readable when somebody waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Connects to a worker's socket. Never blocks.
///
/// # Errors
/// [`LinkError::Gone`] if nobody listens there: the file is a leftover. [`LinkError::WouldBlock`] if others wait to
/// be accepted and the worker does not answer. [`LinkError::Io`] otherwise.
pub fn connect(path: &Path) -> Result<Link, LinkError> {
    let address = SocketAddrUnix::new(path).map_err(io)?;
    let socket = new_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::CONNREFUSED) => return Err(LinkError::Gone),
            Err(Errno::AGAIN) => return Err(LinkError::WouldBlock),
            Err(error) => return Err(io(error)),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false).map_err(io)?;
    Link::from_fd(socket)
}

fn new_socket(flags: SocketFlags) -> Result<OwnedFd, LinkError> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(io)
}

fn io(error: Errno) -> LinkError {
    LinkError::Io(error.into())
}
