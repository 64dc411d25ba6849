//! What a supervisor keeps of a store: the right to open it again.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, fstat, major, minor};

use crate::claims::{Claim, Claims, Identity, Use};
use crate::error::GrantError;
use crate::fence::{self, FenceError, Fenced, Locks, Patience};
use crate::find::{self, Found};
use crate::locator::Locator;
use crate::lock::Byte;
use crate::open::Access;

/// What is to be opened, for whom, and by which rules.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The device's full name, for messages. With `option` it names the fence, so it must be the same after a restart
    /// and nobody else's on any machine that uses the same store.
    pub device: &'a str,
    /// Which option of the device asks for it.
    pub option: &'a str,
    /// Where.
    pub locator: &'a Locator,
    /// How.
    pub access: Access,
    /// The tenant's roots, absolute: paths stay in them. Empty: any path.
    pub roots: &'a [PathBuf],
    /// Policy lets other devices write to it at the same time.
    pub shared: bool,
    /// Bytes of a [`Locator::Memory`].
    pub memory_bytes: u64,
}

/// What is known of a descriptor that a process of an earlier supervisor gave back.
#[derive(Clone, Copy, Debug)]
pub struct Adopted<'a> {
    /// See [`Wanted::device`].
    pub device: &'a str,
    /// See [`Wanted::option`].
    pub option: &'a str,
    /// Where it is said to be.
    pub locator: &'a Locator,
    /// The device only reads it.
    pub read_only: bool,
    /// See [`Wanted::shared`].
    pub shared: bool,
    /// See [`Wanted::memory_bytes`].
    pub memory_bytes: u64,
}

/// What a store is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file or block device: a descriptor.
    File,
    /// Memory of the process that serves it: no descriptor.
    Memory {
        /// Bytes.
        bytes: u64,
    },
}

/// A new open file description of a store, for one process.
#[derive(Debug)]
pub struct Description {
    /// Open for reading and, unless the store is read-only, writing; non-blocking, closed on exec, locked. Pass it on
    /// and close it: as long as any copy of it is open, no successor gets past the fence. Absent for memory.
    pub fd: Option<OwnedFd>,
    /// Whether operations of a predecessor can still be there.
    pub fenced: Fenced,
}

/// A store that was granted, and can be opened as often as processes that serve it come and go. It holds no lock and
/// reads and writes nothing itself. Dropping it gives the file back to other devices.
#[derive(Debug)]
pub struct Master {
    device: String,
    option: String,
    locator: Locator,
    read_only: bool,
    shared: bool,
    created: bool,
    stands_on: StandsOn,
}

#[derive(Debug)]
enum StandsOn {
    File {
        /// It and nothing else, whatever its path names by now: `O_PATH`.
        place: OwnedFd,
        identity: Identity,
        /// Tells a disk from a later one of the same number.
        sequence: Option<u64>,
        claim: Claim,
    },
    Memory {
        bytes: u64,
    },
}

