//! One daemon at a time. The lock is tcmu-runner's own, so the two keep each other out as well.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Where the lock is. Its directory is a tmpfs: nothing outlives a reboot.
pub const LOCK_PATH: &str = "/run/tcmu.lock";

/// The lock, held until the process ends or this is dropped. The file stays.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error(
        "{} is held by {}: lunboxd or tcmu-runner is already running; stop it first \
         (systemctl stop lunboxd tcmu-runner)", path.display(), holder_name(*holder)
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// Process id; none if it lives in another pid namespace.
        holder: Option<i32>,
    },
    /// The file could not be opened or locked.
    #[error("lock {}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

fn holder_name(holder: Option<i32>) -> String {
    holder.map_or_else(|| "a process of another container".to_owned(), |pid| format!("process {pid}"))
}

impl InstanceLock {
    /// Takes the lock without waiting. The kernel drops POSIX locks when any descriptor of the file is closed:
    /// take it once per process.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let system = |source| LockError::System { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(system)?;
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => Ok(Self { _file: file }),
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let mut holder = whole_file();
                let asked = fcntl(&file, FcntlArg::F_GETLK(&mut holder));
                let holder = asked.ok().map(|_| holder.l_pid).filter(|&pid| pid > 0);
                Err(LockError::Held { path: path.to_owned(), holder })
            }
            Err(errno) => Err(system(errno.into())),
        }
    }
}

/// A write lock over the whole file, whatever its length.
const fn whole_file() -> libc::flock {
    // Small constants of the C library, which types them wider than the fields that they are for.
    #[allow(clippy::cast_possible_truncation, reason = "F_WRLCK is 1 and SEEK_SET is 0")]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_held_lock_is_refused_and_a_free_one_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tcmu.lock");
        // A process has no conflict with its own POSIX locks, but with a lock of an open file description.
        let other = File::create(&path).unwrap();
        fcntl(&other, FcntlArg::F_OFD_SETLK(&whole_file())).unwrap();
        let error = InstanceLock::take(&path).unwrap_err();
        assert!(matches!(&error, LockError::Held { holder: None, .. }), "{error}");
        assert!(error.to_string().contains("already running"), "{error}");
        drop(other);
        std::fs::remove_file(&path).unwrap();
        let _lock = InstanceLock::take(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(fcntl(&other, FcntlArg::F_OFD_SETLK(&whole_file())), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_holder_is_named_if_it_can_be_seen() {
        let path = PathBuf::from(LOCK_PATH);
        let error = LockError::Held { path, holder: Some(7) };
        assert!(error.to_string().contains("/run/tcmu.lock is held by process 7"), "{error}");
    }

    #[test]
    fn a_lock_that_can_not_be_made_says_where() {
        let error = InstanceLock::take(Path::new("/no/such/place")).unwrap_err();
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }
}
