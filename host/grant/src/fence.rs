//! The fence between a process that served a device and its successor.
//!
//! A process that was killed may leave operations behind: requests that the kernel has accepted and not yet ended. They
//! still write to the store, and still fill buffers in the ring's data area. They hold the open file description
//! that they came by, and with it the locks that were taken on it. So whoever gets the same locks on a new description
//! knows that every operation of the old one has ended. What this proves and what not: `docs/fence.md`.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::GrantError;
use crate::locator::Locator;
use crate::lock::{self, Byte, Mode, Taken};

/// The pause between the first two tries; doubled with every try.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two tries. The kernel can wait for a lock, but such a wait could not be given up.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How long `ENOLCK` is tried again where there is no other limit. Memory comes back within that time, and a lock manager
/// that starts again answers; one that is not there at all never does.
const NO_LOCKS: Duration = Duration::from_secs(10);

/// How long to wait for the end of operations.
#[derive(Clone, Copy, Default)]
pub struct Patience<'a> {
    /// Not longer than this; absent: as long as it takes.
    pub limit: Option<Duration>,
    /// Given up within 20 ms once it is true. Another thread sets it.
    pub cancel: Option<&'a AtomicBool>,
    /// Called when the wait begins, and again when something else is waited for. On the caller's thread.
    pub waiting: Option<&'a dyn Fn(&Wait<'_>)>,
}

impl<'a> Patience<'a> {
    /// So long at the most.
    #[must_use]
    pub const fn limited(limit: Duration) -> Self {
        Self { limit: Some(limit), cancel: None, waiting: None }
    }

    /// Until it is given up.
    #[must_use]
    pub const fn cancelled_by(cancel: &'a AtomicBool) -> Self {
        Self { limit: None, cancel: Some(cancel), waiting: None }
    }
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("limit", &self.limit)
            .field("cancel", &self.cancel)
            .field("waiting", &self.waiting.is_some())
            .finish()
    }
}

/// Who holds a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// Operations of a process that served this device before, or that process itself.
    Predecessor,
    /// Another process of Lunbox that serves the same file.
    Other,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Predecessor => "operations of the process that served this device before",
            Self::Other => "another process of Lunbox that serves the same file",
        })
    }
}

/// What is being waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// The store.
    pub locator: &'a Locator,
    /// Who has it.
    pub blocker: Blocker,
}

impl fmt::Display for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is held by {}", self.locator, self.blocker)
    }
}

/// Whether operations of a predecessor can still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// No: the locks were had.
    Yes,
    /// Nobody knows: this file system has no locks. Tell the operator once.
    No,
    /// The store can not outlive its process.
    NotNeeded,
}

/// Why there is no new description. Nothing stays open.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// Longer than there was patience for.
    #[error("{locator} was still held by {blocker} after {:.1} s; {}", .waited.as_secs_f64(), remedy(*.blocker, .locator))]
    Held {
        /// The store.
        locator: String,
        /// Who has it.
        blocker: Blocker,
        /// So long.
        waited: Duration,
    },
    /// It was given up.
    #[error("waiting for {locator} was given up: it may still be held by {blocker}")]
    Cancelled {
        /// The store.
        locator: String,
        /// Who has it.
        blocker: Blocker,
    },
    /// What the store stands on can not be opened any more.
    #[error(transparent)]
    Open(#[from] GrantError),
    /// Locking failed. `ENOLCK` was tried again as long as there was patience, but no longer than 10 s.
    #[error("{locator} can not be locked: {errno}; {}", lock_remedy(*.errno))]
    Lock {
        /// The store.
        locator: String,
        /// The system's answer.
        errno: Errno,
    },
}

fn remedy(blocker: Blocker, locator: &str) -> String {
    match blocker {
        Blocker::Predecessor => {
            "find out why its disk or file server does not answer (dmesg); until it does, nothing may use the ring's \
             buffers"
                .to_owned()
        }
        Blocker::Other => format!("stop the other one (lsof or fuser {locator} finds it)"),
    }
}

/// What to do about locks that can not be taken.
pub(crate) fn lock_remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOLCK => {
            "check that there is memory left and that the file server's lock manager runs (rpc.statd and lockd for NFS 3), \
             or, if no other machine uses the file, mount with `nolock` or `local_lock=all`; then try again"
        }
        _ => "check that its file server answers (dmesg), then try again",
    }
}

/// Which locks a description needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locks {
    /// The device's own byte, if it can have a predecessor.
    pub(crate) own: Option<Byte>,
    /// It was opened for reading only.
    pub(crate) reads: bool,
    /// Others may have the file, too.
    pub(crate) together: bool,
}

impl Locks {
    fn steps(self) -> impl Iterator<Item = (Blocker, Byte, Mode)> {
        let own = if self.reads { Mode::First } else { Mode::Alone };
        let file = if self.together { Mode::Together } else { Mode::Alone };
        let own = self.own.map(|byte| (Blocker::Predecessor, byte, own));
        own.into_iter().chain([(Blocker::Other, lock::FILE, file)])
    }
}

/// Takes the locks on a description, one after the other. Blocks as long as `patience` allows.
pub(crate) fn take(
    fd: &OwnedFd,
    locks: Locks,
    patience: &Patience<'_>,
    locator: &Locator,
) -> Result<Fenced, FenceError> {
    take_by(|byte, mode| lock::take(fd, byte, mode), locks, patience, locator)
}

/// [`take`] by whatever locks a byte.
fn take_by(
    lock: impl Fn(Byte, Mode) -> Result<Taken, Errno>,
    locks: Locks,
    patience: &Patience<'_>,
    locator: &Locator,
) -> Result<Fenced, FenceError> {
    let start = Instant::now();
    for (blocker, byte, mode) in locks.steps() {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            let taken = lock(byte, mode);
            match taken {
                Ok(Taken::Yes) => break,
                Ok(Taken::Unsupported) => return Ok(Fenced::No),
                // Nobody knows whether somebody has it, so nobody gets past.
                Ok(Taken::Held) | Err(Errno::ENOLCK) => {}
                Err(errno) => return Err(FenceError::Lock { locator: locator.to_string(), errno }),
            }
            let waited = start.elapsed();
            if patience.cancel.is_some_and(|cancel| cancel.load(Ordering::Acquire)) {
                return Err(FenceError::Cancelled { locator: locator.to_string(), blocker });
            }
            if let Err(errno) = taken
                && waited >= patience.limit.map_or(NO_LOCKS, |limit| limit.min(NO_LOCKS))
            {
                return Err(FenceError::Lock { locator: locator.to_string(), errno });
            }
            if patience.limit.is_some_and(|limit| waited >= limit) {
                return Err(FenceError::Held { locator: locator.to_string(), blocker, waited });
            }
            if let (Some(waiting), Ok(_), false) = (patience.waiting, taken, told) {
                waiting(&Wait { locator, blocker });
                told = true;
            }
            let left = patience.limit.map_or(pause, |limit| limit.saturating_sub(waited));
            std::thread::sleep(pause.min(left));
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
    Ok(Fenced::Yes)
}

#[cfg(test)]
mod tests;
