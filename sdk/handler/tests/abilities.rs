//! Every ability by way of the harness.

#[path = "../examples/thin.rs"]
mod thin;

use lunbox_harness::{CancelPoint, Ending, Error, Harness, MemStore};
use lunbox_sdk::{BlockUnmap, Event, OpError, OpKind, Sense, SenseKey, StoreId, log};
use thin::{Thin, UNMAPS};

fn disk(store: MemStore) -> Harness<Thin> {
    Harness::setup(65536).store(store).start_declared().expect("starts")
}

#[test]
fn compare_and_write_writes_only_what_was_expected() {
    let mut disk = disk(MemStore::growing(0));
    disk.compare_and_write(512, &[0; 512], &[1; 512]).unwrap().good().expect("zeros stood there");
    let mut almost = [1; 512];
    almost[77] = 9;
    let sense = disk.compare_and_write(512, &almost, &[2; 512]).unwrap().sense().expect("miscompare");
    assert_eq!((sense.key, sense.asc, sense.information), (SenseKey::Miscompare, 0x1d, Some(77)));
    assert_eq!(disk.read(0, 1024).unwrap().good().unwrap(), [[0; 512], [1; 512]].concat());
}

#[test]
fn compare_and_write_tells_read_and_write_failures_apart() {
    for (kind, asc) in [(OpKind::Read, 0x11), (OpKind::Write, 0x0c)] {
        let mut disk = disk(MemStore::growing(0));
        disk.fail_next_of(kind, OpError::Io);
        let sense = disk.compare_and_write(0, &[0; 512], &[1; 512]).unwrap().sense();
        assert_eq!(sense, Some(Sense::new(SenseKey::MediumError, asc, 0)));
        assert_eq!(disk.read(0, 512).unwrap().good().unwrap(), vec![0; 512]);
    }
}

#[test]
fn unmap_follows_what_the_store_promises() {
    let full = || MemStore::with_contents(vec![7; 65536]);
    let mut zeroing = disk(full());
    assert!(zeroing.handler().limits().unwrap().reads_zeroes);
    zeroing.unmap(4096, 8192).unwrap().good().unwrap();
    assert_eq!(zeroing.read(4096, 8192).unwrap().good().unwrap(), vec![0; 8192]);

    let mut other = disk(full().discards_to_anything());
    assert!(!other.handler().limits().unwrap().reads_zeroes);
    other.unmap(4096, 4096).unwrap().good().unwrap();
    assert_ne!(other.read(4096, 4096).unwrap().good().unwrap(), vec![0; 4096], "promises nothing");
    other.write_zeroes(4096, 4096, true, true).unwrap().good().unwrap();
    assert_eq!(other.read(4096, 4096).unwrap().good().unwrap(), vec![0; 4096], "zeros are a promise");
}

#[test]
fn write_zeroes_is_durable_if_asked_to_be() {
    let mut disk = disk(MemStore::with_contents(vec![7; 65536]));
    disk.write_zeroes(0, 512, true, true).unwrap().good().unwrap();
    disk.write_zeroes(512, 512, false, false).unwrap().good().unwrap();
    let mut disk = disk.power_cut().unwrap();
    assert_eq!(disk.read(0, 1024).unwrap().good().unwrap(), [[0; 512], [7; 512]].concat());
}

#[test]
fn cdbs_are_answered_or_passed_on() {
    let mut disk = disk(MemStore::growing(0));
    disk.unmap(0, 4096).unwrap().good().unwrap();
    let answer = disk.cdb(&[UNMAPS, 0, 0, 0, 0, 0], &[], 12).unwrap().good().unwrap();
    assert_eq!(answer, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], "what is left unfilled is zero");
    let cut = disk.cdb(&[UNMAPS, 0, 0, 0, 0, 0], &[], 4).unwrap().good().unwrap();
    assert_eq!(cut, [0; 4]);
    assert_eq!(disk.cdb(&[0x12, 0, 0, 0, 36, 0], &[], 36).unwrap().ending, Ending::NotHandled);
    assert!(matches!(disk.cdb(&[0; 5], &[], 0), Err(Error::Misuse(_))), "no CDB is that short");
}

#[test]
fn state_moves_to_a_new_instance() {
    let mut old = disk(MemStore::growing(0));
    old.unmap(0, 4096).unwrap().good().unwrap();
    let state = old.save().unwrap().unwrap();
    let mut new = disk(MemStore::growing(0));
    new.restore(&state).unwrap().unwrap();
    let count = new.cdb(&[UNMAPS, 0, 0, 0, 0, 0], &[], 8).unwrap().good().unwrap();
    assert_eq!(count, 1_u64.to_be_bytes());
    let refusal = new.restore(&state[..3]).unwrap().expect_err("too short");
    assert!(refusal.contains('3') && refusal.contains('8'), "{refusal}");
}

#[test]
fn the_host_waits_for_commands_before_it_resizes_or_saves() {
    let mut disk = disk(MemStore::growing(0));
    let tag = disk.start_read(0, 512).unwrap();
    assert!(matches!(disk.resize(131_072), Err(Error::Misuse(_))));
    assert!(matches!(disk.save(), Err(Error::Misuse(_))));
    disk.cancel(tag, CancelPoint::BeforeOperations).unwrap();
    disk.resize(131_072).unwrap().unwrap();
    disk.read(131_072 - 512, 512).unwrap().good().expect("the new end");
}

#[test]
fn events_reach_the_handler() {
    let mut disk = disk(MemStore::growing(0));
    let ((), lines) = log::record(|| disk.notify(Event::StoreReconnected, StoreId(0)));
    assert_eq!(lines[0].text, "store 0 is back");
}
