//! Resets between the steps of taking a command, where no test from outside can put one with certainty.

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::*;

const FIRST: u64 = 128;
const LENGTH: u32 = 120;

/// A ring of 1 KiB with nothing in it.
fn ring() -> Ring {
    let map = Arc::new(Mapping::anonymous(8192).unwrap());
    map.store_u16(0, 2).unwrap();
    map.store_u16(2, 1).unwrap();
    map.store_u32(4, 128).unwrap();
    map.store_u32(8, 1024).unwrap();
    let event = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap().into();
    Ring::attach(map, Doorbell::Event { wait: event(), ring: event() }).unwrap()
}

/// Queues a command at `position` as the kernel does, and hands it over.
fn queue(map: &Mapping, position: u32, id: u16) {
    let at = FIRST + u64::from(position);
    map.store_bytes(at, &[0; 120]).unwrap();
    map.store_u32(at, LENGTH | 1).unwrap();
    map.store_u16(at + 4, id).unwrap();
    map.store_u64(at + 24, at + 112).unwrap();
    map.store_u64(at + 112, u64::from(id)).unwrap();
    map.store_u32(CMD_HEAD, position + LENGTH).unwrap();
}

fn reset(map: &Mapping) {
    map.store_u32(CMD_TAIL, 0).unwrap();
    map.store_u32(CMD_HEAD, 0).unwrap();
}

/// Takes a command that must be there and gives it up. Returns its id.
fn take(ring: &mut Ring) -> u16 {
    match ring.next(&mut Request::default()).unwrap() {
        Some(Next::Command(command)) => {
            let id = command.id();
            command.abandon();
            id
        }
        other => panic!("{other:?}"),
    }
}

/// After the reset was noticed: the new command comes.
fn takes_after_resync(ring: &mut Ring, id: u16) {
    assert!(ring.was_reset());
    ring.resync().unwrap();
    assert_eq!(take(ring), id);
}

#[test]
fn a_reset_before_the_copy_is_noticed_by_the_head() {
    let mut ring = ring();
    let map = Arc::clone(ring.map());
    queue(&map, 0, 1);
    let entry = ring.mark(LENGTH).unwrap();
    reset(&map);
    assert_eq!(ring.confirm(&entry), Ok(false));
    queue(&map, 0, 2);
    takes_after_resync(&mut ring, 2);
}

#[test]
fn a_mark_on_a_new_entry_is_taken_off() {
    let mut ring = ring();
    let map = Arc::clone(ring.map());
    queue(&map, 0, 1);
    queue(&map, LENGTH, 2);
    assert_eq!(take(&mut ring), 1);
    // The reset comes right before the mark.
    reset(&map);
    queue(&map, 0, 3);
    queue(&map, LENGTH, 4);
    let entry = ring.mark(LENGTH).unwrap();
    assert_eq!(ring.confirm(&entry), Ok(false), "the front entry is another one");
    takes_after_resync(&mut ring, 3);
    assert_eq!(take(&mut ring), 4);
}

#[test]
fn a_copy_of_an_entry_that_was_replaced_is_discarded() {
    let mut ring = ring();
    let map = Arc::clone(ring.map());
    queue(&map, 0, 1);
    let entry = ring.mark(LENGTH).unwrap();
    assert_eq!(ring.confirm(&entry), Ok(true));
    let mut request = Request::default();
    let copied = entry::copy_command(&map, &ring.geometry, FIRST, LENGTH, &mut request);
    reset(&map);
    queue(&map, 0, 2);
    assert_eq!(ring.accept(entry, 1, copied), Ok(None));
    assert_eq!(ring.outstanding(), 0);
    takes_after_resync(&mut ring, 2);
}

#[test]
fn marks_never_repeat_and_are_never_zero() {
    let mut ring = ring();
    let map = Arc::clone(ring.map());
    let mut seen = std::collections::BTreeSet::new();
    for id in 1..=6 {
        reset(&map);
        queue(&map, 0, id);
        ring.resync().unwrap();
        assert_eq!(take(&mut ring), id);
        let mark = entry::load_nonce(&map, FIRST).unwrap();
        assert!(mark > u64::from(u32::MAX) && seen.insert(mark), "{mark:#x}");
    }
}
