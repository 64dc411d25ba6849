//! What initiators and operators see of the handler `file`.

use lunbox_handler_file::File;
use lunbox_harness::{Ending, Harness, MemStore, NotGood, StartError};
use lunbox_sdk::{ConfigError, ExtentRecord, Handler, OpError, OpKind, Sense, SenseKey, UnmapLimits};

const MIB: u64 = 1 << 20;

fn disk(store: MemStore) -> Harness<File> {
    Harness::setup(MIB).store(store).start().expect("a plain configuration starts")
}

fn refusal(result: Result<Harness<File>, StartError>) -> ConfigError {
    match result {
        Err(StartError::Refused(error)) => error,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn the_cfgstring_begins_with_file() {
    assert_eq!(File::describe().subtype, "file");
}

#[test]
fn what_was_written_is_read_at_the_same_place_only() {
    let mut disk = disk(MemStore::growing(0));
    disk.write(8192, &[0xa5; 1024]).unwrap().good().unwrap();
    let around = disk.read(8192 - 512, 2048).unwrap().good().unwrap();
    let expected = [vec![0; 512], vec![0xa5; 1024], vec![0; 512]].concat();
    assert_eq!(around, expected);
    assert_eq!(disk.stores()[0].contents().len(), 8192 + 1024, "grows as far as written, no further");
}

#[test]
fn beyond_the_end_of_the_file_are_zeros() {
    let mut disk = disk(MemStore::with_contents(vec![7; 700]));
    let data = disk.read(512, 1024).unwrap().good().unwrap();
    assert_eq!(data, [vec![7; 188], vec![0; 836]].concat());
    assert_eq!(disk.stores()[0].contents().len(), 700, "reading does not make the file grow");
}

#[test]
fn flushed_and_fua_writes_survive_a_power_cut_and_others_need_not() {
    let mut disk = disk(MemStore::growing(1 << 20));
    assert!(disk.info().write_cache);
    disk.write(0, &[1; 512]).unwrap().good().unwrap();
    disk.flush().unwrap().good().unwrap();
    disk.write_fua(512, &[2; 512]).unwrap().good().unwrap();
    disk.write(1024, &[3; 512]).unwrap().good().unwrap();
    assert_eq!(disk.stores()[0].volatile_writes(), 1);
    let mut disk = disk.power_cut().unwrap();
    let data = disk.read(0, 1536).unwrap().good().unwrap();
    assert_eq!(data, [[1; 512], [2; 512], [0; 512]].concat());
}

#[test]
fn failed_operations_become_the_sense_data_that_fits() {
    let mut disk = disk(MemStore::growing(0));
    let cases = [
        (OpKind::Read, OpError::Io, Sense::new(SenseKey::MediumError, 0x11, 0x00)),
        (OpKind::Write, OpError::Io, Sense::new(SenseKey::MediumError, 0x0c, 0x00)),
        (OpKind::Flush, OpError::Io, Sense::new(SenseKey::MediumError, 0x0c, 0x00)),
        (OpKind::Write, OpError::NoSpace, Sense::new(SenseKey::DataProtect, 0x27, 0x07)),
        (OpKind::Write, OpError::ReadOnly, Sense::new(SenseKey::DataProtect, 0x27, 0x00)),
    ];
    for (kind, error, expected) in cases {
        disk.fail_next(error);
        let reply = match kind {
            OpKind::Read => disk.read(0, 512),
            OpKind::Write => disk.write(0, &[1; 512]),
            _ => disk.flush(),
        };
        assert_eq!(reply.unwrap().sense(), Some(expected), "{kind:?} {error:?}");
    }
    disk.write(0, &[1; 512]).unwrap().good().expect("a failed command leaves the next ones alone");
}

#[test]
fn a_regular_file_may_be_resized_both_ways() {
    let mut disk = disk(MemStore::growing(0));
    disk.resize(2 * MIB).unwrap().unwrap();
    disk.write(2 * MIB - 512, &[9; 512]).unwrap().good().unwrap();
    disk.resize(MIB / 2).unwrap().unwrap();
    assert!(disk.read(MIB, 512).is_err(), "the host refuses what lies beyond the new end");
    assert_eq!(disk.stores()[0].contents().len(), 2 << 20, "shrinking the LUN leaves the file alone");
}

#[test]
fn a_block_device_must_be_as_large_as_the_lun() {
    let error = refusal(Harness::setup(MIB).store(MemStore::fixed(65536)).start());
    assert_eq!(error.field, "size");
    assert!(error.message.contains("1048576") && error.message.contains("65536"), "{error}");

    let mut disk = disk(MemStore::fixed(2 << 20));
    disk.resize(2 * MIB).unwrap().expect("fits");
    let error = disk.resize(2 * MIB + 512).unwrap().expect_err("does not fit");
    assert_eq!(error.field, "size");
    assert!(error.message.contains("2097664") && error.message.contains("2097152"), "{error}");
    disk.read(2 * MIB - 512, 512).unwrap().good().expect("a refused resize changes nothing");
}

#[test]
fn a_configuration_that_makes_no_device_is_refused_by_field() {
    let file = || MemStore::growing(0);
    let cases: [(Result<Harness<File>, StartError>, &str); 7] = [
        (Harness::setup(MIB).start(), ""),
        (Harness::setup(0).store(file()).start(), "size"),
        (Harness::setup(MIB + 1).store(file()).start(), "size"),
        (Harness::setup(MIB).block_size(0).store(file()).start(), "block-size"),
        (Harness::setup(MIB).block_size(256).store(file()).start(), "block-size"),
        (Harness::setup(1536 * 1024).block_size(1536).store(file()).start(), "block-size"),
        (Harness::setup(MIB).store(file().read_only()).start(), "read-only"),
    ];
    for (result, field) in cases {
        let error = refusal(result);
        assert_eq!(error.field, field, "{error}");
        assert!(error.message.contains("; "), "the remedy follows the fault: {error}");
    }
}

#[test]
fn a_read_only_device_needs_no_writable_file() {
    let store = MemStore::with_contents(vec![3; 4096]).read_only();
    let mut disk: Harness<File> = Harness::setup(4096).read_only().store(store).start().unwrap();
    assert_eq!(disk.read(0, 4096).unwrap().good().unwrap(), vec![3; 4096]);
    disk.flush().unwrap().good().unwrap();
}

/// What is mapped of the first `length` bytes, as offset, length and whether.
fn mapped(disk: &mut Harness<File>, length: u64) -> Vec<(u64, u64, bool)> {
    let list = disk.lba_status(0, length, 24 * 64).expect("the contract is kept").expect("it ends GOOD");
    list.into_iter().map(|record| (record.offset, record.length, record.allocated)).collect()
}

#[test]
fn unmapped_blocks_are_holes_that_read_as_zeros() {
    let mut disk = disk(MemStore::with_contents(vec![7; 8192]));
    assert_eq!(mapped(&mut disk, 16384), [(0, 8192, true), (8192, 8192, false)]);
    disk.unmap(1024, 2048).unwrap().good().unwrap();
    let data = disk.read(0, 4096).unwrap().good().unwrap();
    assert_eq!(data, [vec![7; 1024], vec![0; 2048], vec![7; 1024]].concat());
    let expected = [(0, 1024, true), (1024, 2048, false), (3072, 5120, true), (8192, 8192, false)];
    assert_eq!(mapped(&mut disk, 16384), expected);
}

#[test]
fn unmapping_beyond_the_end_of_the_file_leaves_it_short() {
    let mut disk = disk(MemStore::with_contents(vec![7; 1024]));
    disk.unmap(512, MIB - 512).unwrap().good().unwrap();
    assert_eq!(disk.stores()[0].contents().len(), 1024);
    assert_eq!(mapped(&mut disk, MIB), [(0, 512, true), (512, MIB - 512, false)]);
}

#[test]
fn zeroes_are_given_back_only_if_they_may_be() {
    let mut disk = disk(MemStore::with_contents(vec![7; 4096]));
    disk.write_zeroes(0, 1024, false, false).unwrap().good().unwrap();
    assert_eq!(mapped(&mut disk, 4096), [(0, 4096, true)]);
    disk.write_zeroes(0, 1024, true, false).unwrap().good().unwrap();
    assert_eq!(mapped(&mut disk, 4096), [(0, 1024, false), (1024, 3072, true)]);
    assert_eq!(disk.read(0, 1024).unwrap().good().unwrap(), [0; 1024]);
    // Zeros with FUA survive, others need not.
    disk.write_zeroes(1024, 512, true, true).unwrap().good().unwrap();
    disk.write_zeroes(2048, 512, true, false).unwrap().good().unwrap();
    let mut disk = disk.power_cut().unwrap();
    let data = disk.read(0, 2560).unwrap().good().unwrap();
    assert_eq!(
        (&data[..1024], &data[1024..1536], &data[2048..]),
        (&[7; 1024][..], &[0; 512][..], &[7; 512][..])
    );
}

#[test]
fn failures_of_unmap_zeroes_and_status_reach_the_initiator() {
    let mut disk = disk(MemStore::growing(4096));
    for (error, expected) in [
        (OpError::Io, Sense::new(SenseKey::MediumError, 0x0c, 0x00)),
        (OpError::NoSpace, Sense::new(SenseKey::DataProtect, 0x27, 0x07)),
    ] {
        disk.fail_next_of(OpKind::Discard, error);
        assert_eq!(disk.unmap(0, 512).unwrap().sense(), Some(expected));
        disk.fail_next_of(OpKind::WriteZeroes, error);
        assert_eq!(disk.write_zeroes(0, 512, false, false).unwrap().sense(), Some(expected));
    }
    disk.fail_next_of(OpKind::Extents, OpError::Io);
    let failed = disk.lba_status(0, 512, 24).unwrap().unwrap_err();
    assert_eq!(failed, NotGood(Ending::Check(Sense::new(SenseKey::MediumError, 0x11, 0x00))));
}

#[test]
fn a_short_buffer_takes_a_part_of_the_list() {
    let mut disk = disk(MemStore::with_contents([vec![7; 512], vec![0; 512], vec![7; 512]].concat()));
    let list = disk.lba_status(0, MIB, 50).unwrap().unwrap();
    let record = |offset, allocated| ExtentRecord { offset, length: 512, allocated };
    assert_eq!(list, [record(0, true), record(512, false)]);
}

#[test]
fn unmap_is_offered_where_the_store_can_discard() {
    let limits = |disk: &mut Harness<File>| disk.unmap_limits();
    let offered = |granularity, reads_zeroes| Some(UnmapLimits { max_length: 0, granularity, reads_zeroes });
    assert_eq!(limits(&mut disk(MemStore::growing(0))), offered(512, true));
    assert_eq!(limits(&mut disk(MemStore::fixed(1 << 20).discards_to_anything())), offered(512, false));
    assert_eq!(limits(&mut disk(MemStore::fixed(1 << 20).without_discard())), None);
    let store = MemStore::growing(4096).read_only();
    let mut read_only: Harness<File> = Harness::setup(4096).read_only().store(store).start().unwrap();
    assert_eq!(
        limits(&mut read_only),
        offered(512, true),
        "what a disk is does not change with its protection"
    );
    // A unit of the LUN is a block at least.
    let store = MemStore::growing(0);
    let mut blocks: Harness<File> = Harness::setup(MIB).block_size(4096).store(store).start().unwrap();
    assert_eq!(limits(&mut blocks), offered(4096, true));
}

#[test]
fn the_physical_block_is_the_stores_where_it_is_larger() {
    let physical = |block_size, bytes| {
        let store = MemStore::growing(0).physical_blocks(bytes);
        let disk: Harness<File> = Harness::setup(MIB).block_size(block_size).store(store).start().unwrap();
        disk.info().physical_block_size
    };
    assert_eq!(physical(512, 4096), 4096, "512e");
    for (block_size, bytes) in [(4096, 4096), (4096, 512), (512, 0), (512, 3000), (512, 512 << 16)] {
        assert_eq!(physical(block_size, bytes), 0, "{block_size} {bytes}");
    }
}
