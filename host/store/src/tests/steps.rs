//! Which system calls an operation makes of which answers, for stores that are not to be had in a test.

use nix::errno::Errno;
use nix::libc;

use super::*;
use crate::operation::{Call, Next, Operation};
use crate::store::{FileStore, Inner};

const DISCARD: Kind = Kind::Discard { durable: false };
const HOLE: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const TIB: u64 = 1 << 40;

fn zeroes(may_unmap: bool) -> Kind {
    Kind::WriteZeroes { durable: false, may_unmap }
}

/// A file of 8192 bytes, or a block device with blocks of 512 as far as its operations see.
fn store(block: Option<u64>) -> FileStore {
    let file = scratch(&[9; 8192]);
    match Store::file(file.into(), FileOptions::default()).unwrap().0 {
        Inner::File(store) => FileStore { block, ..store },
        other => panic!("a file is a file: {other:?}"),
    }
}

/// Runs an operation on answers that are given; an answer is one that io_uring or a thread would give.
fn play(
    file: &mut FileStore,
    kind: Kind,
    offset: u64,
    length: u64,
    script: &[(Call, Result<i64, Errno>)],
) -> Next {
    let mut operation = Operation::default();
    operation.reset(Token(1), 0, kind, offset, length);
    let mut next = operation.begin(file);
    for (call, answer) in script {
        assert_eq!(next, Next::Call, "before {call:?}");
        assert_eq!(operation.call(file), *call);
        let answer = answer.unwrap_or_else(|errno| -i64::from(errno as i32));
        next = operation.after(answer, file, &mut 0);
    }
    next
}

fn allocate(mode: i32, offset: i64, length: i64) -> Call {
    Call::Allocate { mode, offset, length }
}

#[test]
fn a_discard_without_hole_punching_zeroes_the_data_and_nothing_else() {
    let mut file = store(None);
    let ended = play(
        &mut file,
        DISCARD,
        4096,
        TIB,
        &[
            (allocate(HOLE, 4096, 1 << 40), Err(Errno::EOPNOTSUPP)),
            (Call::Data { from: 4096 }, Ok(5000)),
            (Call::Hole { from: 5000 }, Ok(8192)),
            (allocate(libc::FALLOC_FL_ZERO_RANGE, 5000, 3192), Ok(0)),
            (Call::Data { from: 8192 }, Err(Errno::ENXIO)),
        ],
    );
    assert_eq!((ended, file.known_size), (Next::End(Ok(TIB)), 8192), "a discard never makes a file longer");
    // It is not asked again.
    let ended = play(&mut file, DISCARD, 0, 512, &[(Call::Data { from: 0 }, Err(Errno::ENXIO))]);
    assert_eq!(ended, Next::End(Ok(512)));
}

#[test]
fn a_file_system_that_knows_no_holes_has_its_file_zeroed_to_the_end() {
    let mut file = store(None);
    file.lacks_punch_hole = true;
    file.lacks_zero_range = true;
    let script = [
        (Call::Data { from: 8000 }, Err(Errno::EINVAL)),
        (Call::Write { offset: 8000, durable: false }, Ok(192)),
        (Call::Data { from: 8192 }, Err(Errno::EINVAL)),
    ];
    assert_eq!(play(&mut file, DISCARD, 8000, TIB, &script), Next::End(Ok(TIB)));
    assert_eq!(file.known_size, 8192);
}

#[test]
fn zeros_behind_the_end_of_a_file_on_such_a_file_system_make_it_longer() {
    let mut file = store(None);
    file.lacks_punch_hole = true;
    let script =
        [(Call::Data { from: 16_384 }, Err(Errno::EINVAL)), (allocate(0, 16_384 + (2 << 20) - 1, 1), Ok(0))];
    assert_eq!(play(&mut file, zeroes(true), 16_384, 2 << 20, &script), Next::End(Ok(2 << 20)));
}

#[test]
fn a_file_system_without_allocation_is_made_longer_by_one_byte() {
    let mut file = store(None);
    let script = [
        (allocate(HOLE, 0, 1 << 40), Err(Errno::EOPNOTSUPP)),
        (Call::Data { from: 0 }, Err(Errno::ENXIO)),
        (allocate(0, (1 << 40) - 1, 1), Err(Errno::EOPNOTSUPP)),
        (Call::Write { offset: (1 << 40) - 1, durable: false }, Ok(1)),
    ];
    assert_eq!(play(&mut file, zeroes(true), 0, TIB, &script), Next::End(Ok(TIB)));
    assert_eq!(file.known_size, TIB);
}

#[test]
fn a_short_range_is_zeroed_without_a_search_and_a_file_that_shrinks_meanwhile_is_searched_again() {
    let mut file = store(None);
    let short = [(allocate(libc::FALLOC_FL_ZERO_RANGE, 512, 1024), Ok(0))];
    assert_eq!(play(&mut file, zeroes(false), 512, 1024, &short), Next::End(Ok(1024)));
    let script = [
        (Call::Data { from: 0 }, Ok(0)),
        (Call::Hole { from: 0 }, Err(Errno::ENXIO)),
        (Call::Data { from: 0 }, Err(Errno::ENXIO)),
        (allocate(0, (2 << 20) - 1, 1), Ok(0)),
    ];
    assert_eq!(play(&mut file, zeroes(false), 0, 2 << 20, &script), Next::End(Ok(2 << 20)));
}

#[test]
fn a_block_device_without_discard_keeps_its_contents() {
    let mut device = store(Some(512));
    let script = [(Call::BlockDiscard { offset: 512, length: 1024 }, Err(Errno::EOPNOTSUPP))];
    assert_eq!(play(&mut device, DISCARD, 100, 1500, &script), Next::End(Ok(1500)));
    let script = [(Call::BlockDiscard { offset: 512, length: 1024 }, Err(Errno::EIO))];
    assert_eq!(play(&mut device, DISCARD, 512, 1024, &script), Next::End(Err(StoreError::Io)));
}

#[test]
fn a_block_device_is_zeroed_in_steps_that_can_be_cancelled() {
    const STEP: i64 = 1 << 28;
    let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    let mut device = store(Some(512));
    let length = (STEP * 2 + 512).cast_unsigned();
    let script = [
        (allocate(HOLE, 512, STEP * 2 + 512), Err(Errno::EOPNOTSUPP)),
        (allocate(mode, 512, STEP), Ok(0)),
        (allocate(mode, 512 + STEP, STEP), Ok(0)),
        (allocate(mode, 512 + STEP * 2, 512), Ok(0)),
    ];
    assert_eq!(play(&mut device, zeroes(true), 512, length, &script), Next::End(Ok(length)));
    assert_eq!(play(&mut device, zeroes(true), 512, length, &script[1..]), Next::End(Ok(length)));
    let mut operation = Operation::default();
    operation.reset(Token(1), 0, zeroes(false), 0, length);
    assert_eq!(operation.begin(&device), Next::Call);
    operation.cancelled = true;
    assert_eq!(operation.after(0, &mut device, &mut 0), Next::End(Err(StoreError::Cancelled)));
}
