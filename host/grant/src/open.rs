//! Opening a file or block device for a LUN.
//!
//! The path comes from whoever may decide (configfs, which only root writes, or the user's own command line), so
//! symbolic links are followed (`/dev/disk/by-id` works); magic links (`/proc/<pid>/fd`) are not. A missing file is
//! created where its path says, never where a link points to. The handler never learns the path.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::ftruncate;

use crate::claims::{Claim, Claims, Identity};
use crate::lock;

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
    const fn creates(self) -> bool {
        matches!(self, Self::Create | Self::Sized { .. })
    }

    /// Words for messages.
    const fn purpose(self) -> &'static str {
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

/// Why a file is not granted. Nothing stays open or was changed, except that an empty file may have been created.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// No absolute path.
    #[error("{path:?} is not an absolute path; write it as <subtype>//directory/file")]
    Relative {
        /// As it stands in the cfgstring.
        path: String,
    },
    /// A directory.
    #[error("{path} is a directory; name a file in it, which is created if it does not exist")]
    Directory {
        /// Where.
        path: String,
    },
    /// Something that has no blocks.
    #[error("{path} is a {kind}; only regular files and block devices can back a LUN")]
    NotStorage {
        /// Where.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A device node that is not there. It is not created: it would be a file in memory.
    #[error("{path} does not exist; check that the disk is attached, or name a file outside of /dev")]
    NoDevice {
        /// Where.
        path: String,
    },
    /// A symbolic link to something that is not there. Its target is not created.
    #[error(
        "{path} is a symbolic link that leads nowhere; create the file that it points to, or name that file itself"
    )]
    DanglingLink {
        /// Where.
        path: String,
    },
    /// A directory on the way is missing.
    #[error("{path}: a directory of this path does not exist; create it first (mkdir -p)")]
    NoDirectory {
        /// Where.
        path: String,
    },
    /// Permissions.
    #[error(
        "{path} can not be opened for {purpose}: {errno}; check its permissions, its file system's \
             mount options, and this process's confinement (SELinux, AppArmor, systemd)"
    )]
    Denied {
        /// Where.
        path: String,
        /// What it was to be opened for.
        purpose: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// It is not there, and was not to be created.
    #[error("{path} does not exist; create it, or correct the path")]
    Missing {
        /// Where.
        path: String,
    },
    /// Another process of ours has it.
    #[error(
        "{path} is in use by another process of Lunbox; two LUNs on one file destroy each other's data: stop the other \
         one (lsof or fuser {path} finds it), or serve both read-only"
    )]
    Locked {
        /// Where.
        path: String,
    },
    /// Two devices must not use one file if one of them writes.
    #[error(
        "{path} is already in use by {holder}; two LUNs on one file destroy each other's data: give each a file of its \
         own, or serve both read-only"
    )]
    Claimed {
        /// Where.
        path: String,
        /// Who was first.
        holder: String,
    },
    /// It can not have the length that was asked for.
    #[error(
        "{path} can not be made {bytes} bytes long ({errno}) and stays empty; choose a smaller size, or a file system for \
         larger files"
    )]
    Length {
        /// Where.
        path: String,
        /// The length that was asked for.
        bytes: u64,
        /// The system's answer.
        errno: Errno,
    },
    /// It was found and can not be reached.
    #[error("{path} can not be opened by way of /proc/self/fd: {errno}; is /proc mounted?")]
    NoProc {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// Anything else.
    #[error(
        "{path} can not be opened: {errno}; check that its disk or file server answers and has room (dmesg), then try \
         again"
    )]
    System {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
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
    let owned = || path.to_owned();
    if !path.starts_with('/') {
        return Err(GrantError::Relative { path: owned() });
    }
    let mut created = false;
    let fd = match open_existing(path, access) {
        Err(Failure::System(Errno::ENOENT)) if access.creates() => match create(path) {
            // Something is there and yet is not: a link. Or it came this moment, then it opens now.
            Err(Failure::System(Errno::EEXIST)) => match open_existing(path, access) {
                Err(Failure::System(Errno::ENOENT)) => {
                    return Err(GrantError::DanglingLink { path: owned() });
                }
                opened => opened,
            },
            made => {
                created = made.is_ok();
                made
            }
        },
        opened => opened,
    };
    let fd = fd.map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::System(Errno::ENOENT) if !access.creates() => GrantError::Missing { path: owned() },
        Failure::System(Errno::ENOENT | Errno::ENOTDIR) => GrantError::NoDirectory { path: owned() },
        Failure::System(Errno::EISDIR) => GrantError::Directory { path: owned() },
        Failure::System(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ELOOP)) => {
            GrantError::Denied { path: owned(), purpose: access.purpose(), errno }
        }
        Failure::System(errno) => GrantError::System { path: owned(), errno },
    })?;
    let system = |errno| GrantError::System { path: owned(), errno };
    let identity = identify(path, &fstat(fd.as_fd()).map_err(system)?)?;
    let claim = claims
        .claim(identity, device, access.writes())
        .map_err(|holder| GrantError::Claimed { path: owned(), holder })?;
    // Behind the claim, so that LUNs of this process hear of each other.
    if !lock::take(&fd, access.writes(), lock::PATIENCE).map_err(system)? {
        return Err(GrantError::Locked { path: owned() });
    }
    let can_grow = access.writes() && matches!(identity, Identity::File { .. });
    if let Access::Sized { bytes } = access
        && can_grow
    {
        // Behind claim and lock: nobody of ours makes it longer between the look and the change.
        fill_out(&fd, bytes).map_err(|errno| GrantError::Length { path: owned(), bytes, errno })?;
    }
    Ok(Grant { fd, claim, can_grow, created })
}