impl Master {
    /// Finds a store, creates it if it is missing and `access` says so, and claims it. Takes no lock and does not open
    /// it: [`Self::describe`] does. May block as long as the file system does.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub fn open(wanted: &Wanted<'_>, claims: &Arc<Claims>) -> Result<Self, GrantError> {
        let &Wanted { device, option, locator, access, roots, shared, memory_bytes } = wanted;
        let read_only = !access.writes();
        let (stands_on, created) = match locator {
            Locator::Path(path) => {
                let Found { place, identity, created } = find::find(path, access, roots)?;
                let claim = claims.claim_path(identity, device, path, Use { writes: !read_only, shared })?;
                (StandsOn::File { place, identity, sequence: sequence(identity), claim }, created)
            }
            Locator::Memory if memory_bytes == 0 => return Err(GrantError::NoMemory),
            Locator::Memory => (StandsOn::Memory { bytes: memory_bytes }, false),
            Locator::Rbd { .. } => return Err(no_client(locator, "rbd")),
            Locator::Glfs { .. } => return Err(no_client(locator, "glfs")),
        };
        Ok(Self {
            device: device.to_owned(),
            option: option.to_owned(),
            locator: locator.clone(),
            read_only,
            shared,
            created,
            stands_on,
        })
    }

    /// Takes over a store by a descriptor that a process gave back, and closes that. The process is not trusted: what
    /// it had open for reading is not opened for writing, whatever it says. Blocks for no longer than a few system
    /// calls.
    ///
    /// # Errors
    /// [`GrantError::WrongDescriptor`], [`GrantError::NotStorage`] and its like, [`GrantError::Claimed`].
    pub fn adopt(
        fd: Option<OwnedFd>,
        adopted: &Adopted<'_>,
        claims: &Arc<Claims>,
    ) -> Result<Self, GrantError> {
        let &Adopted { device, option, locator, read_only, shared, memory_bytes } = adopted;
        let stands_on = match (locator, fd) {
            (Locator::Memory, None) if memory_bytes == 0 => return Err(GrantError::NoMemory),
            (Locator::Memory, None) => StandsOn::Memory { bytes: memory_bytes },
            (Locator::Path(path), Some(fd)) => {
                let access = if read_only { Access::ReadOnly } else { Access::Existing };
                let wrong = || GrantError::WrongDescriptor {
                    locator: locator.to_string(),
                    purpose: access.purpose(),
                };
                let system = |errno| GrantError::System { path: path.clone(), errno };
                let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).map_err(system)?);
                let mode = flags & OFlag::O_ACCMODE;
                let allows = mode == OFlag::O_RDWR || (read_only && mode == OFlag::O_RDONLY);
                if flags.contains(OFlag::O_PATH) || !allows {
                    return Err(wrong());
                }
                let identity = find::identify(path, &fstat(fd.as_fd()).map_err(system)?)?;
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let place = open(&find::own_link(&fd), flags, Mode::empty())
                    .map_err(|errno| GrantError::NoProc { path: path.clone(), errno })?;
                let claim = claims.claim_path(identity, device, path, Use { writes: !read_only, shared })?;
                StandsOn::File { place, identity, sequence: sequence(identity), claim }
            }
            _ => {
                return Err(GrantError::WrongDescriptor {
                    locator: locator.to_string(),
                    purpose: "this kind of store",
                });
            }
        };
        Ok(Self {
            device: device.to_owned(),
            option: option.to_owned(),
            locator: locator.clone(),
            read_only,
            shared,
            created: false,
            stands_on,
        })
    }

    /// Opens the store again, and waits until no operation by an earlier description of this device is left: the new
    /// description has the locks that those hold. Blocks as long as `patience` allows; on a thread of its own if that
    /// is long.
    ///
    /// # Errors
    /// See [`FenceError`].
    pub fn describe(&self, patience: &Patience<'_>) -> Result<Description, FenceError> {
        let StandsOn::File { place, identity, sequence: known, .. } = &self.stands_on else {
            return Ok(Description { fd: None, fenced: Fenced::NotNeeded });
        };
        let access = if self.read_only { Access::ReadOnly } else { Access::Existing };
        let fd = find::open_found(place, &self.locator.to_string(), access)?;
        // Open disks keep their number, so it is this one that has it now.
        if *known != sequence(*identity) {
            return Err(GrantError::Replaced { locator: self.locator.to_string() }.into());
        }
        let own = Some(Byte::of_device(&self.device, &self.option));
        let locks = Locks { own, reads: self.read_only, together: self.read_only || self.shared };
        let fenced = fence::take(&fd, locks, patience, &self.locator)?;
        Ok(Description { fd: Some(fd), fenced })
    }

    /// Where it is, as it was written.
    #[must_use]
    pub fn locator(&self) -> &Locator {
        &self.locator
    }

    /// Which option asked for it.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }

    /// The device only reads it.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Other devices may write to it as well.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.shared
    }

    /// It was not there before.
    #[must_use]
    pub fn created(&self) -> bool {
        self.created
    }

    /// What a process makes the store from.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.stands_on {
            StandsOn::File { .. } => Kind::File,
            StandsOn::Memory { bytes } => Kind::Memory { bytes },
        }
    }

    /// Bytes now, for reports; absent if the system does not tell. A few system calls.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match &self.stands_on {
            &StandsOn::Memory { bytes } => Some(bytes),
            StandsOn::File { identity: Identity::Disk { number }, .. } => {
                // In units of 512 bytes, whatever the disk's blocks are.
                attribute(*number, "size")?.checked_mul(512)
            }
            StandsOn::File { place, .. } => u64::try_from(fstat(place.as_fd()).ok()?.st_size).ok(),
        }
    }

    /// Never gives the file back to others: a process that may still write to it could not be stopped.
    pub fn keep_for_good(self) {
        if let StandsOn::File { claim, .. } = self.stands_on {
            claim.keep_for_good();
        }
    }
}

fn no_client(locator: &Locator, kind: &'static str) -> GrantError {
    GrantError::NoClient { locator: locator.to_string(), kind }
}

/// The sequence number of a disk: every disk that the kernel has seen since it started has another one (Linux 5.15,
/// `Documentation/ABI/stable/sysfs-block`). Absent for files, and where the kernel does not tell.
fn sequence(identity: Identity) -> Option<u64> {
    let Identity::Disk { number } = identity else { return None };
    // A partition's is its disk's.
    attribute(number, "diskseq").or_else(|| attribute(number, "../diskseq"))
}

/// A number that sysfs tells of a block device.
fn attribute(number: u64, name: &str) -> Option<u64> {
    let path = format!("/sys/dev/block/{}:{}/{name}", major(number), minor(number));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
