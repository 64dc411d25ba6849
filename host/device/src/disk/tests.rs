//! What each command means for a unit, good and bad.

use lunbox_compose::Scope;
use lunbox_engine::Limits;
use lunbox_scsi::{TargetPort, TargetPortGroup};
use lunbox_store::Backend;

use super::*;

mod defects;
mod modes;

/// A parameter list, or the lack of one.
struct List<'a>(Option<&'a [u8]>);

impl Peek for List<'_> {
    fn peek(&self, length: u32, out: &mut Vec<u8>) -> Result<(), Gone> {
        let length = usize::try_from(length).map_err(|_| Gone)?;
        let bytes = self.0.and_then(|bytes| bytes.get(..length)).ok_or(Gone)?;
        out.clear();
        out.extend_from_slice(bytes);
        Ok(())
    }
}

const LIMITS: UnmapLimits = UnmapLimits { max_length: 0, granularity: 4096, reads_zeroes: true };

fn all() -> Abilities {
    Abilities { block: true, unmap: true, write_zeroes: true, lba_status: true, ..Abilities::default() }
}

fn settings() -> Settings {
    Settings {
        size: Bytes(1 << 20),
        block_size: BlockSize::B512,
        read_only: false,
        max_transfer: Blocks(128),
        limits: Limits::default(),
        backend: Backend::Auto,
        command_timeout: None,
        write_cache: None,
        modes: Modes::default(),
    }
}

fn info(write_cache: bool) -> DeviceInfo {
    DeviceInfo { size: 1 << 20, write_cache, solid_state: true, physical_block_size: 4096 }
}

/// 2048 blocks of 512 bytes, and a handler that can do all that there is.
fn disk() -> Disk {
    Disk::new(&settings(), &info(true), all(), Some(LIMITS)).unwrap()
}

fn port(group: u16) -> TargetPort {
    let name = "iqn.2003-01.org.example".to_owned();
    TargetPort { relative_id: 1, protocol: 5, group, name: format!("{name},t,0x0001"), target_name: name }
}

fn group(id: u16) -> TargetPortGroup {
    TargetPortGroup {
        id,
        state: AccessState::Optimized,
        preferred: false,
        supported: 0x07,
        status: 0,
        implicit_transition_s: 0,
        explicit: false,
        implicit: true,
        ports: vec![1],
    }
}

/// The disk knows who it is.
fn named(mut disk: Disk) -> Disk {
    disk.set_identity(Identity {
        serial: "0123456789abcdef".to_owned(),
        ports: vec![port(1)],
        groups: vec![group(1), group(2)],
    });
    disk
}

fn run(disk: &mut Disk, cdb: &[u8], room: u64, list: Option<&[u8]>) -> Job {
    disk.classify(cdb, &[Extent { offset: 0, length: room }], &List(list), &mut Vec::new())
}

/// With a parameter list as the whole buffer.
fn with_list(disk: &mut Disk, cdb: &[u8], list: &[u8]) -> Job {
    run(disk, cdb, list.len() as u64, Some(list))
}

#[track_caller]
fn check(job: &Job, key: u8, asc: u8, ascq: u8) -> Option<FieldPointer> {
    match job {
        Job::Check(sense, pointer) => {
            assert_eq!((sense.key.code(), sense.asc, sense.ascq), (key, asc, ascq));
            *pointer
        }
        other => panic!("{other:?} instead of {key:x}/{asc:02x}/{ascq:02x}"),
    }
}

/// The name of the composite, which way data goes, and how much.
#[track_caller]
fn composite(job: Job) -> (String, Direction, u64, Box<dyn Composite>) {
    match job {
        Job::Compose { composite, direction, data_length } => {
            let name = format!("{composite:?}");
            let name = name.split([' ', '{', '(']).next().unwrap().to_owned();
            (name, direction, data_length, composite)
        }
        other => panic!("{other:?} instead of a composite"),
    }
}

