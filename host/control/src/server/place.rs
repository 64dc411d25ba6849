//! The socket in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::ServerError;

/// A socket that we made.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// Removes the socket if it is still ours: a successor may have put its own there.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode))
        {
            // Whatever is left is taken for stale by the next one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. The socket is made beside it, protected, and then moved there, so that nobody finds one that is
/// unprotected or does not listen.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, Place), ServerError> {
    let system =
        |action: &'static str| move |source| ServerError::Io { action, path: path.to_owned(), source };
    judge_directory(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    judge_predecessor(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    // One of a dead process that had our number.
    let _ = fs::remove_file(&beside);
    let made = || -> Result<(UnixListener, fs::Metadata), ServerError> {
        let listener = UnixListener::bind(&beside).map_err(system("listening on"))?;
        listener.set_nonblocking(true).map_err(system("listening on"))?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).map_err(system("protecting"))?;
        let metadata = fs::symlink_metadata(&beside).map_err(system("looking at"))?;
        fs::rename(&beside, path).map_err(system("making"))?;
        Ok((listener, metadata))
    };
    match made() {
        Ok((listener, metadata)) => {
            Ok((listener, Place { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }))
        }
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

fn judge_directory(path: &Path) -> Result<(), ServerError> {
    let metadata = fs::metadata(path).map_err(|source| ServerError::Io {
        action: "looking at the directory",
        path: path.to_owned(),
        source,
    })?;
    let problem = if !metadata.is_dir() {
        "is no directory".to_owned()
    } else if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        format!("belongs to user {}", metadata.uid())
    } else if metadata.mode() & 0o022 != 0 {
        format!("can be written to by others (mode {:04o})", metadata.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(ServerError::Directory { path: path.to_owned(), problem })
}

/// Only a socket that nobody listens on may be replaced.
fn judge_predecessor(path: &Path) -> Result<(), ServerError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ServerError::Io { action: "looking at", path: path.to_owned(), source }),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ServerError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(ServerError::InUse(path.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let path = directory.path().join("control.sock");
        (directory, path)
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let (directory, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let (listener, made) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(listen(&path), Err(ServerError::InUse(_))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        drop(listener);
        let (_listener, successor) = listen(&path).unwrap();
        made.remove();
        assert!(path.exists(), "the successor's is not ours to remove");
        successor.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let (_directory, path) = place();
        fs::write(&path, "precious").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(matches!(error, ServerError::NoSocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        assert!(matches!(listen(&link), Err(ServerError::NoSocket(_))));
    }

    #[test]
    fn the_directory_must_be_the_owners_alone() {
        let (directory, path) = place();
        for mode in [0o777, 0o720, 0o1777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = listen(&path).unwrap_err().to_string();
            assert!(error.contains("written to by others") && error.contains("chmod 0711"), "{error}");
        }
        let missing = listen(Path::new("/no/such/place/control.sock")).unwrap_err().to_string();
        assert!(missing.contains("/no/such/place"), "{missing}");
        let (_directory, path) = place();
        let long = path.with_file_name("x".repeat(120));
        assert!(matches!(listen(&long), Err(ServerError::Io { action: "listening on", .. })));
    }
}
