//! What tcmu-runner got wrong, each by its name: seen from the initiator it must not come back.

use std::sync::Arc;
use std::time::Duration;

use lunbox_behaviour::Lun;
use lunbox_device::{Health, Identity};
use lunbox_emulator::{Data, Options, Placement, TaskManagement};
use lunbox_engine::native::NativeFactory;
use lunbox_scsi::{AccessState, TargetPort, TargetPortGroup, vpd};
use lunbox_sdk::{
    Block, BlockCommand, BlockKind, BlockUnmap, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo,
    Handler, Op, Outcome, StoreId, Tag, UnmapLimits,
};
use lunbox_store::{FileOptions, GateHandle, OnCancel, Store, StoreError};

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

fn gated() -> (GateHandle, Lun) {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    (gate, Lun::builder().size(SIZE).store(store).start().unwrap())
}

/// UNMAP with one descriptor.
fn unmap(lba: u64, blocks: u32) -> ([u8; 10], Vec<u8>) {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend_from_slice(&lba.to_be_bytes());
    list.extend_from_slice(&blocks.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    ([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], list)
}

fn write_same(flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x93, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x89, blocks);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb
}

/// EXTENDED COPY of one segment.
fn extended_copy(
    source: [u8; 16],
    destination: [u8; 16],
    from: u64,
    to: u64,
    blocks: u16,
) -> (Vec<u8>, Vec<u8>) {
    let mut list = vec![0, 0x18, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    for name in [source, destination] {
        let mut cscd = [0; 32];
        (cscd[0], cscd[4], cscd[5], cscd[7]) = (0xe4, 1, 3, 16);
        cscd[8..24].copy_from_slice(&name);
        cscd[29..32].copy_from_slice(&[0, 2, 0]);
        list.extend_from_slice(&cscd);
    }
    let mut segment = [0; 28];
    (segment[0], segment[3], segment[7]) = (2, 0x18, 1);
    segment[10..12].copy_from_slice(&blocks.to_be_bytes());
    segment[12..20].copy_from_slice(&from.to_be_bytes());
    segment[20..28].copy_from_slice(&to.to_be_bytes());
    list.extend_from_slice(&segment);
    let mut cdb = vec![0; 16];
    (cdb[0], cdb[13]) = (0x83, u8::try_from(list.len()).unwrap());
    (cdb, list)
}

fn own_name() -> [u8; 16] {
    vpd::naa_designator("0123456789abcdef")
}

#[test]
fn lost_unmap_errors() {
    let (gate, lun) = gated();
    gate.open();
    for (error, expected) in [(StoreError::Io, (3, 0x0c, 0)), (StoreError::NoSpace, (7, 0x27, 7))] {
        gate.fail_next(error);
        let (cdb, list) = unmap(8, 64);
        sense(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap(), expected);
        good(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap());
    }
}

#[test]
fn heap_bytes_in_sense() {
    let lun = Lun::builder().start().unwrap();
    // Something to leak.
    good(&lun.initiator.write(0, &[0xa5; 8192]).unwrap());
    let miscompare = lun.initiator.execute(&compare_and_write(0, 1), Data::Out(&[0x5a; 1024])).unwrap();
    sense(&miscompare, (0xe, 0x1d, 0));
    assert_eq!(miscompare.sense.unwrap().information, Some(0));
    assert!(miscompare.raw_sense[18..].iter().all(|byte| *byte == 0));
    let field = lun.initiator.execute(&write_same(0, 0, 0), Data::Out(&[0; 512])).unwrap();
    sense(&field, (5, 0x24, 0));
    assert!(field.raw_sense[18..].iter().all(|byte| *byte == 0));
}

#[test]
fn vendor_opcode_slot_leak() {
    let lun = Lun::builder().start().unwrap();
    // More of them than there are slots.
    for _ in 0..12 {
        for opcode in (0x60..=0x7e).chain(0xc0..=0xff) {
            sense(&lun.initiator.execute(&[opcode; 16], Data::In(512)).unwrap(), (5, 0x20, 0));
        }
    }
    good(&lun.initiator.test_unit_ready().unwrap());
    lun.wait_until("nothing is left", |status| status.in_flight == 0);
    lun.assert_clean();
}

#[test]
fn split_compare_and_write() {
    // Each page of the data is somewhere else, so that the halves never share a piece.
    let kernel = Options { placement: Placement::Scattered, ..Options::default() };
    let lun = Lun::builder().block_size(4096).kernel(kernel).start().unwrap();
    let (old, new) = (pattern(1, 8 * 4096), pattern(2, 8 * 4096));
    good(&lun.initiator.write(3, &old).unwrap());
    let both = [&old[..], &new].concat();
    good(&lun.initiator.execute(&compare_and_write(3, 8), Data::Out(&both)).unwrap());
    assert!(lun.initiator.read(3, 8).unwrap().data == new);
    // The last byte of the last block differs: nothing is written.
    let mut wrong = new.clone();
    wrong[8 * 4096 - 1] ^= 1;
    let both = [&wrong[..], &old].concat();
    let answer = lun.initiator.execute(&compare_and_write(3, 8), Data::Out(&both)).unwrap();
    sense(&answer, (0xe, 0x1d, 0));
    assert_eq!(answer.sense.unwrap().information, Some(8 * 4096 - 1));
    assert!(lun.initiator.read(3, 8).unwrap().data == new);
    lun.assert_clean();
}

#[test]
fn vpd_83_overrun() {
    let long = |length: usize| "f".repeat(length);
    for (serial, wwn) in [(0, 0), (36, 40), (254, 223), (1000, 223), (5000, 5000)] {
        let identity = Identity {
            serial: long(serial),
            ports: vec![TargetPort {
                relative_id: 1,
                protocol: 5,
                group: 1,
                name: format!("{},t,0x0001", long(wwn)),
                target_name: long(wwn),
            }],
            groups: Vec::new(),
        };
        let lun = Lun::builder().identity(identity).start().unwrap();
        let page = lun.initiator.execute(&[0x12, 1, 0x83, 0xff, 0xff, 0], Data::In(0xffff)).unwrap();
        good(&page);
        let length = usize::from(u16::from_be_bytes([page.data[2], page.data[3]]));
        assert_eq!(page.data.len(), 4 + length, "{serial} {wwn}");
        let mut rest = &page.data[4..];
        let mut designators = 0;
        while !rest.is_empty() {
            // Each one ends where the next begins.
            rest = &rest[4 + usize::from(rest[3])..];
            designators += 1;
        }
        assert!(designators >= 2);
        lun.assert_clean();
    }
}

/// Unmaps, and has no wishes about it: granularity and alignment are 0.
struct Unaligned;

impl Handler for Unaligned {
    fn describe() -> Description {
        Description {
            subtype: "unaligned".into(),
            name: "Unaligned".into(),
            version: "1".into(),
            config_help: "nothing".into(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let info =
            DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 };
        Ok((Self, info))
    }
}

impl Block for Unaligned {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(match command.kind {
            BlockKind::Write => Op::write(StoreId(0), command.offset, command.length),
            BlockKind::Read => Op::read(StoreId(0), command.offset, command.length),
            BlockKind::Flush => Op::flush(StoreId(0)),
        })
    }
}

impl BlockUnmap for Unaligned {
    fn limits(&mut self) -> Option<UnmapLimits> {
        Some(UnmapLimits { max_length: 0, granularity: 0, reads_zeroes: true })
    }

    fn unmap(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(Op::discard(StoreId(0), offset, length))
    }
}

#[test]
fn alignment_0() {
    let handler = NativeFactory::<Unaligned>::new().with_unmap();
    let lun = Lun::builder().handler(Arc::new(handler)).start().unwrap();
    let data = pattern(1, 64 * 512);
    good(&lun.initiator.write(0, &data).unwrap());
    good(&lun.initiator.execute(&write_same(0x08, 3, 13), Data::Out(&[0; 512])).unwrap());
    let (cdb, list) = unmap(33, 7);
    good(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap());
    let mut expected = data;
    expected[3 * 512..16 * 512].fill(0);
    expected[33 * 512..40 * 512].fill(0);
    assert!(lun.initiator.read(0, 64).unwrap().data == expected);
    lun.assert_clean();
}

#[test]
fn extended_copy_lifetime() {
    let (gate, lun) = gated();
    gate.open();
    let data = pattern(1, 64 * 512);
    good(&lun.initiator.write(0, &data).unwrap());
    let (cdb, list) = extended_copy(own_name(), own_name(), 0, 1000, 64);
    good(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap());
    assert!(lun.initiator.read(1000, 64).unwrap().data == data);
    // Aborted while its read runs: it ends when that has ended, and never writes.
    gate.close();
    let (cdb, list) = extended_copy(own_name(), own_name(), 0, 2000, 64);
    let copy = lun.initiator.start(&cdb, Data::Out(&list)).unwrap();
    assert!(gate.wait_for_waiters(1, PATIENCE), "the copy reads");
    let id = copy.id().unwrap();
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
        kernel.signal().unwrap();
    });
    lun.wait_until("the abort is seen", |status| status.aborts == 1);
    assert!(!copy.is_done(), "its read still runs");
    gate.open();
    assert_eq!(copy.wait().unwrap().status, 0x40);
    assert!(lun.initiator.read(2000, 64).unwrap().data.iter().all(|byte| *byte == 0));
    lun.assert_clean();
}

