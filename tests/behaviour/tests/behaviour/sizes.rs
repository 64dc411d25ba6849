//! Sizes that handlers find themselves, as initiators and the supervisor see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lunbox_behaviour::Lun;
use lunbox_device::{Event, Health};
use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_engine::native::NativeFactory;
use lunbox_scsi::Bytes;
use lunbox_sdk::{
    Block, BlockCommand, BlockKind, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Op,
    OpsResult, Outcome, StoreId,
};
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{good, pattern, sense};

const SIZE: u64 = 1 << 20;
const BLOCKS: u64 = SIZE / 512;
const PATIENCE: Duration = Duration::from_secs(10);
const CAPACITY_CHANGED: (u8, u8, u8) = (6, 0x2a, 9);
const OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);

fn description(subtype: &str) -> Description {
    Description {
        subtype: subtype.into(),
        name: "Sizes".into(),
        version: "1".into(),
        config_help: "nothing".into(),
    }
}

fn operation(command: &BlockCommand) -> Op {
    match command.kind {
        BlockKind::Read => Op::read(StoreId(0), command.offset, command.length),
        BlockKind::Write => Op::write(StoreId(0), command.offset, command.length),
        BlockKind::Flush => Op::flush(StoreId(0)),
    }
}

/// Its LUN is as large as its store.
struct Measures;

impl Handler for Measures {
    fn describe() -> Description {
        description("measures")
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let size = config.stores[0].size;
        Ok((Self, DeviceInfo { size, write_cache: false, solid_state: false, physical_block_size: 0 }))
    }
}

impl Block for Measures {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(operation(command))
    }
}

fn measures(store: u64) -> anyhow::Result<Lun> {
    Lun::builder()
        .handler(Arc::new(NativeFactory::<Measures>::new()))
        .size(SIZE)
        .store(Store::memory(store).unwrap())
        .start()
}

#[test]
fn a_size_that_the_handler_found_is_served_told_and_reported_once() {
    for size in [2 * SIZE, SIZE / 2] {
        let lun = measures(size).unwrap();
        let blocks = size / 512;
        lun.wait_until("the size is told", |_| !lun.events().is_empty());
        assert_eq!(lun.events(), [Event::Resized(Bytes(size))]);
        assert_eq!(lun.status().size, size);
        good(&lun.initiator.inquiry().unwrap());
        sense(&lun.initiator.test_unit_ready().unwrap(), CAPACITY_CHANGED);
        good(&lun.initiator.test_unit_ready().unwrap());
        assert_eq!(lun.initiator.read_capacity().unwrap().capacity().unwrap().blocks, blocks);
        good(&lun.initiator.read(blocks - 1, 1).unwrap());
        sense(&lun.initiator.read(blocks, 1).unwrap(), OUT_OF_RANGE);
        let told = lun.events().iter().filter(|event| matches!(event, Event::Resized(_))).count();
        assert_eq!(told, 1, "it is told once");
        lun.assert_clean();
    }
}

#[test]
fn the_size_that_was_told_is_no_news() {
    let lun = measures(SIZE).unwrap();
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!((lun.events(), lun.status().size), (vec![], SIZE));
}

#[test]
fn a_size_that_is_not_of_whole_blocks_is_refused_at_the_start() {
    for size in [SIZE + 100, 100] {
        let Err(error) = measures(size) else { panic!("{size} is no size") };
        let text = format!("{error:#}");
        assert!(text.contains("device-info.size") && text.contains(&size.to_string()), "{text}");
        assert!(text.contains("hw_block_size"), "says what to do: {text}");
    }
}

/// What later instances of [`Shrinks`] find; 0: what they are told.
static FOUND: AtomicU64 = AtomicU64::new(0);
/// A command behind the end has reached an instance.
static BEYOND: AtomicBool = AtomicBool::new(false);

/// Fails when block 0 is read, and plans writes by way of `resume`.
struct Shrinks {
    size: u64,
}

impl Handler for Shrinks {
    fn describe() -> Description {
        description("shrinks")
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let found = FOUND.load(Ordering::Acquire);
        let size = if found == 0 { config.size } else { found };
        Ok((
            Self { size },
            DeviceInfo { size, write_cache: false, solid_state: false, physical_block_size: 0 },
        ))
    }

    fn resume(
        &mut self,
        _tag: lunbox_contract::Tag,
        _result: &OpsResult,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::GOOD
    }
}

impl Block for Shrinks {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        if command.offset + command.length > self.size {
            BEYOND.store(true, Ordering::Release);
        }
        match command.kind {
            BlockKind::Read if command.offset == 0 => Outcome::NotHandled,
            BlockKind::Write => Outcome::More(vec![operation(command)]),
            _ => Outcome::Io(operation(command)),
        }
    }
}

#[test]
fn a_rebuilt_handler_may_find_another_size_and_gets_no_command_behind_its_end() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let lun = Lun::builder()
        .handler(Arc::new(NativeFactory::<Shrinks>::new()))
        .size(SIZE)
        .store(Store::gated(Store::memory(SIZE).unwrap(), gate.clone()))
        .start()
        .unwrap();
    let data = pattern(1, 512);
    let held = lun.initiator.start(&cdb::write_16(8, 1), Data::Out(&data)).unwrap();
    assert!(gate.wait_for_waiters(1, PATIENCE), "the store has the write");
    FOUND.store(SIZE / 2, Ordering::Release);
    let fatal = lun.initiator.start(&cdb::read_16(0, 1), Data::In(512)).unwrap();
    lun.wait_until("the instance is lost", |status| status.health == Health::Recovering);
    // It waits for the next instance, which waits for the operation of the last one.
    let behind = lun.initiator.start(&cdb::write_16(BLOCKS - 1, 1), Data::Out(&data)).unwrap();
    lun.wait_until("it was taken", |status| status.in_flight == 2);
    gate.open();
    for command in [held, fatal, behind] {
        assert_eq!(command.wait().unwrap().status, 0x08, "the initiator tries again");
    }
    lun.wait_until("the size is told", |_| lun.events().contains(&Event::Resized(Bytes(SIZE / 2))));
    assert_eq!((lun.status().size, lun.status().instances), (SIZE / 2, 2));
    sense(&lun.initiator.test_unit_ready().unwrap(), CAPACITY_CHANGED);
    good(&lun.initiator.test_unit_ready().unwrap());
    sense(&lun.initiator.write(BLOCKS - 1, &data).unwrap(), OUT_OF_RANGE);
    good(&lun.initiator.write(BLOCKS / 2 - 1, &data).unwrap());

    // Later instances are told what the last one found, and find nothing new in it.
    FOUND.store(0, Ordering::Release);
    assert_eq!(lun.initiator.read(0, 1).unwrap().status, 0x08);
    lun.wait_until("the next one serves", |status| status.instances == 3);
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(lun.events().iter().filter(|event| matches!(event, Event::Resized(_))).count(), 1);
    assert!(!BEYOND.load(Ordering::Acquire), "a command that was checked against the old size was planned");
    lun.assert_clean();
}
