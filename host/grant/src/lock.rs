//! A lock that keeps two processes of ours from one file.
//!
//! An open-file-description lock (fcntl(2), `F_OFD_SETLK`) on one byte far behind every possible end: programs that
//! lock the ranges they use (qemu-img does) or the whole file with flock(2) are not disturbed. It belongs to the
//! description that the store's operations hold, so it ends with the last of them, even when the process was killed.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The byte that is locked: the last one that an offset can name.
const BYTE: i64 = i64::MAX - 1;

/// How long a lock may outlive whoever had it: operations of a process that was killed are cancelled by the kernel
/// after it has gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How often a lock that is held is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Locks a file, shared by readers; false if another process had it all the time. A file system that has no locks
/// is none to refuse: then nothing is locked. Blocks for `patience` at the most.
///
/// # Errors
/// The errno of fcntl.
pub(crate) fn take(fd: impl AsFd, writes: bool, patience: Duration) -> Result<bool, Errno> {
    take_with(fd, writes, patience, || std::thread::sleep(RETRY))
}

/// [`take`], with what is done between two tries.
fn take_with(fd: impl AsFd, writes: bool, patience: Duration, mut wait: impl FnMut()) -> Result<bool, Errno> {
    let deadline = Instant::now() + patience;
    let kind = if writes { libc::F_WRLCK } else { libc::F_RDLCK };
    let lock = libc::flock {
        l_type: kind.try_into().map_err(|_| Errno::EINVAL)?,
        l_whence: 0, // SEEK_SET
        l_start: BYTE,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        match fcntl(&fd, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) if Instant::now() < deadline => wait(),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {
                tracing::debug!("this file system has no locks: other processes are not kept from the file");
                return Ok(true);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn one_description_writes_or_many_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        assert!(take(&first, true, Duration::ZERO).unwrap());
        assert!(!take(&second, true, Duration::ZERO).unwrap());
        assert!(!take(&second, false, Duration::ZERO).unwrap());
        drop(first);
        let third = open();
        assert!(take(&second, false, Duration::ZERO).unwrap());
        assert!(take(&third, false, Duration::ZERO).unwrap());
        assert!(!take(open(), true, Duration::ZERO).unwrap());
    }

    #[test]
    fn a_lock_that_is_given_back_in_time_is_had() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut holder = Some(file.reopen().unwrap());
        assert!(take(holder.as_ref().unwrap(), true, Duration::ZERO).unwrap());
        let mut tries = 0;
        // Given back while the other waits, and not before.
        let had = take_with(file.reopen().unwrap(), true, Duration::from_secs(30), || {
            tries += 1;
            drop(holder.take());
        });
        assert_eq!((had, tries), (Ok(true), 1));
    }

    #[test]
    fn locks_of_others_on_the_contents_do_not_matter() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ours, theirs) = (file.reopen().unwrap(), file.reopen().unwrap());
        // The whole range of a program that locks what it uses, up to 2^62.
        let lock = libc::flock {
            l_type: libc::F_WRLCK.try_into().unwrap(),
            l_whence: 0,
            l_start: 0,
            l_len: 1 << 62,
            l_pid: 0,
        };
        fcntl(&theirs, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        assert!(take(&ours, true, Duration::ZERO).unwrap());
    }
}
