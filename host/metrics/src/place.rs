//! The socket in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that we made. Dropping it removes it, if it is still ours.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity) {
            // Whatever is left is taken for stale by the next one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, for its owner only. It is made beside and then moved there: nobody finds it unprotected. What a
/// dead process left is replaced; anything else that stands there is not.
pub(crate) fn listen(path: &Path) -> io::Result<(UnixListener, Place)> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::other("something else than a socket stands there; remove it"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        },
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    // One of a dead process that had our number.
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    let moved = || -> io::Result<Place> {
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(&beside)?;
        fs::rename(&beside, path)?;
        Ok(Place { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    };
    match moved() {
        Ok(place) => Ok((listener, place)),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, place) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_successor, theirs) = listen(&path).unwrap();
        drop(place);
        assert!(path.exists(), "the successor's is not ours to remove");
        drop(theirs);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(listen(&path).unwrap_err().to_string().contains("remove it"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
