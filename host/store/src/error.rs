//! What can go wrong: in a store, while opening one, and in the machinery.

use std::io;

use nix::errno::Errno;

/// Why an operation failed: data for whoever asked, not a failure of the executor. One for one the `OpError`
/// of the handler contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// The medium or the path to it.
    #[error("input/output error of the store")]
    Io,
    /// No space left to allocate, quota exhausted, or the file may not grow further.
    #[error("no space left in the store")]
    NoSpace,
    /// The store can not be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// Beyond the end of the store.
    #[error("beyond the end of the store")]
    EndOfStore,
    /// No answer in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// Cancelled by [`crate::Executor::cancel`]. A write may have happened in part.
    #[error("cancelled")]
    Cancelled,
    /// The store can not do this.
    #[error("the store does not support this operation")]
    Unsupported,
    /// The request itself was not valid.
    #[error("the operation is not valid")]
    Invalid,
    /// A page of the target has gone: the kernel reclaimed part of the command's buffer.
    #[error("the buffer of the operation has gone")]
    BufferLost,
}

impl StoreError {
    /// Translates an error number of errno(3). Numbers without a meaning of their own are [`Self::Io`].
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        match Errno::from_raw(errno) {
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Self::NoSpace,
            Errno::EROFS | Errno::EPERM => Self::ReadOnly,
            Errno::ETIMEDOUT => Self::TimedOut,
            Errno::ECANCELED => Self::Cancelled,
            Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENOTTY => Self::Unsupported,
            Errno::EINVAL | Errno::EOVERFLOW => Self::Invalid,
            Errno::EFAULT => Self::BufferLost,
            _ => Self::Io,
        }
    }
}

/// Why something can not be used as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file descriptor is neither a regular file nor a block device.
    #[error("a store must be a regular file or a block device, but this is a {found}; name another path")]
    NotAStore {
        /// What it is.
        found: &'static str,
    },
    /// The file descriptor was opened write-only.
    #[error("the store's file descriptor can not be read; open it for reading and writing")]
    NotReadable,
    /// A writable store was asked for, but the file descriptor was opened read-only.
    #[error("the store's file descriptor can not be written; open it for writing or set read_only")]
    NotWritable,
    /// A memory store of no bytes, or of more than this process can address.
    #[error(
        "a memory store can not have {bytes} bytes; give it at least 1 and at most what the process can map"
    )]
    MemorySize {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A system call failed.
    #[error("{call} of the store failed")]
    System {
        /// Name of the system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

/// Why the executor itself does not work. What stores answer is never found here.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// `io_uring_setup` was refused.
    #[error(
        "io_uring is not available; allow it (sysctl kernel.io_uring_disabled, seccomp, RLIMIT_MEMLOCK) \
         or choose the thread backend"
    )]
    Setup(#[source] io::Error),
    /// The kernel's io_uring lacks something that the executor relies on.
    #[error("this kernel's io_uring lacks {feature} (Linux 5.11 has it); choose the thread backend")]
    Feature {
        /// The feature flag of `io_uring_setup(2)`.
        feature: &'static str,
    },
    /// `io_uring_enter` failed.
    #[error("io_uring_enter failed")]
    Enter(#[source] io::Error),
    /// A thread could not be started.
    #[error("a store thread could not be started; check the limits on threads")]
    Thread(#[source] io::Error),
    /// Watching a file descriptor failed.
    #[error("{call} for a watched file descriptor failed")]
    Watch {
        /// Name of the system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}
