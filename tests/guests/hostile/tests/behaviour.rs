//! The misdeeds that a native test can survive, and the good manners in between.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lunbox_harness::{CancelPoint, Error, Harness, MemStore, Violation};
use lunbox_sdk::{OpError, Sense, SenseKey, log};
use lunbox_test_hostile::*;

const SIZE: u64 = 1 << 20;

fn disk() -> Harness<Hostile> {
    let contents = (0..SIZE).map(|place| u8::try_from(place / 512 % 251).expect("below 251")).collect();
    Harness::setup(SIZE).store(MemStore::with_contents(contents)).start().expect("starts")
}

fn place(trigger: u64) -> u64 {
    trigger_offset(SIZE, trigger).expect("the device is large enough")
}

fn violation(trigger: u64) -> Violation {
    match disk().read(place(trigger), 4096) {
        Err(Error::Violation(violation)) => violation,
        other => panic!("trigger {trigger}: expected a violation, got {other:?}"),
    }
}

fn stored(disk: &Harness<Hostile>, offset: u64, length: usize) -> Vec<u8> {
    let offset = usize::try_from(offset).expect("small");
    disk.stores()[0].contents()[offset..offset + length].to_vec()
}

#[test]
fn triggers_are_found_where_they_are_announced_and_nowhere_else() {
    let known: Vec<u64> = (1..=16).chain(20..=21).collect();
    for trigger in 0..64 {
        let expected = known.contains(&trigger).then_some(trigger);
        assert_eq!(trigger_at(SIZE, place(trigger)), expected, "trigger {trigger}");
        if let Some(beside) = place(trigger).checked_sub(512) {
            assert_eq!(trigger_at(SIZE, beside), None, "beside trigger {trigger}");
        }
    }
    assert_eq!(trigger_offset(4096, 2), None, "a small device has few triggers");
    assert_eq!(trigger_at(4096, 8192), None, "beyond the end");
}

#[test]
fn elsewhere_it_behaves_like_a_file() {
    let mut disk = disk();
    disk.write(0, &[0xee; 4096]).unwrap().good().unwrap();
    disk.write(place(TRIGGER_LOOP), &[0xdd; 4096]).unwrap().good().expect("writes trigger nothing");
    disk.flush().unwrap().good().unwrap();
    assert_eq!(disk.read(0, 8192).unwrap().good().unwrap()[..4096], [0xee; 4096]);
    let across = place(TRIGGER_LOOP) - 512;
    let data = disk.read(across, 1024).unwrap().good().expect("only the first byte's place counts");
    assert_eq!(data, stored(&disk, across, 1024));
}

#[test]
fn good_manners_read_the_same_bytes() {
    for trigger in [TRIGGER_RESUME, TRIGGER_SCRATCH, TRIGGER_TRAP_IN_CANCEL, TRIGGER_LOOP_IN_CANCEL] {
        let mut disk = disk();
        let data = disk.read(place(trigger), 4096).unwrap().good().unwrap();
        assert_eq!(data, stored(&disk, place(trigger), 4096), "trigger {trigger}");
        disk.fail_next(OpError::Io);
        let sense = disk.read(place(trigger), 4096).unwrap().sense();
        assert_eq!(sense, Some(Sense::new(SenseKey::MediumError, 0x11, 0)), "trigger {trigger}");
    }
}

#[test]
fn broken_rules_are_named() {
    assert!(
        matches!(violation(TRIGGER_UNKNOWN_STORE), Violation::UnknownStore { op, .. } if op.store.0 == 999)
    );
    assert_eq!(violation(TRIGGER_TOO_MANY_OPS), Violation::OpCount(65));
    assert_eq!(violation(TRIGGER_EMPTY_LIST), Violation::OpCount(0));
    assert_eq!(violation(TRIGGER_NOT_HANDLED), Violation::NotHandled);
    assert!(matches!(violation(TRIGGER_BUFFER_RANGE), Violation::BufferRange { available: 4096, .. }));
    assert!(matches!(violation(TRIGGER_RANGE_OVERFLOW), Violation::StoreRange { .. }));
}

#[test]
fn forbidden_buffer_calls_get_their_errors() {
    let (reply, lines) = log::record(|| disk().read(place(TRIGGER_BAD_BUFFER_CALLS), 4096));
    assert_eq!(lines, [], "every call that is answered wrongly is logged");
    assert_eq!(reply.unwrap().good().unwrap(), vec![0; 4096], "nothing was filled: zeros");
}

#[test]
fn a_panic_comes_where_it_was_ordered() {
    let mut at_once = disk();
    assert!(catch_unwind(AssertUnwindSafe(|| at_once.read(place(TRIGGER_TRAP), 512))).is_err());

    let mut later = disk();
    let tag = later.start_read(place(TRIGGER_TRAP_IN_RESUME), 512).expect("submit is harmless");
    assert!(catch_unwind(AssertUnwindSafe(|| later.finish(tag))).is_err());

    let mut cancelled = disk();
    let tag = cancelled.start_read(place(TRIGGER_TRAP_IN_CANCEL), 512).expect("submit is harmless");
    let cancel = || cancelled.cancel(tag, CancelPoint::BeforeOperations);
    assert!(catch_unwind(AssertUnwindSafe(cancel)).is_err());
}

#[test]
fn a_cancelled_command_is_forgotten() {
    let mut disk = disk();
    let tag = disk.start_read(place(TRIGGER_RESUME), 512).unwrap();
    disk.cancel(tag, CancelPoint::AfterOperations).unwrap();
    assert!(matches!(disk.finish(tag), Err(Error::Misuse(_))));
    disk.read(place(TRIGGER_RESUME), 512).unwrap().good().expect("others go on");
}

#[test]
fn a_flood_of_lines_ends_in_a_good_read() {
    let (reply, lines) = log::record(|| disk().read(place(TRIGGER_LOG_FLOOD), 512));
    reply.unwrap().good().unwrap();
    assert_eq!(u32::try_from(lines.len()), Ok(LOG_FLOOD_LINES));
    assert_eq!(lines[9_999].text, "line 9999 of a flood");
}
