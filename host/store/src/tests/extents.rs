//! What a store holds, as it says itself: extents, space, sizes of units.

use std::os::unix::fs::{FileExt, MetadataExt};

use lunbox_contract::ExtentRecord;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;
use crate::Space;

on_both_backends! {
    holes_and_data_are_told_apart
    a_list_ends_with_its_buffer
    a_list_goes_into_scattered_memory_behind_its_skip
    nothing_is_listed_without_room
    space_is_what_the_file_system_says
    zeroing_a_tebibyte_of_holes_allocates_nothing
    a_discard_of_a_tebibyte_ends_at_once
}

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A file on tmpfs, where the kernel says exactly which pages are there: 1 MiB of data at 1 MiB and at 3 MiB.
fn sparse() -> File {
    let file = File::from(memfd_create("store", MFdFlags::MFD_CLOEXEC).unwrap());
    for at in [MIB, 3 * MIB] {
        file.write_all_at(&vec![9; usize::try_from(MIB).unwrap()], at).unwrap();
    }
    file
}

fn record(offset: u64, length: u64, allocated: bool) -> ExtentRecord {
    ExtentRecord { offset, length, allocated }
}

/// The records that fit into `room` bytes.
fn list(
    rig: &mut Rig,
    store: StoreIndex,
    offset: u64,
    length: u64,
    room: usize,
) -> Result<Vec<ExtentRecord>, StoreError> {
    let target = Target::Owned { buffer: vec![0xee; room], skip: 0 };
    let done = rig.run(Request { store, kind: Kind::Extents, offset, length, target });
    let buffer = done.buffer.expect("the buffer comes back");
    let records: Vec<_> = ExtentRecord::list(&buffer).collect();
    done.result.map(|bytes| {
        assert_eq!(bytes, (records.len() * ExtentRecord::BYTES) as u64);
        records
    })
}

fn holes_and_data_are_told_apart(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.file(&sparse());
    let all = [
        record(0, MIB, false),
        record(MIB, MIB, true),
        record(2 * MIB, MIB, false),
        record(3 * MIB, MIB, true),
        record(4 * MIB, TIB - 4 * MIB, false),
    ];
    assert_eq!(list(&mut rig, store, 0, TIB, 240), Ok(all.to_vec()));
    assert_eq!(list(&mut rig, store, MIB + 512, 1024, 240), Ok(vec![record(MIB + 512, 1024, true)]));
    let across = vec![record(2 * MIB - 512, 512, true), record(2 * MIB, 512, false)];
    assert_eq!(list(&mut rig, store, 2 * MIB - 512, 1024, 240), Ok(across));
    let behind = vec![record(5 * MIB, MIB, false)];
    assert_eq!(list(&mut rig, store, 5 * MIB, MIB, 240), Ok(behind), "behind the end of the file");
}

fn a_list_ends_with_its_buffer(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.file(&sparse());
    for (room, count) in [(24, 1), (47, 1), (48, 2), (71, 2), (72, 3)] {
        let records = list(&mut rig, store, 0, TIB, room).unwrap();
        assert_eq!(records.len(), count, "{room}");
    }
}

fn a_list_goes_into_scattered_memory_behind_its_skip(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.file(&sparse());
    rig.memory.copy_in(0, &[0xee; 300]).unwrap();
    let extents = [extent(10, 20), extent(100, 70)];
    let target = Target::Region { region: rig.region, extents: &extents, skip: 8 };
    let request = Request { store, kind: Kind::Extents, offset: MIB, length: 2 * MIB, target };
    assert_eq!(rig.run(request).result, Ok(48));
    let bytes = [rig.bytes(18, 12), rig.bytes(100, 70)].concat();
    let records: Vec<_> = ExtentRecord::list(&bytes).collect();
    assert_eq!(records, [record(MIB, MIB, true), record(2 * MIB, MIB, false)]);
    assert_eq!((rig.bytes(10, 8), rig.bytes(30, 70)), (vec![0xee; 8], vec![0xee; 70]), "not its bytes");
    assert_eq!(bytes[48..72], [0; 24], "the end of the list");
    assert_eq!(bytes[72..], [0xee; 10]);
}

fn nothing_is_listed_without_room(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.file(&sparse());
    let memory = rig.executor.add(Store::memory(MIB).unwrap());
    for store in [store, memory] {
        for room in [0, 23] {
            assert_eq!(list(&mut rig, store, 0, MIB, room), Err(StoreError::Invalid));
        }
        assert_eq!(rig.bare(store, Kind::Extents, 0, MIB), Err(StoreError::Invalid), "no buffer");
    }
}

