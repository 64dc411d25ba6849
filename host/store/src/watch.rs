//! Watched file descriptors.

use std::os::fd::OwnedFd;

/// Position of the executor's own waker among the watches.
pub(crate) const WAKER: usize = 0;

/// One watched file descriptor.
#[derive(Debug)]
pub(crate) struct Watch {
    /// A duplicate: the caller's descriptor may be closed.
    pub(crate) fd: OwnedFd,
    /// The caller's name for it.
    pub(crate) key: u32,
    /// A one-shot poll of it is under way (io_uring backend only).
    pub(crate) armed: bool,
    /// Reported as ready and not yet taken by `next_ready`.
    pub(crate) reported: bool,
}
