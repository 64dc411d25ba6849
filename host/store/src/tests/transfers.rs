//! Bytes arrive where they should.

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;

on_both_backends! {
    scattered_pieces_are_written_and_read_in_order
    more_pieces_than_one_call_takes
    skip_leaves_the_front_of_the_buffer_out
    owned_buffers_come_back_with_the_bytes
    a_read_across_the_end_is_zero_filled_or_fails
    a_write_beyond_the_end_grows_the_file
    flushes_and_durable_writes_end_well
    operations_without_bytes_end_well
    more_operations_than_queue_entries
    nonblocking_and_appending_files_are_tamed
    a_short_write_that_is_alone_is_done_by_the_next_wait
}

fn scattered_pieces_are_written_and_read_in_order(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"");
    let store = rig.file(&file);
    rig.memory.copy_in(100, b"abcdef").unwrap();
    rig.memory.copy_in(9000, b"GHI").unwrap();
    rig.memory.copy_in(50, b"jk").unwrap();
    let pieces = [extent(100, 6), extent(9000, 3), extent(700, 0), extent(50, 2)];
    assert_eq!(rig.scattered(store, WRITE, 3, &pieces), Ok(11));
    assert_eq!(content(&file), b"\0\0\0abcdefGHIjk");
    let pieces = [extent(20_000, 1), extent(30_000, 7), extent(25_000, 3)];
    assert_eq!(rig.scattered(store, READ, 3, &pieces), Ok(11));
    assert_eq!(rig.bytes(19_999, 3), b"\0a\0");
    assert_eq!(rig.bytes(29_999, 9), b"\0bcdefGH\0");
    assert_eq!(rig.bytes(24_999, 5), b"\0Ijk\0");
}

fn more_pieces_than_one_call_takes(backend: Backend) {
    let mut rig = Rig::new(backend);
    let data = Numbers(1).bytes(3000 * 3);
    let file = scratch(b"");
    let store = rig.file(&file);
    // Gaps keep the pieces from becoming one.
    let pieces: Vec<Extent> = (0..3000).map(|n| extent(n * 5, 3)).collect();
    for (piece, data) in pieces.iter().zip(data.chunks(3)) {
        rig.memory.copy_in(piece.offset, data).unwrap();
    }
    assert_eq!(rig.scattered(store, WRITE, 10, &pieces), Ok(9000));
    assert_eq!(content(&file)[10..], data);
    rig.memory.zero(0, 1 << 20).unwrap();
    assert_eq!(rig.scattered(store, READ, 10, &pieces), Ok(9000));
    for (piece, data) in pieces.iter().zip(data.chunks(3)) {
        assert_eq!(rig.bytes(piece.offset, 3), data);
    }
    assert_eq!(rig.bytes(3, 2), [0, 0], "nothing is written between pieces");
}

fn skip_leaves_the_front_of_the_buffer_out(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"0123456789");
    let store = rig.file(&file);
    // The skip ends inside of the second piece; the last byte of the buffer stays.
    let extents = [extent(0, 4), extent(100, 4), extent(200, 4)];
    let target = Target::Region { region: rig.region, extents: &extents, skip: 6 };
    let done = rig.run(Request { store, kind: READ, offset: 1, length: 5, target });
    assert_eq!(done.result, Ok(5));
    assert_eq!(rig.bytes(0, 4), [0; 4]);
    assert_eq!(rig.bytes(100, 4), b"\0\x0012");
    assert_eq!(rig.bytes(200, 4), b"345\0");
    let target = Target::Owned { buffer: b"......".to_vec(), skip: 2 };
    let done = rig.run(Request { store, kind: READ, offset: 7, length: 3, target });
    assert_eq!((done.result, done.buffer.as_deref()), (Ok(3), Some(b"..789.".as_slice())));
}

fn owned_buffers_come_back_with_the_bytes(backend: Backend) {
    let mut rig = Rig::new(backend);
    let data = Numbers(2).bytes(300_000);
    let file = scratch(b"");
    let store = rig.file(&file);
    assert_eq!(rig.write(store, 5, &data), Ok(300_000));
    assert_eq!(rig.read(store, READ, 5, 300_000), Ok(data.clone()));
    // Between owned buffers the slot goes back to its region, and on again.
    assert_eq!(rig.scattered(store, READ, 5, &[extent(0, 1000)]), Ok(1000));
    assert_eq!(rig.bytes(0, 1000), data[..1000]);
    assert_eq!(rig.read(store, READ, 1005, 10), Ok(data[1000..1010].to_vec()));
}

