//! What does not work is said so, and costs nothing else.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::*;
use crate::OpenError;

on_both_backends! {
    invalid_requests_end_as_invalid
    read_only_stores_refuse_before_touching_anything
    a_file_that_must_not_grow_is_read_only
    a_vanished_page_is_a_lost_buffer
    unknown_stores_and_regions_are_invalid
}

fn invalid_requests_end_as_invalid(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"content");
    let store = rig.file(&file);
    let region = rig.region;
    let end = rig.memory.length() as u64;
    let offset_max = i64::MAX.unsigned_abs();
    for (offset, length) in [(u64::MAX, 1), (offset_max, 1), (1, u64::MAX), (offset_max - 2, 4)] {
        for kind in [Kind::Discard { durable: false }, Kind::WriteZeroes { durable: false, may_unmap: true }]
        {
            assert_eq!(rig.bare(store, kind, offset, length), Err(StoreError::Invalid), "{offset}+{length}");
        }
    }
    for (extents, skip, length) in [
        (vec![extent(0, 4)], 0, 5),
        (vec![extent(0, 4)], 1, 4),
        (vec![extent(0, 4)], u64::MAX, 1),
        (vec![], 0, 1),
        (vec![extent(end - 1, 2)], 0, 2),
        (vec![extent(u64::MAX, 2)], 1, 1),
        (vec![extent(0, u64::MAX), extent(0, u64::MAX)], 0, offset_max),
    ] {
        for kind in [READ, WRITE] {
            let target = Target::Region { region, extents: &extents, skip };
            let done = rig.run(Request { store, kind, offset: 0, length, target });
            assert_eq!(done.result, Err(StoreError::Invalid), "{extents:?} {skip} {length}");
        }
    }
    assert_eq!(rig.bare(store, READ, 0, 4), Err(StoreError::Invalid), "no target");
    for (skip, length) in [(0, 9), (8, 1), (usize::MAX, 2), (1, u64::MAX)] {
        let target = Target::Owned { buffer: vec![7; 8], skip };
        let done = rig.run(Request { store, kind: WRITE, offset: 0, length, target });
        assert_eq!((done.result, done.buffer), (Err(StoreError::Invalid), Some(vec![7; 8])));
    }
    assert_eq!(content(&file), b"content");
}

fn unknown_stores_and_regions_are_invalid(backend: Backend) {
    let mut rig = Rig::new(backend);
    let mut other = Rig::new(backend);
    other.executor.add(Store::null(1));
    let unknown = other.executor.add(Store::null(1));
    assert!(rig.executor.store(unknown).is_none());
    assert_eq!(rig.read(unknown, READ, 0, 1), Err(StoreError::Invalid));
    let strange = other.executor.register(Arc::clone(&rig.memory));
    let store = rig.executor.add(Store::null(10));
    let target = Target::Region { region: strange, extents: &[extent(0, 1)], skip: 0 };
    let done = rig.run(Request { store, kind: READ, offset: 0, length: 1, target });
    assert_eq!(done.result, Err(StoreError::Invalid));
}

fn read_only_stores_refuse_before_touching_anything(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"keep");
    let options = FileOptions { read_only: true };
    let store = Store::file(file.as_fd().try_clone_to_owned().unwrap(), options).unwrap();
    assert!(store.read_only());
    let store = rig.executor.add(store);
    assert_eq!(rig.write(store, 0, b"lose"), Err(StoreError::ReadOnly));
    assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 0, 4), Err(StoreError::ReadOnly));
    let zeroes = Kind::WriteZeroes { durable: false, may_unmap: false };
    assert_eq!(rig.bare(store, zeroes, 0, 4), Err(StoreError::ReadOnly));
    assert_eq!(rig.bare(store, Kind::Flush, 0, 0), Ok(0));
    assert_eq!(rig.read(store, READ, 0, 4), Ok(b"keep".to_vec()));
}

