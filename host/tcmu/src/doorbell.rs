//! The two signals beside the ring: "there is work" from the kernel, "there are completions" to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{read, write};

use crate::ring_error::RingError;

/// How a ring and its other side wake each other up. All fds must be in non-blocking mode.
#[derive(Debug)]
pub enum Doorbell {
    /// A UIO device (`/dev/uioN`): readable when there is work; reading 4 bytes consumes the event, writing
    /// 4 bytes makes the kernel look for completions.
    Uio(OwnedFd),
    /// Two eventfds, as an emulated ring has them (8 bytes each way).
    Event {
        /// Readable when there is work.
        wait: OwnedFd,
        /// Written when there are completions.
        ring: OwnedFd,
    },
}

impl Doorbell {
    /// Refuses fds that would block.
    pub(crate) fn check(&self) -> Result<(), RingError> {
        let (wait, ring) = self.fds();
        for (fd, name) in [(wait, "wait"), (ring, "doorbell")] {
            let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(RingError::Gone)?;
            if !OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK) {
                return Err(RingError::Blocking { fd: name });
            }
        }
        Ok(())
    }

    fn fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        match self {
            Self::Uio(fd) => (fd.as_fd(), fd.as_fd()),
            Self::Event { wait, ring } => (wait.as_fd(), ring.as_fd()),
        }
    }

    /// The fd that becomes readable.
    pub(crate) fn wait_fd(&self) -> BorrowedFd<'_> {
        self.fds().0
    }

    /// Consumes the event count; false if there was none. Adds the system calls made to `syscalls`.
    pub(crate) fn consume(&self, syscalls: &mut u64) -> Result<bool, RingError> {
        let mut count = [0; 8];
        let count = &mut count[..self.word()];
        loop {
            *syscalls += 1;
            match read(self.fds().0, count) {
                Ok(length) if length == count.len() => return Ok(true),
                // End of file: whatever this is, it will never ring again.
                Ok(_) => return Err(RingError::Gone(Errno::EIO)),
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(RingError::Gone(error)),
            }
        }
    }

    /// Tells the other side to look for completions. Adds the system calls made to `syscalls`.
    pub(crate) fn ring(&self, syscalls: &mut u64) -> Result<(), RingError> {
        let (narrow, wide) = (1_u32.to_ne_bytes(), 1_u64.to_ne_bytes());
        let word = match self {
            Self::Uio(_) => &narrow[..],
            Self::Event { .. } => &wide[..],
        };
        loop {
            *syscalls += 1;
            match write(self.fds().1, word) {
                Ok(length) if length == word.len() => return Ok(()),
                Ok(_) => return Err(RingError::Gone(Errno::EIO)),
                // A full counter: the other side has been rung and has not looked yet.
                Err(Errno::EAGAIN) if matches!(self, Self::Event { .. }) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(RingError::Gone(error)),
            }
        }
    }

    /// Bytes of one event count.
    fn word(&self) -> usize {
        match self {
            Self::Uio(_) => 4,
            Self::Event { .. } => 8,
        }
    }
}
