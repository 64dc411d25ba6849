//! The UIO nodes through which the kernel offers TCM-User devices: sysfs tells what they are, `/dev/uioN` is
//! the way in.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};

use crate::name::{DeviceName, Minor, NameError};

/// Value of the `version` attribute that this crate understands (`TCMU_MAILBOX_VERSION`).
const VERSION: &str = "2";

/// What a descriptor is; see [`Uio::held`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The node, and its device is there.
    Live,
    /// A node of this number whose device has gone.
    Dead,
    /// Something else.
    Foreign,
}

/// Where UIO nodes are looked for.
#[derive(Clone, Debug)]
pub struct Uio {
    class: PathBuf,
    nodes: PathBuf,
}

/// One TCM-User device as sysfs shows it. A snapshot: the node may go at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UioNode {
    /// Number of the node.
    pub minor: Minor,
    /// Whose device it is.
    pub name: DeviceName,
    /// Bytes of map 0, which must be mapped whole: mailbox, command ring and data area.
    pub map_bytes: u64,
}

/// Why a node can not be used.
#[derive(Debug, thiserror::Error)]
pub enum UioError {
    /// The node's name.
    #[error("{minor}: {source}")]
    Name {
        /// Number of the node.
        minor: Minor,
        /// What is wrong with it.
        source: NameError,
    },
    /// The node has gone, or never was.
    #[error("{minor}: {} does not exist; the device was removed, or /sys or /dev is not the host's", path.display())]
    Gone {
        /// Number of the node.
        minor: Minor,
        /// What was looked for.
        path: PathBuf,
    },
    /// Reading a file or opening the node failed.
    #[error("{minor}: {}: {source}", path.display())]
    Access {
        /// Number of the node.
        minor: Minor,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else has the node open: a node has one opener at a time.
    #[error("{minor}: {} is in use by another process (a second daemon? see `fuser {}`)", path.display(), path.display())]
    Busy {
        /// Number of the node.
        minor: Minor,
        /// The node.
        path: PathBuf,
    },
    /// The kernel speaks another version of the ring.
    #[error("{minor}: the kernel's TCM-User version is {found:?}, this program speaks version {VERSION}")]
    Version {
        /// Number of the node.
        minor: Minor,
        /// The kernel's version.
        found: String,
    },
    /// The size of the map does not make sense.
    #[error("{minor}: the size of map 0 is {found:?}, expected a hexadecimal number above 0")]
    MapSize {
        /// Number of the node.
        minor: Minor,
        /// What stands there.
        found: String,
    },
}

impl Default for Uio {
    /// The system's own: `/sys/class/uio` and `/dev`.
    fn default() -> Self {
        Self::new("/sys/class/uio", "/dev")
    }
}

impl Uio {
    /// Looks for descriptions in `class` and for nodes in `nodes`.
    pub fn new(class: impl Into<PathBuf>, nodes: impl Into<PathBuf>) -> Self {
        Self { class: class.into(), nodes: nodes.into() }
    }

    /// Every TCM-User node, in numeric order; nodes of other drivers are left out, nodes that can not be used
    /// come with the reason. A missing class directory means that there are none.
    ///
    /// # Errors
    /// The class directory exists and can not be read.
    pub fn scan(&self) -> io::Result<Vec<Result<UioNode, UioError>>> {
        let entries = match fs::read_dir(&self.class) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut minors = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("uio")?.parse().ok());
            minors.extend(number.map(Minor));
        }
        minors.sort_unstable();
        let nodes = minors.into_iter().map(|minor| self.node(minor));
        Ok(nodes
            .filter(|node| {
                // A node that went between the listing and the look is no news either.
                !matches!(
                    node,
                    Err(UioError::Name { source: NameError::Foreign { .. }, .. } | UioError::Gone { .. })
                )
            })
            .collect())
    }

    /// Describes one node.
    ///
    /// # Errors
    /// See [`UioError`]; also for nodes of other drivers.
    pub fn node(&self, minor: Minor) -> Result<UioNode, UioError> {
        let directory = self.class.join(minor.to_string());
        let name = read(minor, &directory.join("name"))?;
        let name = DeviceName::parse(&name).map_err(|source| UioError::Name { minor, source })?;
        let version = read(minor, &directory.join("version"))?;
        if version.trim() != VERSION {
            return Err(UioError::Version { minor, found: version.trim().to_owned() });
        }
        let size = read(minor, &directory.join("maps/map0/size"))?;
        let map_bytes = size
            .trim()
            .strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| UioError::MapSize { minor, found: size.trim().to_owned() })?;
        Ok(UioNode { minor, name, map_bytes })
    }

    /// Opens the node for the ring: non-blocking, closed on exec. From now on the kernel counts the device as
    /// served, until the descriptor is closed.
    ///
    /// # Errors
    /// [`UioError::Busy`] if it is open elsewhere, [`UioError::Gone`], [`UioError::Access`].
    pub fn open(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        let path = self.nodes.join(minor.to_string());
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        open(&path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::EBUSY => UioError::Busy { minor, path },
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => UioError::Gone { minor, path },
            errno => UioError::Access { minor, path, source: errno.into() },
        })
    }

    /// What a descriptor that came from another process has to do with a node. Never blocks, and changes nothing.
    ///
    /// A node has one opener at a time, so whoever holds [`Held::Live`] is the one that serves the device.
    ///
    /// # Errors
    /// [`UioError::Gone`] if there is no such node any more, [`UioError::Access`].
    pub fn held(&self, minor: Minor, fd: impl AsFd) -> Result<Held, UioError> {
        let path = self.class.join(minor.to_string()).join("dev");
        let wrong = |errno: Errno| UioError::Access { minor, path: path.clone(), source: errno.into() };
        let opened = fstat(fd.as_fd()).map_err(wrong)?;
        let numbers = read(minor, &path)?;
        let number = numbers
            .trim()
            .split_once(':')
            .and_then(|(major, minor)| Some(makedev(major.parse().ok()?, minor.parse().ok()?)));
        let character = SFlag::from_bits_truncate(opened.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
        if !character || number != Some(opened.st_rdev) {
            return Ok(Held::Foreign);
        }
        Ok(if lives(fd).map_err(wrong)? { Held::Live } else { Held::Dead })
    }
}

/// drivers/uio/uio.c: a node whose device was unregistered answers poll with an error. Its number may belong to another
/// device by then.
fn lives(fd: impl AsFd) -> Result<bool, Errno> {
    let mut asked = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO)?;
    let seen = asked.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
    Ok(!seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL))
}

fn read(minor: Minor, path: &Path) -> Result<String, UioError> {
    fs::read(path)
        // dev_config is bytes to the kernel; what is not UTF-8 can not name anything of ours.
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => UioError::Gone { minor, path: path.to_owned() },
            _ => UioError::Access { minor, path: path.to_owned(), source },
        })
}

#[cfg(test)]
mod tests;