/// Why a path could not be opened.
#[derive(Debug)]
enum Failure {
    Refused(GrantError),
    System(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// Makes an empty file so many bytes long. What is not empty stays as long as it is.
fn fill_out(fd: &OwnedFd, bytes: u64) -> Result<(), Errno> {
    if fstat(fd)?.st_size > 0 {
        return Ok(());
    }
    ftruncate(fd, i64::try_from(bytes).map_err(|_| Errno::EFBIG)?)
}

/// How stores are opened. `O_NONBLOCK`: a file with a lease on it must not hold us up.
fn flags(access: Access) -> OFlag {
    let mode = if access.writes() { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    mode | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE
}

/// Opens what is there. Opening a tape drive or a watchdog has effects, so what it is must be known before, and
/// nothing else may take its place in between: it is looked at and opened through one descriptor.
fn open_existing(path: &str, access: Access) -> Result<OwnedFd, Failure> {
    let place = locate(Path::new(path), OFlag::empty())?;
    identify(path, &fstat(place.as_fd())?).map_err(Failure::Refused)?;
    open(&own_link(&place), flags(access), Mode::empty()).map_err(|errno| reopening(path, errno))
}

/// Why what was found can not be opened. It is there, so whatever is missing is the way to it.
fn reopening(path: &str, errno: Errno) -> Failure {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            Failure::Refused(GrantError::NoProc { path: path.to_owned(), errno })
        }
        errno => Failure::System(errno),
    }
}

/// Creates a file that must not exist, empty. Follows links on the way, but not at its end.
fn create(path: &str) -> Result<OwnedFd, Failure> {
    // Path leaves these away, although they ask for a directory.
    if path.ends_with('/') || path.ends_with("/.") {
        return Err(Failure::Refused(GrantError::Directory { path: path.to_owned() }));
    }
    let (Some(parent), Some(name)) = (Path::new(path).parent(), Path::new(path).file_name()) else {
        return Err(Errno::EISDIR.into());
    };
    let no_device = || Failure::Refused(GrantError::NoDevice { path: path.to_owned() });
    let directory = match locate(parent, OFlag::O_DIRECTORY) {
        Err(Errno::ENOENT) if parent.starts_with("/dev") => return Err(no_device()),
        located => located?,
    };
    // Where it really is, whatever links and `..` led there.
    let place = fs::read_link(own_link(&directory)).map_err(|error| {
        reopening(path, error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
    })?;
    // /dev/shm is there for files.
    if place.starts_with("/dev") && !place.starts_with("/dev/shm") {
        return Err(no_device());
    }
    let flags = flags(Access::Create) | OFlag::O_CREAT | OFlag::O_EXCL;
    Ok(openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// Finds something without opening it.
fn locate(path: &Path, extra: OFlag) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | extra;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Linux before 5.6.
        Err(Errno::ENOSYS) => open(path, flags, Mode::empty()),
        located => located,
    }
}

/// The link by which what a descriptor shows can be opened.
fn own_link(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn identify(path: &str, stat: &FileStat) -> Result<Identity, GrantError> {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    match kind {
        SFlag::S_IFREG => Ok(Identity::File { device: stat.st_dev, inode: stat.st_ino }),
        SFlag::S_IFBLK => Ok(Identity::Disk { number: stat.st_rdev }),
        kind => Err(not_storage(path, kind)),
    }
}

fn not_storage(path: &str, kind: SFlag) -> GrantError {
    let path = path.to_owned();
    let kind = match kind {
        SFlag::S_IFDIR => return GrantError::Directory { path },
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFIFO => "FIFO",
        SFlag::S_IFSOCK => "socket",
        _ => "thing of an unknown kind",
    };
    GrantError::NotStorage { path, kind }
}

#[cfg(test)]
mod tests;