#[test]
fn cross_lun_extended_copy_cve_2020_28374() {
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    let mut other = own_name();
    other[9] ^= 1;
    for (source, destination) in [(own_name(), other), (other, own_name()), (other, other)] {
        let (cdb, list) = extended_copy(source, destination, 0, 100, 8);
        sense(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap(), (0xa, 0x0d, 2));
    }
    assert!(lun.initiator.read(100, 8).unwrap().data.iter().all(|byte| *byte == 0));
}

#[test]
fn format_of_2_to_the_32_blocks_and_more() {
    let size = (1_u64 << 41) + (1 << 20);
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    let store = Store::file(file.try_clone().unwrap().into(), FileOptions { read_only: false }).unwrap();
    let lun = Lun::builder().size(size).store(store).start().unwrap();
    let last = size / 512 - 8;
    for lba in [0, 1 << 31, (1 << 32) - 4, last] {
        good(&lun.initiator.write(lba, &pattern(lba, 4096)).unwrap());
    }
    good(&lun.initiator.execute(&[4, 0, 0, 0, 0, 0], Data::None).unwrap());
    for lba in [0, 1 << 31, (1 << 32) - 4, last] {
        let read = lun.initiator.read(lba, 8).unwrap();
        good(&read);
        assert!(read.data.iter().all(|byte| *byte == 0), "{lba}");
    }
}

