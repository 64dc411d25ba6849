//! Locks that keep two users of ours from one file.
//!
//! Open-file-description locks (fcntl(2), `F_OFD_SETLK`) on single bytes far behind every possible end: programs that
//! lock the ranges they use (qemu-img does) or the whole file with flock(2) are not disturbed. A lock belongs to the
//! description that the store's operations hold, so it ends with the last of them, even when the process was killed.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// One byte that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Byte(i64);

/// The byte of all users of a file: the last one that an offset can name. Alone for one who writes, together for
/// those who only read, or who share by policy.
pub(crate) const FILE: Byte = Byte(i64::MAX - 1);

/// How many bytes there are for devices, in front of [`FILE`].
const PLACES: u64 = 1 << 48;

impl Byte {
    /// The byte of one store of one device, which its own operations hold and nobody else's: of 2^48 places the one
    /// that a hash of the names gives (FNV-1a, 64 bits). It must not change from release to release, as an old
    /// process and its successor meet at it.
    pub(crate) fn of_device(device: &str, option: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in device.bytes().chain([0]).chain(option.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // Less than 2^48, so it fits.
        let place = i64::try_from(hash % PLACES).unwrap_or(0);
        Self(FILE.0 - 1 - place)
    }
}

/// How a byte is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Alone. Needs a description that is open for writing.
    Alone,
    /// With others who lock it so.
    Together,
    /// As [`Self::Together`], but only if nobody has it at all: for descriptions that are open for reading only. Of two
    /// who try at the same time both may succeed.
    First,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is ours.
    Yes,
    /// Somebody else has it.
    Held,
    /// This file system has no locks.
    Unsupported,
}

/// Tries to lock a byte. Does not block, except on a network file system that asks its server.
///
/// # Errors
/// The errno of fcntl. `ENOLCK` is one of them and never [`Taken::Unsupported`]: it also means that there was no memory
/// for the lock, or that the file server's lock manager does not answer, and then others may have the byte.
pub(crate) fn take(fd: impl AsFd, byte: Byte, mode: Mode) -> Result<Taken, Errno> {
    if mode == Mode::First {
        // Asking what would be in a writer's way needs no right to write.
        let mut found = flock(libc::F_WRLCK, byte)?;
        let asked = retried(|| fcntl(&fd, FcntlArg::F_OFD_GETLK(&mut found)))?;
        if asked != Taken::Yes {
            return Ok(asked);
        }
        if i32::from(found.l_type) != libc::F_UNLCK {
            return Ok(Taken::Held);
        }
    }
    let lock = flock(if mode == Mode::Alone { libc::F_WRLCK } else { libc::F_RDLCK }, byte)?;
    retried(|| fcntl(&fd, FcntlArg::F_OFD_SETLK(&lock)))
}

fn flock(kind: i32, byte: Byte) -> Result<libc::flock, Errno> {
    Ok(libc::flock {
        l_type: kind.try_into().map_err(|_| Errno::EINVAL)?,
        l_whence: 0, // SEEK_SET
        l_start: byte.0,
        l_len: 1,
        l_pid: 0,
    })
}

fn retried(mut call: impl FnMut() -> Result<i32, Errno>) -> Result<Taken, Errno> {
    loop {
        match call() {
            Ok(_) => return Ok(Taken::Yes),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(Taken::Held),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => return Ok(Taken::Unsupported),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs::File;

    use super::*;

    #[test]
    fn one_has_it_alone_or_many_together() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second, third) = (file.reopen().unwrap(), file.reopen().unwrap(), file.reopen().unwrap());
        assert_eq!(take(&first, FILE, Mode::Alone), Ok(Taken::Yes));
        for mode in [Mode::Alone, Mode::Together, Mode::First] {
            assert_eq!(take(&second, FILE, mode), Ok(Taken::Held), "{mode:?}");
        }
        drop(first);
        assert_eq!(take(&second, FILE, Mode::Together), Ok(Taken::Yes));
        assert_eq!(take(&third, FILE, Mode::Together), Ok(Taken::Yes));
        assert_eq!(take(file.reopen().unwrap(), FILE, Mode::Alone), Ok(Taken::Held));
    }

    #[test]
    fn who_only_reads_sees_others_who_only_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let (first, second) = (open(), open());
        assert_eq!(take(&first, FILE, Mode::First), Ok(Taken::Yes));
        assert_eq!(take(&first, FILE, Mode::First), Ok(Taken::Yes), "one's own lock is not in one's way");
        assert_eq!(take(&second, FILE, Mode::First), Ok(Taken::Held));
        drop(first);
        assert_eq!(take(&second, FILE, Mode::First), Ok(Taken::Yes));
        // What asking is there for.
        assert_eq!(take(open(), FILE, Mode::Alone), Err(Errno::EBADF));
    }

    #[test]
    fn only_answers_that_say_so_mean_that_there_are_no_locks() {
        for errno in [Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EINVAL] {
            assert_eq!(retried(|| Err(errno)), Ok(Taken::Unsupported), "{errno}");
        }
        for errno in [Errno::EAGAIN, Errno::EACCES] {
            assert_eq!(retried(|| Err(errno)), Ok(Taken::Held), "{errno}");
        }
        // No memory, no answer, no right: somebody may have it.
        for errno in [Errno::ENOLCK, Errno::ENOMEM, Errno::EIO, Errno::EBADF] {
            assert_eq!(retried(|| Err(errno)), Err(errno), "{errno}");
        }
    }

    #[test]
    fn a_lock_ends_with_the_last_descriptor_of_its_description() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ours, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert_eq!(take(&ours, FILE, Mode::Alone), Ok(Taken::Yes));
        let copy = ours.try_clone().unwrap();
        // Closing any descriptor of the file ends the older kind of lock.
        drop((ours, file.reopen().unwrap()));
        assert_eq!(take(&other, FILE, Mode::Alone), Ok(Taken::Held));
        drop(copy);
        assert_eq!(take(&other, FILE, Mode::Alone), Ok(Taken::Yes));
    }

    #[test]
    fn locks_of_others_on_the_contents_do_not_matter() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ours, theirs) = (file.reopen().unwrap(), file.reopen().unwrap());
        // The whole range of a program that locks what it uses, up to 2^62.
        let mut lock = flock(libc::F_WRLCK, Byte(0)).unwrap();
        lock.l_len = 1 << 62;
        fcntl(&theirs, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        assert_eq!(take(&ours, FILE, Mode::Alone), Ok(Taken::Yes));
        assert_eq!(take(&ours, Byte::of_device("a", ""), Mode::Alone), Ok(Taken::Yes));
    }

    #[test]
    fn every_store_of_every_device_has_a_place_of_its_own() {
        let names = (0..1000).map(|number| format!("tcm-user/0/disk{number}/file//srv/{number}"));
        let mut places: HashSet<i64> = names
            .flat_map(|name| ["", "path", "copy"].map(|option| Byte::of_device(&name, option).0))
            .collect();
        assert_eq!(places.len(), 3000);
        assert!(places.insert(FILE.0), "nobody's is the file's");
        assert!(places.iter().all(|&place| place > 1 << 62), "behind what others lock");
        assert_ne!(Byte::of_device("a", "bc"), Byte::of_device("ab", "c"));
        // For good: an old process and a new one must agree.
        assert_eq!(Byte::of_device("user_0/disk", "path"), Byte(9_223_176_292_190_376_083));
    }
}