fn a_file_that_must_not_grow_is_read_only(backend: Backend) {
    let mut rig = Rig::new(backend);
    let fd = memfd_create("store", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    ftruncate(&fd, 4096).unwrap();
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    let store = rig.executor.add(Store::file(fd, FileOptions::default()).unwrap());
    assert_eq!(rig.write(store, 4096, b"more"), Err(StoreError::ReadOnly), "EPERM of the seal");
    assert_eq!(rig.write(store, 0, b"less"), Ok(4));
}

fn a_vanished_page_is_a_lost_buffer(backend: Backend) {
    let mut rig = Rig::new(backend);
    let fd = memfd_create("ring", MFdFlags::MFD_CLOEXEC).unwrap();
    ftruncate(&fd, 16384).unwrap();
    let memory = Arc::new(Mapping::shared(fd.as_fd(), 16384).unwrap());
    let region = rig.executor.register(Arc::clone(&memory));
    ftruncate(&fd, 8192).unwrap();
    let file = scratch(&[5; 16384]);
    let store = rig.file(&file);
    let memory_store = rig.executor.add(Store::memory(16384).unwrap());
    let null = rig.executor.add(Store::null(16384));
    let short = rig.file(&scratch(b"short"));
    for (store, kind) in [
        (store, READ),
        (store, WRITE),
        (short, READ_ZERO),
        (memory_store, READ),
        (memory_store, WRITE),
        (null, READ),
    ] {
        let target = Target::Region { region, extents: &[extent(4096, 8192)], skip: 0 };
        let done = rig.run(Request { store, kind, offset: 0, length: 8192, target });
        assert_eq!(done.result, Err(StoreError::BufferLost), "{kind:?} of {store:?}");
    }
    // The rest of the memory is as good as before.
    let target = Target::Region { region, extents: &[extent(0, 8192)], skip: 0 };
    let done = rig.run(Request { store, kind: READ, offset: 0, length: 8192, target });
    assert_eq!(done.result, Ok(8192));
    let mut bytes = [0; 8192];
    memory.copy_out(0, &mut bytes).unwrap();
    assert_eq!(bytes, [5; 8192]);
}

#[test]
fn what_is_no_store_is_named() {
    let options = FileOptions::default();
    let (read_end, _write_end) = nix::unistd::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let directory: OwnedFd = File::open("/").unwrap().into();
    let device: OwnedFd = File::open("/dev/zero").unwrap().into();
    for (fd, name) in [
        (directory, "directory"),
        (device, "character device"),
        (read_end, "pipe"),
        (socket.into(), "socket"),
    ] {
        let error = Store::file(fd, options).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore { found } if found == name), "{error}");
    }
}

#[test]
fn files_opened_the_wrong_way_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(&path, b"x").unwrap();
    let read = || OwnedFd::from(File::open(&path).unwrap());
    let write = || OwnedFd::from(File::options().write(true).open(&path).unwrap());
    let read_only = FileOptions { read_only: true };
    assert!(matches!(Store::file(read(), FileOptions::default()), Err(OpenError::NotWritable)));
    assert!(matches!(Store::file(write(), FileOptions::default()), Err(OpenError::NotReadable)));
    assert!(matches!(Store::file(write(), read_only), Err(OpenError::NotReadable)));
    assert!(Store::file(read(), read_only).is_ok());
}

#[test]
fn memory_of_no_or_absurd_size_is_refused() {
    for bytes in [0, u64::MAX] {
        let refused = Store::memory(bytes);
        assert!(matches!(refused, Err(OpenError::MemorySize { bytes: told }) if told == bytes));
    }
}

#[test]
fn error_numbers_have_meanings() {
    use nix::libc;
    for (errno, error) in [
        (libc::ENOSPC, StoreError::NoSpace),
        (libc::EDQUOT, StoreError::NoSpace),
        (libc::EFBIG, StoreError::NoSpace),
        (libc::EROFS, StoreError::ReadOnly),
        (libc::ETIMEDOUT, StoreError::TimedOut),
        (libc::ECANCELED, StoreError::Cancelled),
        (libc::EOPNOTSUPP, StoreError::Unsupported),
        (libc::EINVAL, StoreError::Invalid),
        (libc::EFAULT, StoreError::BufferLost),
        (libc::EIO, StoreError::Io),
        (libc::EBADF, StoreError::Io),
    ] {
        assert_eq!(StoreError::from_errno(errno), error);
    }
}
