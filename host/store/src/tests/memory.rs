//! Memory and null stores: they answer at once, on any backend.

use super::*;

fn rig() -> Rig {
    Rig::new(Backend::Threads)
}

#[test]
fn memory_keeps_what_it_is_given() {
    let mut rig = rig();
    let store = rig.executor.add(Store::memory(10_000).unwrap());
    assert_eq!(rig.executor.store(store).unwrap().size(), 10_000);
    assert!(!rig.executor.store(store).unwrap().read_only());
    assert_eq!(rig.read(store, READ, 0, 10_000), Ok(vec![0; 10_000]));
    assert_eq!(rig.write(store, 100, b"hello"), Ok(5));
    rig.memory.copy_in(0, b"wo").unwrap();
    rig.memory.copy_in(50, b"rld").unwrap();
    assert_eq!(rig.scattered(store, WRITE, 105, &[extent(0, 2), extent(50, 3)]), Ok(5));
    assert_eq!(rig.scattered(store, READ, 103, &[extent(200, 3), extent(300, 2)]), Ok(5));
    assert_eq!((rig.bytes(200, 4), rig.bytes(300, 3)), (b"low\0".to_vec(), b"or\0".to_vec()));
    assert_eq!(rig.bare(store, Kind::Flush, 0, 0), Ok(0));
    // No wait is needed.
    rig.submit(1, store, READ, 0, &[extent(0, 1)]);
    assert!(rig.executor.next_done().is_some());
}

#[test]
fn memory_ends_where_it_ends() {
    let mut rig = rig();
    let store = rig.executor.add(Store::memory(10).unwrap());
    assert_eq!(rig.write(store, 0, b"0123456789"), Ok(10));
    assert_eq!(rig.write(store, 8, b"xyz"), Err(StoreError::EndOfStore));
    let zeroes = Kind::WriteZeroes { durable: false, may_unmap: false };
    assert_eq!(rig.bare(store, zeroes, 10, 1), Err(StoreError::EndOfStore));
    assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 0, 11), Err(StoreError::EndOfStore));
    assert_eq!(rig.read(store, READ, 9, 2), Err(StoreError::EndOfStore));
    assert_eq!(rig.read(store, READ_ZERO, 8, 4), Ok(b"89\0\0".to_vec()));
    assert_eq!(rig.read(store, READ_ZERO, 1 << 40, 2), Ok(vec![0; 2]));
    assert_eq!(rig.read(store, READ, 0, 10), Ok(b"0123456789".to_vec()));
}

#[test]
fn zeroes_and_discards_clear_exactly_their_range() {
    let mut rig = rig();
    let store = rig.executor.add(Store::memory(1 << 20).unwrap());
    let kinds = [Kind::Discard { durable: true }, Kind::WriteZeroes { durable: false, may_unmap: false }];
    for kind in kinds {
        // Inside of a page, across pages with both ends in the middle, whole pages, and all.
        for (offset, length) in [(10, 100), (4000, 200), (4000, 20_000), (8192, 65_536), (0, 1 << 20)] {
            assert_eq!(rig.write(store, 0, &vec![0xaa; 1 << 20]), Ok(1 << 20));
            assert_eq!(rig.bare(store, kind, offset, length), Ok(length));
            let all = rig.read(store, READ, 0, 1 << 20).unwrap();
            let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
            assert!(all[start..end].iter().all(|&byte| byte == 0), "{offset}+{length}");
            assert!(all[..start].iter().chain(&all[end..]).all(|&byte| byte == 0xaa), "{offset}+{length}");
        }
    }
}

#[test]
fn null_swallows_writes_and_reads_as_zeros() {
    let mut rig = rig();
    let store = rig.executor.add(Store::null(100));
    assert_eq!(rig.executor.store(store).unwrap().size(), 100);
    assert!(rig.executor.store(store).unwrap().discard_zeroes());
    assert_eq!(rig.write(store, 0, b"gone"), Ok(4));
    assert_eq!(rig.read(store, READ, 0, 4), Ok(vec![0; 4]));
    rig.memory.copy_in(0, &[0xee; 20]).unwrap();
    assert_eq!(rig.scattered(store, READ, 50, &[extent(1, 3), extent(10, 5)]), Ok(8));
    assert_eq!(rig.bytes(0, 5), b"\xee\0\0\0\xee");
    assert_eq!(rig.bytes(9, 7), b"\xee\0\0\0\0\0\xee");
    assert_eq!(rig.read(store, READ, 99, 2), Err(StoreError::EndOfStore));
    assert_eq!(rig.write(store, 99, b"ab"), Err(StoreError::EndOfStore));
    assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 0, 100), Ok(100));
    assert_eq!(rig.bare(store, Kind::Flush, 0, 0), Ok(0));
}
