//! Opening a file or block device at once, for a process that keeps it until it ends.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::claims::{Claim, Claims, Identity, Use};
use crate::error::GrantError;
use crate::fence::{self, FenceError, Locks, Patience};
use crate::find::{self, Found};
use crate::locator::Locator;

/// How long the lock of another process may outlive it: operations of a process that was killed are cancelled by the
/// kernel after it has gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a LUN does with its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes; a regular file that is missing is created, empty, for its owner only.
    Create,
    /// As [`Self::Create`]; a regular file that is new or empty is made so many bytes long, sparse, so that whoever
    /// opens it later finds that size.
    Sized {
        /// Length in bytes.
        bytes: u64,
    },
    /// Reads and writes what is there.
    Existing,
    /// Reads what is there. Others may read it too.
    ReadOnly,
}

impl Access {
    /// It may change the file.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::ReadOnly)
    }

    /// What is missing is created.
    pub(crate) const fn creates(self) -> bool {
        matches!(self, Self::Create | Self::Sized { .. })
    }

    /// Words for messages.
    pub(crate) const fn purpose(self) -> &'static str {
        if self.writes() { "reading and writing" } else { "reading" }
    }
}

/// A file that was opened for a handler.
#[derive(Debug)]
pub struct Grant {
    /// Open for reading and, unless [`Access::ReadOnly`], writing; non-blocking, closed on exec, locked.
    pub fd: OwnedFd,
    /// Keep it as long as the file may be used.
    pub claim: Claim,
    /// A write beyond its end makes it longer.
    pub can_grow: bool,
    /// It was not there before.
    pub created: bool,
}

/// Opens `path` for `device`, claims it and locks it. May block as long as the file system does, and some seconds
/// while a lock ends with the process that had it.
///
/// # Errors
/// See [`GrantError`].
pub fn open_store(
    path: &str,
    device: &str,
    claims: &Arc<Claims>,
    access: Access,
) -> Result<Grant, GrantError> {
    let Found { place, identity, created } = find::find(path, access, &[])?;
    let using = Use { writes: access.writes(), shared: false };
    let claim = claims.claim_path(identity, device, path, using)?;
    let fd = find::open_found(&place, path, access)?;
    // Behind the claim, so that LUNs of this process hear of each other.
    let locks = Locks { own: None, reads: !access.writes(), together: !access.writes() };
    let locator = Locator::Path(path.to_owned());
    let fenced = fence::take(&fd, locks, &Patience::limited(PATIENCE), &locator);
    fenced.map_err(|error| match error {
        FenceError::Open(error) => error,
        FenceError::Lock { errno, .. } => GrantError::Lock { path: path.to_owned(), errno },
        FenceError::Held { .. } | FenceError::Cancelled { .. } => {
            GrantError::Locked { path: path.to_owned() }
        }
    })?;
    let can_grow = access.writes() && matches!(identity, Identity::File { .. });
    if let Access::Sized { bytes } = access
        && can_grow
    {
        // Behind claim and lock: nobody of ours makes it longer between the look and the change.
        fill_out(&fd, bytes).map_err(|errno| GrantError::Length { path: path.to_owned(), bytes, errno })?;
    }
    Ok(Grant { fd, claim, can_grow, created })
}

/// Makes an empty file so many bytes long. What is not empty stays as long as it is.
fn fill_out(fd: &OwnedFd, bytes: u64) -> Result<(), Errno> {
    if fstat(fd)?.st_size > 0 {
        return Ok(());
    }
    ftruncate(fd, i64::try_from(bytes).map_err(|_| Errno::EFBIG)?)
}

#[cfg(test)]
mod tests;
