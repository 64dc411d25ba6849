//! Finding the file or block device that a path names, without opening it.
//!
//! Opening a tape drive or a watchdog has effects, so what a path names is known before anything is opened, and nothing
//! else can take its place in between: it is held by an `O_PATH` descriptor and later opened by way of
//! `/proc/self/fd`.
//!
//! Two sets of rules. Without roots the path comes from whoever may decide (configfs, which only root writes, or the
//! user's own command line): symbolic links are followed (`/dev/disk/by-id` works), magic links (`/proc/<pid>/fd`)
//! are not, and a missing file is created where its path says, never where a link points to. With roots the path comes
//! from a tenant, who may also write in the root while we look: see [`roots`].

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::claims::Identity;
use crate::error::GrantError;
use crate::open::Access;

mod roots;

/// What a path names.
#[derive(Debug)]
pub(crate) struct Found {
    /// It and nothing else: `O_PATH`.
    pub(crate) place: OwnedFd,
    pub(crate) identity: Identity,
    /// It was made just now, empty, for its owner only.
    pub(crate) created: bool,
}

/// How a path is followed.
enum Way<'a> {
    /// From `/`, and through symbolic links.
    Anywhere { path: &'a Path },
    /// From a root of the tenant, and never out of it.
    Beneath { root: &'a Path, directory: OwnedFd, rest: &'a Path },
}

/// Why a path could not be followed.
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

/// Finds what `path` names, and creates it if `access` says so. No roots: anywhere. May block as long as the file
/// system does.
pub(crate) fn find(path: &str, access: Access, roots: &[PathBuf]) -> Result<Found, GrantError> {
    if !path.starts_with('/') {
        return Err(GrantError::Relative { path: path.to_owned() });
    }
    let (way, may_create) = roots::way(path, roots)?;
    let creates = access.creates() && may_create;
    let mut created = false;
    let place = match way.existing(path) {
        Err(Failure::System(Errno::ENOENT)) if creates => match way.create(path) {
            // Something is there and yet is not: a link. Or it came this moment, then it is found now.
            Err(Failure::System(Errno::EEXIST)) => match way.existing(path) {
                Err(Failure::System(Errno::ENOENT)) => {
                    return Err(GrantError::DanglingLink { path: path.to_owned() });
                }
                found => found,
            },
            made => {
                created = made.is_ok();
                made
            }
        },
        found => found,
    };
    let (place, identity) = place.map_err(|failure| way.refusal(path, failure, access, creates))?;
    Ok(Found { place, identity, created })
}

/// The same words for the same answers, whether something is looked for or opened.
pub(crate) fn refusal(path: &str, errno: Errno, access: Access) -> GrantError {
    let path = path.to_owned();
    match errno {
        Errno::ENOTDIR => GrantError::NoDirectory { path },
        Errno::EISDIR => GrantError::Directory { path },
        Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ELOOP => {
            GrantError::Denied { path, purpose: access.purpose(), errno }
        }
        errno => GrantError::System { path, errno },
    }
}

