//! Wakes an executor that sleeps in `wait` from another thread.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd that the executor watches. One per executor, for everything that ends outside of its thread.
#[derive(Debug)]
pub(crate) struct Waker(EventFd);

impl Waker {
    pub(crate) fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map(Self)
    }

    /// Makes the executor look at pools and gates. From any thread; one system call.
    pub(crate) fn wake(&self) {
        // A counter at its limit (EAGAIN) is readable, which is all that counts.
        let written = self.0.write(1);
        debug_assert!(matches!(written, Ok(_) | Err(Errno::EAGAIN)), "an own eventfd can be written");
    }

    /// Forgets wake-ups so far; the caller then looks at their causes. One system call.
    pub(crate) fn clear(&self) {
        let read = self.0.read();
        debug_assert!(matches!(read, Ok(_) | Err(Errno::EAGAIN)), "an own eventfd can be read");
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
