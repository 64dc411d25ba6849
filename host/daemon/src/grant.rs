//! Opening what a cfgstring grants. Without a schema that is one file or block device: the whole text.
//!
//! The text comes from configfs, which only root writes, so symbolic links are followed (`/dev/disk/by-id`
//! works); magic links (`/proc/<pid>/fd`) are not. A missing file is created where its path says, never where a
//! link points to. The handler never learns the path.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// A file or block device by what it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Identity {
    File { device: u64, inode: u64 },
    Disk { number: u64 },
}

/// Which files are open for writing, and by which device. Shared by all devices of the daemon.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<Identity, String>>,
}

/// The right to write to a file; given back on drop.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    identity: Identity,
    for_good: bool,
}

impl Claim {
    /// Never gives the right back: a store that could not be stopped may still write.
    pub fn keep_for_good(mut self) {
        self.for_good = true;
    }
}

/// A file that was opened for a handler.
#[derive(Debug)]
pub struct Grant {
    /// Open for reading and writing, non-blocking, closed on exec.
    pub fd: OwnedFd,
    /// Keep it as long as the file may be written to.
    pub claim: Claim,
    /// A write beyond its end makes it longer.
    pub can_grow: bool,
}

/// Why a file is not granted. Nothing was changed, except that a file may have been created.
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
        "{path} can not be opened for reading and writing: {errno}; check its permissions, its file system's \
             mount options, and the daemon's confinement (SELinux, AppArmor, systemd)"
    )]
    Denied {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// Two devices must not write to one file.
    #[error("{path} is already in use by device {holder}; two LUNs on one file destroy each other's data")]
    Claimed {
        /// Where.
        path: String,
        /// Who was first.
        holder: String,
    },
    /// Anything else.
    #[error(
        "{path} can not be opened: {errno}; check that its disk or file server answers and has room (dmesg), then \
         enable the device again"
    )]
    System {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
}

/// Opens `path` for `device` and claims it. A regular file that does not exist is created, empty, for root only.
/// May block as long as the file system does.
///
/// # Errors
/// See [`GrantError`].
pub fn open_store(path: &str, device: &str, claims: &Arc<Claims>) -> Result<Grant, GrantError> {
    let owned = || path.to_owned();
    if !path.starts_with('/') {
        return Err(GrantError::Relative { path: owned() });
    }
    let fd = match open_existing(path) {
        Err(Failure::System(Errno::ENOENT)) => match create(path) {
            // Something is there and yet is not: a link. Or it came this moment, then it opens now.
            Err(Failure::System(Errno::EEXIST)) => match open_existing(path) {
                Err(Failure::System(Errno::ENOENT)) => {
                    return Err(GrantError::DanglingLink { path: owned() });
                }
                opened => opened,
            },
            created => created,
        },
        opened => opened,
    };
    let fd = fd.map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::System(Errno::ENOENT | Errno::ENOTDIR) => GrantError::NoDirectory { path: owned() },
        Failure::System(Errno::EISDIR) => GrantError::Directory { path: owned() },
        Failure::System(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ELOOP)) => {
            GrantError::Denied { path: owned(), errno }
        }
        Failure::System(errno) => GrantError::System { path: owned(), errno },
    })?;
    let stat = fstat(fd.as_fd()).map_err(|errno| GrantError::System { path: owned(), errno })?;
    let identity = identify(path, &stat)?;
    let claim =
        claims.claim(identity, device).map_err(|holder| GrantError::Claimed { path: owned(), holder })?;
    Ok(Grant { fd, claim, can_grow: matches!(identity, Identity::File { .. }) })
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

/// How stores are opened. `O_NONBLOCK`: a file with a lease on it must not hold us up.
fn access() -> OFlag {
    OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE
}

/// Opens what is there. Opening a tape drive or a watchdog has effects, so what it is must be known before, and
/// nothing else may take its place in between: it is looked at and opened through one descriptor.
fn open_existing(path: &str) -> Result<OwnedFd, Failure> {
    let place = locate(Path::new(path), OFlag::empty())?;
    identify(path, &fstat(place.as_fd())?).map_err(Failure::Refused)?;
    Ok(open(&own_link(&place), access(), Mode::empty())?)
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
    if fs::read_link(own_link(&directory)).map_err(|_| Errno::ENOTDIR)?.starts_with("/dev") {
        return Err(no_device());
    }
    let flags = access() | OFlag::O_CREAT | OFlag::O_EXCL;
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

impl Claims {
    /// Takes the right to write, or tells who has it.
    fn claim(self: &Arc<Self>, identity: Identity, device: &str) -> Result<Claim, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = held.get(&identity) {
            return Err(holder.clone());
        }
        held.insert(identity, device.to_owned());
        Ok(Claim { claims: Arc::clone(self), identity, for_good: false })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.for_good {
            return;
        }
        self.claims.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.identity);
    }
}

#[cfg(test)]
mod tests;