#[test]
fn format_errors_are_not_lost() {
    let (gate, lun) = gated();
    gate.open();
    gate.fail_next(StoreError::Io);
    let answer = lun.initiator.execute(&[4, 0, 0, 0, 0, 0], Data::None).unwrap();
    assert_eq!(answer.status, 2, "{answer:?}");
    assert_eq!(answer.sense.map(|sense| sense.key), Some(3), "{answer:?}");
    good(&lun.initiator.execute(&[4, 0, 0, 0, 0, 0], Data::None).unwrap());
}

#[test]
fn stpg_over_read() {
    let group = TargetPortGroup {
        id: 1,
        state: AccessState::Optimized,
        preferred: false,
        supported: 0x07,
        status: 0,
        implicit_transition_s: 0,
        explicit: false,
        implicit: true,
        ports: vec![1],
    };
    let port = TargetPort {
        relative_id: 1,
        protocol: 5,
        group: 1,
        name: "iqn.2003-01.org.example,t,0x0001".to_owned(),
        target_name: "iqn.2003-01.org.example".to_owned(),
    };
    let identity = Identity { serial: "1".to_owned(), ports: vec![port], groups: vec![group] };
    let lun = Lun::builder().identity(identity).start().unwrap();
    for length in [1_u8, 3, 5, 6, 7, 11] {
        let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
        let list = vec![0; length.into()];
        sense(&lun.initiator.execute(&cdb, Data::Out(&list)).unwrap(), (5, 0x1a, 0));
    }
    // More is promised than came.
    let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
    sense(&lun.initiator.execute(&cdb, Data::Out(&[0; 8])).unwrap(), (5, 0x1a, 0));
    lun.assert_clean();
}

#[test]
fn variable_length_cdbs_with_timeouts() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let lun =
        Lun::builder().size(SIZE).store(store).command_timeout(Duration::from_millis(20)).start().unwrap();
    gate.open();
    for length in [8_usize, 12, 31, 32, 33, 64, 260] {
        let mut cdb = vec![0; length];
        (cdb[0], cdb[7]) = (0x7f, u8::try_from(length - 8).unwrap_or(252));
        let answer = lun.initiator.execute(&cdb, Data::None).unwrap();
        assert_eq!(answer.status, 2, "{length}: {answer:?}");
    }
    // READ (32) that takes too long: it is logged by its name, and goes on.
    gate.close();
    let mut read = [0; 32];
    (read[0], read[7], read[9], read[31]) = (0x7f, 0x18, 0x09, 8);
    let read = lun.initiator.start(&read, Data::In(4096)).unwrap();
    lun.wait_until("it is late", |status| status.timeouts == 1);
    gate.open();
    good(&read.wait().unwrap());
    assert_eq!(lun.status().health, Health::Serving);
    lun.assert_clean();
}