fn space_is_what_the_file_system_says(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = sparse();
    let store = rig.file(&file);
    let bytes = rig.read(store, Kind::Space, 0, Space::BYTES).unwrap();
    let space = Space::from_bytes(&bytes).unwrap();
    assert_eq!(space.used, 2 * MIB);
    assert_eq!(space.used, file.metadata().unwrap().blocks() * 512);
    assert_eq!(Space::from_bytes(&space.to_bytes()), Some(space));
    assert_eq!(Space::from_bytes(&bytes[..15]), None);
    // A real file system has an end.
    let file = scratch(&[1; 8192]);
    let system = nix::sys::statvfs::fstatvfs(&file).unwrap();
    let all = system.blocks() * system.fragment_size();
    let store = rig.file(&file);
    let space = Space::from_bytes(&rig.read(store, Kind::Space, 0, Space::BYTES).unwrap()).unwrap();
    assert!(space.available <= all && (all == 0) == (space.available == 0), "{space:?} of {all}");
    for store in [Store::memory(MIB).unwrap(), Store::null(MIB)] {
        let store = rig.executor.add(store);
        assert_eq!(rig.read(store, Kind::Space, 0, Space::BYTES), Err(StoreError::Unsupported));
    }
}

fn zeroing_a_tebibyte_of_holes_allocates_nothing(backend: Backend) {
    // The second file system, usually a disk's, has FALLOC_FL_ZERO_RANGE, which would allocate all of it.
    for file in [sparse(), scratch(b"first")] {
        let mut rig = Rig::new(backend);
        let store = rig.file(&file);
        for may_unmap in [false, true] {
            file.write_all_at(&[9; 8192], 3 * MIB).unwrap();
            file.sync_all().unwrap();
            let before = file.metadata().unwrap().blocks();
            let zeroes = Kind::WriteZeroes { durable: false, may_unmap };
            assert_eq!(rig.bare(store, zeroes, 512, TIB - 512), Ok(TIB - 512));
            let after = file.metadata().unwrap();
            assert_eq!(after.len(), TIB, "as long as a write would make it");
            // The one at the end makes the file so long.
            assert!(after.blocks() <= before + 64, "{} after {before}", after.blocks());
            let data = rig.read(store, READ, 3 * MIB, 16384).unwrap();
            assert_eq!(data, [0; 16384]);
        }
    }
}

fn a_discard_of_a_tebibyte_ends_at_once(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = sparse();
    let store = rig.file(&file);
    assert_eq!(rig.bare(store, Kind::Discard { durable: true }, 0, TIB), Ok(TIB));
    let after = file.metadata().unwrap();
    assert_eq!((after.len(), after.blocks()), (4 * MIB, 0), "the size stays");
    assert_eq!(list(&mut rig, store, 0, TIB, 240), Ok(vec![record(0, TIB, false)]));
}

#[test]
fn memory_knows_what_was_written() {
    let mut rig = Rig::new(Backend::Threads);
    let store = rig.executor.add(Store::memory(8 * MIB).unwrap());
    let page = u64::from(rig.executor.store(store).unwrap().discard_granularity());
    assert_eq!(list(&mut rig, store, 0, 8 * MIB, 240), Ok(vec![record(0, 8 * MIB, false)]));
    assert_eq!(rig.write(store, page + 1, b"hello"), Ok(5));
    let expected =
        [record(0, page, false), record(page, page, true), record(2 * page, 8 * MIB - 2 * page, false)];
    assert_eq!(list(&mut rig, store, 0, 8 * MIB, 240), Ok(expected.to_vec()));
    assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 0, 8 * MIB), Ok(8 * MIB));
    assert_eq!(list(&mut rig, store, 0, 8 * MIB, 240), Ok(vec![record(0, 8 * MIB, false)]));
    let null = rig.executor.add(Store::null(MIB));
    assert_eq!(list(&mut rig, null, 512, 1024, 24), Ok(vec![record(512, 1024, false)]));
}

#[test]
fn stores_tell_the_sizes_of_their_units() {
    let file = scratch(b"x");
    let open = |read_only| {
        let fd = file.as_fd().try_clone_to_owned().unwrap();
        Store::file(fd, FileOptions { read_only }).unwrap()
    };
    assert_eq!((open(false).physical_block_size(), open(false).discard_granularity()), (4096, 4096));
    assert_eq!(open(true).discard_granularity(), 4096, "protection does not change what it is");
    let memory = Store::memory(MIB).unwrap();
    assert_eq!(memory.physical_block_size(), 0);
    assert!(memory.discard_granularity().is_power_of_two());
}