#[track_caller]
fn composes(disk: &mut Disk, cdb: &[u8], room: u64, name: &str, direction: Direction, length: u64) {
    let (is, way, data_length, _) = composite(run(disk, cdb, room, None));
    assert_eq!((is.as_str(), way, data_length), (name, direction, length), "{cdb:02x?}");
}

/// What a TEST UNIT READY reports.
fn news(disk: &mut Disk) -> Option<Sense> {
    match run(disk, &[0; 6], 0, None) {
        Job::Good => None,
        Job::Check(sense, None) => Some(sense),
        other => panic!("{other:?}"),
    }
}

/// A CDB of 16 bytes with an address and a count in their usual places.
fn sixteen(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// The same with 10 bytes.
fn ten(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = sixteen(0x89, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

/// Commands of several blocks: CDB for an address and a count, bytes of data for a count.
type Ranged = (fn(u64, u32) -> Vec<u8>, fn(u64) -> u64);

fn ranged() -> Vec<Ranged> {
    vec![
        (|lba, blocks| sixteen(0x88, 0, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8a, 0, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8b, 0, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8e, 0, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8e, 0x02, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8f, 0, lba, blocks).to_vec(), |_| 0),
        (|lba, blocks| sixteen(0x8f, 0x02, lba, blocks).to_vec(), |blocks| blocks * 512),
        (|lba, blocks| sixteen(0x8f, 0x06, lba, blocks).to_vec(), |blocks| blocks.min(1) * 512),
        (|lba, blocks| sixteen(0x90, 0, lba, blocks).to_vec(), |_| 0),
        (
            |lba, blocks| compare_and_write(lba, u8::try_from(blocks).unwrap()).to_vec(),
            |blocks| blocks * 1024,
        ),
    ]
}

#[test]
fn ranges_beyond_the_end_are_refused_before_the_buffer_is_looked_at() {
    let mut disk = disk();
    for (cdb, bytes) in ranged() {
        for (lba, blocks) in [(2048, 1), (2047, 2), (u64::MAX, 1), (u64::MAX - 1, 100), (1 << 55, 8)] {
            check(&run(&mut disk, &cdb(lba, blocks), 0, None), 5, 0x21, 0);
            check(&run(&mut disk, &cdb(lba, blocks), bytes(blocks.into()), None), 5, 0x21, 0);
        }
        // Nothing directly behind the last block is nothing, further on it is a mistake.
        assert!(matches!(run(&mut disk, &cdb(2048, 0), 0, None), Job::Good), "{:02x?}", cdb(2048, 0));
        check(&run(&mut disk, &cdb(2049, 0), 0, None), 5, 0x21, 0);
    }
}

#[test]
fn a_buffer_that_is_too_short_is_refused_and_one_that_is_too_long_is_not() {
    let mut disk = disk();
    for (cdb, bytes) in ranged() {
        let bytes = bytes(4);
        let cdb = cdb(2044, 4);
        if bytes > 0 {
            check(&run(&mut disk, &cdb, bytes - 1, None), 5, 0x0e, 3);
        }
        if cdb[0] == 0x89 {
            check(&run(&mut disk, &cdb, bytes + 512, None), 5, 0x0e, 3);
            continue;
        }
        for room in [bytes, bytes + 512] {
            match run(&mut disk, &cdb, room, None) {
                Job::Block { length, exact, .. } => {
                    assert_eq!((length, exact), (bytes, room == bytes), "{cdb:02x?}");
                }
                Job::Compose { data_length, .. } => assert_eq!(data_length, bytes, "{cdb:02x?}"),
                Job::Good => assert_eq!(cdb[0], 0x90),
                other => panic!("{cdb:02x?}: {other:?}"),
            }
        }
    }
}

#[test]
fn commands_of_several_steps_become_their_composites() {
    use Direction::{FromInitiator, None, ToInitiator};
    let disk = &mut named(disk());
    composes(disk, &sixteen(0x8e, 0x02, 1, 2), 1024, "WriteAndVerify", FromInitiator, 1024);
    composes(disk, &ten(0x2e, 0, 1, 2), 1024, "WriteAndVerify", FromInitiator, 1024);
    composes(disk, &sixteen(0x8b, 0, 1, 2), 1024, "OrWrite", FromInitiator, 1024);
    composes(disk, &compare_and_write(1, 2), 2048, "CompareAndWrite", FromInitiator, 2048);
    composes(disk, &ten(0x2f, 0, 1, 2), 0, "Verify", None, 0);
    composes(disk, &ten(0x2f, 0x02, 1, 2), 1024, "Verify", FromInitiator, 1024);
    composes(disk, &ten(0x2f, 0x06, 1, 2), 512, "Verify", FromInitiator, 512);
    composes(disk, &ten(0x41, 0, 1, 2), 512, "WriteSame", FromInitiator, 512);
    composes(disk, &sixteen(0x93, 0x08, 1, 2), 512, "WriteSame", FromInitiator, 512);
    composes(disk, &sixteen(0x93, 0x01, 1, 2), 0, "WriteSame", None, 0);
    composes(disk, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24, "Unmap", FromInitiator, 24);
    composes(disk, &[4, 0, 0, 0, 0, 0], 0, "FormatUnit", None, 0);
    let mut status = sixteen(0x9e, 0x12, 0, 4096);
    composes(disk, &status, 512, "LbaStatus", ToInitiator, 512);
    composes(disk, &status, 8192, "LbaStatus", ToInitiator, 4096);
    // Nothing is wanted of it.
    status[10..14].fill(0);
    assert!(matches!(run(disk, &status, 512, Option::None), Job::Good));
}

#[test]
fn what_must_be_alone_on_its_blocks_says_so() {
    let disk = &mut disk();
    let range = |cdb: &[u8], disk: &mut Disk| composite(run(disk, cdb, 2048, None)).3.scope();
    for cdb in [compare_and_write(4, 2), sixteen(0x8b, 0, 4, 2), sixteen(0x8e, 0x02, 4, 2)] {
        match range(&cdb, disk) {
            Scope::Alone { offset, length } => {
                assert!(offset <= 2048 && offset + length >= 2048 + 1024, "{cdb:02x?}: {offset} {length}");
            }
            Scope::Shared => panic!("{cdb:02x?} may overlap others"),
        }
    }
}

#[test]
fn write_same_must_name_blocks_and_send_one() {
    let mut disk = disk();
    let field = |job: &Job| check(job, 5, 0x24, 0).unwrap().byte;
    assert_eq!(field(&run(&mut disk, &ten(0x41, 0, 0, 0), 512, None)), 7);
    assert_eq!(field(&run(&mut disk, &sixteen(0x93, 0, 0, 0), 512, None)), 10);
    check(&run(&mut disk, &ten(0x41, 0, 2048, 1), 512, None), 5, 0x21, 0);
    for room in [0, 511, 513, 1024] {
        check(&run(&mut disk, &ten(0x41, 0, 0, 1), room, None), 5, 0x0e, 3);
    }
    // ANCHOR: nothing is anchored here.
    assert_eq!(field(&run(&mut disk, &sixteen(0x93, 0x10, 0, 1), 512, None)), 1);

    let plain = Abilities { block: true, ..Abilities::default() };
    let mut plain = Disk::new(&settings(), &info(true), plain, None).unwrap();
    assert_eq!(field(&run(&mut plain, &sixteen(0x93, 0x08, 0, 1), 512, None)), 1);
    assert!(matches!(run(&mut plain, &sixteen(0x93, 0, 0, 1), 512, None), Job::Compose { .. }));
}

#[test]
fn compare_and_write_takes_as_many_blocks_as_it_says() {
    let mut disk = disk();
    let room = |blocks: u8| u64::from(blocks) * 1024;
    assert!(matches!(run(&mut disk, &compare_and_write(0, 128), room(128), None), Job::Compose { .. }));
    for blocks in [129, 255] {
        let pointer = check(&run(&mut disk, &compare_and_write(0, blocks), room(blocks), None), 5, 0x24, 0);
        assert_eq!(pointer, Some(FieldPointer::cdb(13)));
    }
    // What is read must fit into one transfer.
    let few = Settings { max_transfer: Blocks(8), ..settings() };
    let disk = Disk::new(&few, &info(true), all(), Some(LIMITS)).unwrap();
    assert_eq!(disk.unit.characteristics.max_compare_and_write, 8);
}

#[test]
fn a_long_write_same_is_refused_where_each_block_must_be_written() {
    let big = Settings { size: Bytes(1 << 30), ..settings() };
    let info = DeviceInfo { size: 1 << 30, ..info(true) };
    for (write_zeroes, allowed) in [(true, true), (false, false)] {
        let abilities = Abilities { write_zeroes, ..all() };
        let mut disk = Disk::new(&big, &info, abilities, Some(LIMITS)).unwrap();
        let job = run(&mut disk, &sixteen(0x93, 0, 0, 1 << 20), 512, None);
        assert_eq!(matches!(job, Job::Compose { .. }), allowed);
        if !allowed {
            check(&job, 5, 0x24, 0);
        }
    }
}

#[test]
fn commands_that_the_handler_can_not_do_do_not_exist() {
    let plain = Abilities { block: true, ..Abilities::default() };
    let mut disk = Disk::new(&settings(), &info(true), plain, None).unwrap();
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    check(&run(&mut disk, &unmap, 24, None), 5, 0x20, 0);
    // Also with a field that would be refused.
    check(&run(&mut disk, &[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], 24, None), 5, 0x20, 0);
    // The ability alone is not enough: the store may not be able to.
    let mut disk = Disk::new(&settings(), &info(true), all(), None).unwrap();
    check(&run(&mut disk, &unmap, 24, None), 5, 0x20, 0);
    disk.set_abilities(Some(LIMITS));
    assert!(matches!(run(&mut disk, &unmap, 24, None), Job::Compose { .. }));
    disk.set_abilities(None);
    check(&run(&mut disk, &unmap, 24, None), 5, 0x20, 0);
}

#[test]
fn without_groups_there_are_no_group_commands() {
    let report = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    let set = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    let mut disk = disk();
    for cdb in [report, set] {
        assert!(matches!(run(&mut disk, &cdb, 255, None), Job::Identity));
    }
    disk.set_identity(Identity { serial: "1".to_owned(), ..Identity::default() });
    for cdb in [report, set] {
        check(&run(&mut disk, &cdb, 255, None), 5, 0x20, 0);
    }
}

#[test]
fn a_state_is_set_for_the_own_group_if_it_can_have_it() {
    let mut disk = named(disk());
    let set = |disk: &mut Disk, list: &[u8]| {
        let length = u8::try_from(list.len()).unwrap();
        with_list(disk, &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0], list)
    };
    let job = set(&mut disk, &[0, 0, 0, 0, 1, 0, 0, 1]);
    assert!(matches!(job, Job::AccessState { group: 1, state: 1 }), "{job:?}");
    // Unknown group; unavailable; a state that is none; the group of somebody else's port.
    check(&set(&mut disk, &[0, 0, 0, 0, 1, 0, 0, 9]), 5, 0x26, 0);
    check(&set(&mut disk, &[0, 0, 0, 0, 3, 0, 0, 1]), 5, 0x26, 0);
    check(&set(&mut disk, &[0, 0, 0, 0, 7, 0, 0, 1]), 5, 0x26, 0);
    check(&set(&mut disk, &[0, 0, 0, 0, 1, 0, 0, 2]), 4, 0x67, 0x0a);
    assert!(matches!(set(&mut disk, &[]), Job::Good));
    assert!(matches!(set(&mut disk, &[0; 4]), Job::Good));

    disk.access_state_set(1, 1);
    assert_eq!(disk.unit.groups[0].state, AccessState::NonOptimized);
    disk.access_state_set(9, 1);
    disk.access_state_set(1, 7);
    assert_eq!(disk.unit.groups[0].state, AccessState::NonOptimized);
}

#[test]
fn names_are_asked_for_where_they_are_needed() {
    let mut disk = disk();
    let inquiry = |page: Option<u8>| [0x12, page.is_some().into(), page.unwrap_or(0), 0, 255, 0];
    for page in [None, Some(0x80), Some(0x83)] {
        assert!(matches!(run(&mut disk, &inquiry(page), 255, None), Job::Identity), "{page:?}");
    }
    assert!(matches!(run(&mut disk, &inquiry(Some(0xb0)), 255, None), Job::Answer { .. }));
    let mut disk = named(disk);
    disk.forget_identity();
    // What was told once is good enough for all but the names themselves.
    assert!(matches!(run(&mut disk, &inquiry(None), 255, None), Job::Answer { .. }));
    assert!(matches!(run(&mut disk, &inquiry(Some(0x83)), 255, None), Job::Identity));
}

#[test]
fn news_and_a_format_come_before_everything_but_questions_about_them() {
    let mut disk = named(disk());
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let request_sense = [0x03, 0, 0, 0, 18, 0];
    disk.set_size(Bytes(2 << 20));
    disk.set_write_cache(false);
    assert!(matches!(run(&mut disk, &inquiry, 36, None), Job::Answer { .. }));
    // No command of this unit: says so and leaves news alone. A wrong field: news first.
    check(&run(&mut disk, &[0xff; 16], 0, None), 5, 0x20, 0);
    check(&run(&mut disk, &sixteen(0x88, 0xe0, 0, 1), 512, None), 6, 0x2a, 9);
    let pointer = check(&run(&mut disk, &[0x12, 2, 0, 0, 36, 0], 36, None), 5, 0x24, 0);
    assert_eq!(pointer, Some(FieldPointer::cdb_bit(1, 1)));
    // As data, and told with that.
    let mut data = Vec::new();
    let room = [Extent { offset: 0, length: 18 }];
    assert!(matches!(
        disk.classify(&request_sense, &room, &List(None), &mut data),
        Job::Answer { length: 18 }
    ));
    assert_eq!((data[2], data[12], data[13]), (6, 0x2a, 1));
    assert_eq!(news(&mut disk), None);

    disk.formatting(Some(0x1234));
    for cdb in [&[0; 6][..], &sixteen(0x88, 0, 0, 1), &sixteen(0x8a, 0, 0, 1), &[4, 0, 0, 0, 0, 0]] {
        let job = run(&mut disk, cdb, 512, None);
        assert!(matches!(job, Job::Formatting { progress: 0x1234 }), "{cdb:02x?}: {job:?}");
    }
    assert!(matches!(run(&mut disk, &inquiry, 36, None), Job::Answer { .. }));
    disk.classify(&request_sense, &room, &List(None), &mut data);
    assert_eq!((data[2] & 0x0f, data[12], data[13]), (2, 4, 4));
    assert_eq!(data[15..18], [0x80, 0x12, 0x34]);
    disk.formatting(None);
    assert_eq!(news(&mut disk), None);
}

#[test]
fn the_same_news_waits_once_and_in_its_order() {
    let mut disk = disk();
    disk.set_write_cache(false);
    disk.set_size(Bytes(2 << 20));
    disk.set_size(Bytes(3 << 20));
    disk.set_write_cache(true);
    assert_eq!(news(&mut disk), Some(Sense::MODE_PARAMETERS_CHANGED));
    assert_eq!(news(&mut disk), Some(Sense::CAPACITY_CHANGED));
    assert_eq!(news(&mut disk), None);
}

#[test]
fn a_size_that_the_handler_found_is_told_once() {
    for (size, expected) in [(1 << 20, None), (1 << 19, Some(Sense::CAPACITY_CHANGED))] {
        let info = DeviceInfo { size, ..info(true) };
        let mut disk = Disk::new(&settings(), &info, all(), Some(LIMITS)).unwrap();
        assert_eq!(disk.size(), Bytes(size));
        assert_eq!(news(&mut disk), expected);
        assert_eq!(news(&mut disk), None);
    }
}

#[test]
fn physical_blocks_survive_a_resize_and_count_only_if_they_are_larger() {
    let exponent = |disk: &mut Disk| {
        let mut data = Vec::new();
        let mut cdb = sixteen(0x9e, 0x10, 0, 32);
        cdb[13] = 32;
        let room = [Extent { offset: 0, length: 32 }];
        disk.classify(&cdb, &room, &List(None), &mut data);
        data[13] & 0x0f
    };
    let mut disk = disk();
    assert_eq!(exponent(&mut disk), 3);
    disk.set_size(Bytes(2 << 20));
    assert!(news(&mut disk).is_some());
    assert_eq!(exponent(&mut disk), 3);
    for physical in [0, 1, 512, 700] {
        let info = DeviceInfo { physical_block_size: physical, ..info(true) };
        let mut disk = Disk::new(&settings(), &info, all(), Some(LIMITS)).unwrap();
        assert_eq!(exponent(&mut disk), 0, "{physical}");
    }
}

#[test]
fn little_room_is_told_once_each_time_that_it_becomes_little() {
    let mut disk = disk();
    // The threshold of a small unit is a sixteenth of it: 64 KiB.
    for (available, expected) in [
        (1 << 30, None),
        (65536, None),
        (65535, Some(Sense::SOFT_THRESHOLD_REACHED)),
        (0, None),
        (1 << 30, None),
        (1, Some(Sense::SOFT_THRESHOLD_REACHED)),
    ] {
        disk.set_space(4096, available);
        assert_eq!(news(&mut disk), expected, "{available}");
    }
    // With all its blocks there it needs no more.
    disk.set_space(0, 1 << 30);
    disk.set_space(1 << 20, 0);
    assert_eq!(news(&mut disk), None);
}

#[test]
fn room_is_asked_for_at_the_start_and_each_64_mebibytes_of_a_thin_unit() {
    let mut disk = disk();
    assert!(disk.written(0));
    let step = 1 << 20;
    for _ in 0..3 {
        for _ in 0..63 {
            assert!(!disk.written(step));
        }
        assert!(disk.written(step));
    }
    disk.set_space_unknown();
    assert!((0..1000).all(|_| !disk.written(64 * step)));

    let mut thick = Disk::new(&settings(), &info(true), all(), None).unwrap();
    assert!((0..1000).all(|_| !thick.written(64 * step)));
}

#[test]
fn a_list_whose_memory_has_gone_is_busy() {
    let mut disk = named(disk());
    for cdb in [
        &[0x15, 0x10, 0, 0, 24, 0][..],
        &[4, 0x10, 0, 0, 0, 0],
        &[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0],
        &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
    ] {
        assert!(matches!(run(&mut disk, cdb, 24, None), Job::Busy), "{cdb:02x?}");
    }
}

#[test]
fn the_unit_is_not_stopped_or_ejected() {
    let mut disk = disk();
    assert!(matches!(run(&mut disk, &[0x1b, 0, 0, 0, 1, 0], 0, None), Job::Good));
    for (flags, bit) in [(0, 0), (2, 0), (0x11, 7), (0x30, 7)] {
        let pointer = check(&run(&mut disk, &[0x1b, 0, 0, 0, flags, 0], 0, None), 5, 0x24, 0);
        assert_eq!(pointer, Some(FieldPointer::cdb_bit(4, bit)));
    }
}
