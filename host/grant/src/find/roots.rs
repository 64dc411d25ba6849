//! The roots of a tenant: directories that its paths never leave, whatever is renamed or linked in them meanwhile.
//!
//! openat2(2) follows the path from the root's descriptor with `RESOLVE_BENEATH` and `RESOLVE_NO_MAGICLINKS`. So
//! symbolic links on the way may lead to places in the root only, and absolute ones nowhere; one at the end is refused.
//! Hard links are refused, too: where the kernel lets anybody make them (`fs.protected_hardlinks` is 0), a tenant could
//! give another tenant's disk a name in its own root.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::FileStat;

use super::{Way, from_top};
use crate::claims::Identity;
use crate::error::GrantError;

/// How often a path is followed again that the kernel could not judge, because something was renamed meanwhile.
const TRIES: u32 = 64;

/// How a path is followed, and whether a missing file may be created.
pub(super) fn way<'a>(path: &'a str, roots: &'a [PathBuf]) -> Result<(Way<'a>, bool), GrantError> {
    let text = Path::new(path);
    if roots.is_empty() {
        return Ok((Way::Anywhere { path: text }, true));
    }
    if text.components().any(|component| component == Component::ParentDir) {
        return Err(GrantError::DotDot { path: path.to_owned() });
    }
    let holding = roots.iter().filter_map(|root| Some((root, text.strip_prefix(root).ok()?)));
    // Of roots in one another the innermost one.
    let Some((root, rest)) = holding.min_by_key(|(_, rest)| rest.components().count()) else {
        let roots = roots.iter().map(|root| root.display().to_string()).collect();
        return Err(GrantError::OutsideRoots { path: path.to_owned(), roots });
    };
    if rest.as_os_str().is_empty() {
        // The root itself is a file or a disk that the policy names, perhaps by a link of /dev/disk.
        return Ok((Way::Anywhere { path: text }, false));
    }
    let directory = from_top_strictly(root).map_err(|errno| match errno {
        Errno::ENOSYS => GrantError::NoOpenat2 { path: path.to_owned() },
        errno => GrantError::NoRoot { root: root.display().to_string(), errno },
    })?;
    Ok((Way::Beneath { root, directory, rest }, true))
}

/// The root is the policy's word: links are followed. Fails where openat2 is missing.
fn from_top_strictly(root: &Path) -> Result<OwnedFd, Errno> {
    let none = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    openat2(AT_FDCWD, "/", none)?;
    from_top(root, OFlag::O_DIRECTORY)
}

/// Follows a path from a directory and never out of it. An empty path is the directory.
pub(super) fn beneath(directory: &OwnedFd, path: &Path, extra: OFlag) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | extra)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 1..TRIES {
        match openat2(directory, path, how) {
            Err(Errno::EAGAIN) => {}
            located => return located,
        }
    }
    openat2(directory, path, how)
}

/// A regular file has one name, the one it was found by. As long as another tenant's name for it is there, there are
/// two, whenever this one was made.
///
/// Not asked again when the file is opened anew: by then it is known whose it is, and whoever can link it could keep
/// its owner from serving it.
pub(super) fn not_linked(path: &str, identity: Identity, stat: &FileStat) -> Result<(), GrantError> {
    match identity {
        Identity::File { .. } if stat.st_nlink > 1 => Err(GrantError::HardLinked { path: path.to_owned() }),
        Identity::File { .. } | Identity::Disk { .. } => Ok(()),
    }
}
