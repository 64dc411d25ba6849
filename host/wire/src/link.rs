//! The way: packets of a `SOCK_SEQPACKET` socket, with descriptors beside them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of one message. A socket's default send buffer (208 KiB, net.core.wmem_default) holds one.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Most descriptors beside one message; the kernel takes 253 (SCM_MAX_FD).
pub const MAX_DESCRIPTORS: usize = 64;

/// A message and the descriptors that came with it.
pub type Packet<T> = (T, Vec<OwnedFd>);

/// Why nothing was said or understood.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Sending: the other end is closed.
    #[error("the other end of the link is closed")]
    Gone,
    /// Non-blocking calls: the socket's buffer is full, or nothing has arrived.
    #[error("the link is not ready")]
    WouldBlock,
    /// More than [`MAX_MESSAGE`] bytes. A received packet was discarded, its descriptors closed.
    #[error("a message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// More than [`MAX_DESCRIPTORS`] descriptors, or more than this process may still open. Those that had arrived
    /// were closed.
    #[error("descriptors were lost: more than {MAX_DESCRIPTORS} in one packet, or RLIMIT_NOFILE was reached")]
    TooManyDescriptors,
    /// The bytes are not a message, or not one of this version. The packet was discarded, its descriptors closed.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A system call failed.
    #[error("link: {0}")]
    Io(#[from] std::io::Error),
}

/// One end of a connected `SOCK_SEQPACKET` socket: packets arrive whole, in order, or not at all (unix(7)).
///
/// Any number of threads may send at a time; [`Link::try_clone`] gives each its own. One thread at a time should
/// receive, since it gets whichever packet is next.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Two connected ends, closed on exec.
    ///
    /// # Errors
    /// [`LinkError::Io`]: no descriptors left.
    pub fn pair() -> Result<(Self, Self), LinkError> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(io)?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// An end that was inherited or accepted.
    ///
    /// # Errors
    /// [`LinkError::Io`] if it is no `SOCK_SEQPACKET` socket of the Unix domain.
    pub fn from_fd(socket: OwnedFd) -> Result<Self, LinkError> {
        let kind = rustix::net::sockopt::socket_type(&socket).map_err(io)?;
        let domain = rustix::net::sockopt::socket_domain(&socket).map_err(io)?;
        if kind != SocketType::SEQPACKET || domain != AddressFamily::UNIX {
            return Err(LinkError::Io(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the descriptor is not a SOCK_SEQPACKET socket of the Unix domain",
            )));
        }
        Ok(Self { socket })
    }

    /// The descriptor, for a child's standard input.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// The same end again.
    ///
    /// # Errors
    /// [`LinkError::Io`]: no descriptors left.
    pub fn try_clone(&self) -> Result<Self, LinkError> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    /// Ends the connection for all clones of both ends: whoever receives learns that the peer is gone.
    pub fn shut_down(&self) {
        // ENOTCONN: the other end was quicker.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Sends a message with copies of `descriptors`. Blocks while the socket's buffer is full.
    ///
    /// # Errors
    /// [`LinkError::Gone`], [`LinkError::TooLong`], [`LinkError::TooManyDescriptors`], [`LinkError::Io`]. Nothing
    /// was sent then.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        self.send_with(message, descriptors, SendFlags::empty())
    }

    /// As [`Link::send`], without blocking.
    ///
    /// # Errors
    /// As [`Link::send`], and [`LinkError::WouldBlock`].
    pub fn try_send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        self.send_with(message, descriptors, SendFlags::DONTWAIT)
    }

    fn send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), LinkError> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(LinkError::TooLong);
        }
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(LinkError::TooManyDescriptors);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(LinkError::TooManyDescriptors);
        }
        loop {
            // NOSIGNAL: a peer that died is an error of this call, not a SIGPIPE.
            match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut beside, flags | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(LinkError::Gone),
                Err(Errno::AGAIN) => return Err(LinkError::WouldBlock),
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// The next message and its descriptors (closed on exec), or `None` if the peer is gone and nothing is left to
    /// read. Blocks until there is one.
    ///
    /// # Errors
    /// [`LinkError::TooLong`], [`LinkError::TooManyDescriptors`], [`LinkError::Malformed`]: this packet was
    /// discarded, the next one can be received. [`LinkError::Io`].
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<Packet<T>>, LinkError> {
        self.receive_with(RecvFlags::empty())
    }

    /// As [`Link::receive`], without blocking.
    ///
    /// # Errors
    /// As [`Link::receive`], and [`LinkError::WouldBlock`].
    pub fn try_receive<T: DeserializeOwned>(&self) -> Result<Option<Packet<T>>, LinkError> {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    /// As [`Link::receive`], blocking for at most `patience`.
    ///
    /// # Errors
    /// As [`Link::receive`], and [`LinkError::WouldBlock`] when the time is over.
    pub fn receive_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> Result<Option<Packet<T>>, LinkError> {
        let end = Instant::now() + patience;
        loop {
            match self.try_receive() {
                Err(LinkError::WouldBlock) => {}
                other => return other,
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LinkError::WouldBlock);
            }
            // Rounded up: a rest below a millisecond would spin.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], left) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(LinkError::Io(error.into())),
            }
        }
    }

    fn receive_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> Result<Option<Packet<T>>, LinkError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        // Descriptors that are left in it are closed when it is dropped.
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                // The peer died with something unread: whatever it sent before was read already.
                Err(Errno::CONNRESET | Errno::NOTCONN) => return Ok(None),
                Err(Errno::AGAIN) => return Err(LinkError::WouldBlock),
                Err(error) => return Err(io(error)),
            }
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(LinkError::TooManyDescriptors);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(LinkError::TooLong);
        }
        // An empty packet looks like the end, and nobody sends one.
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Link {
    /// For poll: readable when a packet or the end has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn io(error: Errno) -> LinkError {
    LinkError::Io(error.into())
}