impl Way<'_> {
    fn refusal(&self, path: &str, failure: Failure, access: Access, creates: bool) -> GrantError {
        let owned = || path.to_owned();
        let errno = match failure {
            Failure::Refused(error) => return error,
            Failure::System(errno) => errno,
        };
        match (errno, self) {
            (Errno::EXDEV, Self::Beneath { root, .. }) => {
                GrantError::Escapes { path: owned(), root: root.display().to_string() }
            }
            (Errno::ENOSYS, Self::Beneath { .. }) => GrantError::NoOpenat2 { path: owned() },
            (Errno::ENOENT, _) if creates => GrantError::NoDirectory { path: owned() },
            (Errno::ENOENT, _) => GrantError::Missing { path: owned() },
            (errno, _) => refusal(path, errno, access),
        }
    }

    /// Its own path: from `/`, or from the root.
    fn path(&self) -> &Path {
        match self {
            Self::Anywhere { path } => path,
            Self::Beneath { rest, .. } => rest,
        }
    }

    fn existing(&self, path: &str) -> Result<(OwnedFd, Identity), Failure> {
        let place = match self {
            Self::Anywhere { path } => from_top(path, OFlag::empty())?,
            // Whoever may write in the root could point a link at its end to another tenant's disk.
            Self::Beneath { directory, rest, .. } => roots::beneath(directory, rest, OFlag::O_NOFOLLOW)?,
        };
        let stat = fstat(place.as_fd())?;
        let identity = identify(path, &stat).map_err(Failure::Refused)?;
        if matches!(self, Self::Beneath { .. }) {
            roots::not_linked(path, identity, &stat).map_err(Failure::Refused)?;
        }
        Ok((place, identity))
    }

    /// Creates a file that must not exist, empty. Follows links on the way, but not at its end.
    fn create(&self, path: &str) -> Result<(OwnedFd, Identity), Failure> {
        // Path leaves these away, although they ask for a directory.
        if path.ends_with('/') || path.ends_with("/.") {
            return Err(Failure::Refused(GrantError::Directory { path: path.to_owned() }));
        }
        let (Some(parent), Some(name)) = (self.path().parent(), self.path().file_name()) else {
            return Err(Errno::EISDIR.into());
        };
        let no_device = || Failure::Refused(GrantError::NoDevice { path: path.to_owned() });
        let directory = match self {
            Self::Anywhere { .. } => from_top(parent, OFlag::O_DIRECTORY),
            Self::Beneath { directory, .. } => roots::beneath(directory, parent, OFlag::O_DIRECTORY),
        };
        let directory = match directory {
            Err(Errno::ENOENT) if path.starts_with("/dev/") => return Err(no_device()),
            located => located?,
        };
        // Where it really is, whatever links and `..` led there.
        let place = fs::read_link(own_link(&directory)).map_err(|error| {
            reaching(path, error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
        })?;
        // /dev/shm is there for files.
        if place.starts_with("/dev") && !place.starts_with("/dev/shm") {
            return Err(no_device());
        }
        // O_EXCL: a link of that name is not followed. The name has no slash, so nothing else is either.
        let flags = open_flags(Access::Create) | OFlag::O_CREAT | OFlag::O_EXCL;
        let made = openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let place = open(&own_link(&made), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| reaching(path, errno))?;
        let identity = identify(path, &fstat(place.as_fd())?).map_err(Failure::Refused)?;
        Ok((place, identity))
    }
}

/// Follows a path from `/`.
fn from_top(path: &Path, extra: OFlag) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | extra;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Linux before 5.6.
        Err(Errno::ENOSYS) => open(path, flags, Mode::empty()),
        located => located,
    }
}

/// How stores are opened. `O_NONBLOCK`: a file with a lease on it must not hold us up; once open it is taken off.
pub(crate) fn open_flags(access: Access) -> OFlag {
    let mode = if access.writes() { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    mode | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE
}

/// The link by which what a descriptor shows can be opened.
pub(crate) fn own_link(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Why what was found can not be opened. It is there, so whatever is missing is the way to it.
fn reaching(path: &str, errno: Errno) -> Failure {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            Failure::Refused(GrantError::NoProc { path: path.to_owned(), errno })
        }
        errno => Failure::System(errno),
    }
}

/// Opens what was found: a new open file description of it, which waits as a store has to. Whoever is jailed may not
/// change how a descriptor is open.
pub(crate) fn open_found(place: &OwnedFd, path: &str, access: Access) -> Result<OwnedFd, GrantError> {
    let flags = open_flags(access);
    let opened = open(&own_link(place), flags, Mode::empty())
        .and_then(|fd| fcntl(&fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map(|_| fd));
    opened.map_err(|errno| match reaching(path, errno) {
        Failure::Refused(error) => error,
        Failure::System(errno) => refusal(path, errno, access),
    })
}

/// What a descriptor shows, if a LUN can stand on it.
pub(crate) fn identify(path: &str, stat: &FileStat) -> Result<Identity, GrantError> {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let path = path.to_owned();
    let kind = match kind {
        SFlag::S_IFREG => return Ok(Identity::File { device: stat.st_dev, inode: stat.st_ino }),
        SFlag::S_IFBLK => return Ok(Identity::Disk { number: stat.st_rdev }),
        SFlag::S_IFDIR => return Err(GrantError::Directory { path }),
        SFlag::S_IFLNK => return Err(GrantError::FinalLink { path }),
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFIFO => "FIFO",
        SFlag::S_IFSOCK => "socket",
        _ => "thing of an unknown kind",
    };
    Err(GrantError::NotStorage { path, kind })
}

#[cfg(test)]
mod tests;