fn a_read_across_the_end_is_zero_filled_or_fails(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"short");
    let store = rig.file(&file);
    assert_eq!(rig.read(store, READ, 2, 8), Err(StoreError::EndOfStore));
    assert_eq!(rig.read(store, READ, 5, 1), Err(StoreError::EndOfStore));
    assert_eq!(rig.read(store, READ_ZERO, 2, 8), Ok(b"ort\0\0\0\0\0".to_vec()));
    assert_eq!(rig.read(store, READ_ZERO, 1 << 40, 4), Ok(vec![0; 4]));
    // In scattered memory the zeros start in the middle of a piece.
    rig.memory.copy_in(0, &[0xee; 500]).unwrap();
    let pieces = [extent(0, 2), extent(100, 2), extent(200, 200)];
    assert_eq!(rig.scattered(store, READ_ZERO, 2, &pieces), Ok(204));
    assert_eq!(rig.bytes(0, 3), b"or\xee");
    assert_eq!(rig.bytes(100, 3), b"t\0\xee");
    assert_eq!(rig.bytes(199, 202), [&[0xee][..], &[0; 200], &[0xee]].concat());
}

fn a_write_beyond_the_end_grows_the_file(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"x");
    let store = rig.file(&file);
    assert_eq!(rig.executor.store(store).unwrap().size(), 1);
    assert_eq!(rig.write(store, 4, b"end"), Ok(3));
    assert_eq!(content(&file), b"x\0\0\0end");
    assert_eq!(rig.executor.store(store).unwrap().size(), 7);
}

fn flushes_and_durable_writes_end_well(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"");
    let store = rig.file(&file);
    rig.memory.copy_in(0, b"durable").unwrap();
    assert_eq!(rig.scattered(store, Kind::Write { durable: true }, 0, &[extent(0, 7)]), Ok(7));
    assert_eq!(content(&file), b"durable");
    assert_eq!(rig.bare(store, Kind::Flush, u64::MAX, u64::MAX), Ok(0));
}

fn operations_without_bytes_end_well(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"same");
    let store = rig.file(&file);
    let zeroes = Kind::WriteZeroes { durable: false, may_unmap: true };
    for kind in [READ, WRITE, Kind::Discard { durable: true }, zeroes] {
        assert_eq!(rig.bare(store, kind, 2, 0), Ok(0), "{kind:?}");
    }
    assert_eq!(content(&file), b"same");
}

fn more_operations_than_queue_entries(backend: Backend) {
    let mut rig = Rig::with(Options { backend, entries: 2, io_workers: 1, threads: 2 });
    let data = Numbers(3).bytes(1000 * 8);
    let file = scratch(b"");
    let store = rig.file(&file);
    rig.memory.copy_in(0, &data).unwrap();
    // Far more than the completion queue of 8 entries holds: it overflows, and nothing may be lost.
    for kind in [WRITE, READ] {
        let base = if kind == READ { 1 << 20 } else { 0 };
        for n in 0..1000 {
            rig.submit(n, store, kind, n * 8, &[extent(base + n * 8, 8)]);
        }
        assert_eq!(rig.executor.in_flight(), 1000);
        let mut seen = [false; 1000];
        for left in (0..1000).rev() {
            let done = next(&mut rig.executor);
            assert_eq!(done.result, Ok(8));
            let seen = &mut seen[usize::try_from(done.token.0).unwrap()];
            assert!(!*seen, "one end for each operation");
            *seen = true;
            assert_eq!(rig.executor.in_flight(), left);
        }
    }
    assert_eq!(content(&file), data);
    assert_eq!(rig.bytes(1 << 20, 8000), data);
}

fn nonblocking_and_appending_files_are_tamed(backend: Backend) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut rig = Rig::new(backend);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(&path, b"0123456789").unwrap();
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_APPEND;
    let file = std::fs::OpenOptions::new().read(true).append(true).custom_flags(flags).open(&path).unwrap();
    let store = rig.executor.add(Store::file(file.into(), FileOptions::default()).unwrap());
    assert_eq!(rig.write(store, 2, b"ab"), Ok(2));
    assert_eq!(std::fs::read(&path).unwrap(), b"01ab456789");
}

fn a_short_write_that_is_alone_is_done_by_the_next_wait(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = File::from(memfd_create("store", MFdFlags::MFD_CLOEXEC).unwrap());
    let store = rig.file(&file);
    rig.memory.copy_in(0, b"hello").unwrap();
    let before = rig.executor.syscalls();
    rig.submit(1, store, WRITE, 7, &[extent(0, 5)]);
    rig.executor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(rig.executor.next_done().expect("no other thread was asked").result, Ok(5));
    assert!(rig.executor.syscalls() - before <= 2, "the write, and a look at what is watched");
    // With others in flight it is handed over as they are: all end, in any order.
    for token in 0..3 {
        rig.submit(token, store, WRITE, token * 5, &[extent(0, 5)]);
    }
    let mut ended: Vec<u64> = (0..3).map(|_| next(&mut rig.executor).token.0).collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2]);
    assert_eq!(content(&file), b"hellohellohello");
}
