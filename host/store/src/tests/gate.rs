//! The gate: it holds, and bytes move after it has opened.

use super::*;
use crate::{GateHandle, OnCancel};

on_both_backends! {
    bytes_move_after_the_gate_has_opened
    operations_pass_in_order_by_permits
    failures_are_injected_without_reaching_the_store
    cancels_are_honoured_or_ignored
    a_gate_without_handles_is_open
    another_thread_opens_the_gate
    one_gate_before_two_stores
    other_stores_are_not_held_up
}

fn gated(rig: &mut Rig, file: &File, on_cancel: OnCancel) -> (StoreIndex, GateHandle) {
    let gate = GateHandle::new(on_cancel);
    let inner = Store::file(file.as_fd().try_clone_to_owned().unwrap(), FileOptions::default()).unwrap();
    (rig.executor.add(Store::gated(inner, gate.clone())), gate)
}

/// Nothing has ended, after all that could has been looked at.
fn nothing_done(rig: &mut Rig) {
    rig.executor.wait(Some(Duration::from_millis(2))).unwrap();
    assert_eq!(rig.executor.next_done(), None);
}

fn bytes_move_after_the_gate_has_opened(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"first");
    let (store, gate) = gated(&mut rig, &file, OnCancel::Ignore);
    rig.memory.copy_in(100, b"write").unwrap();
    rig.submit(1, store, READ, 0, &[extent(0, 5)]);
    nothing_done(&mut rig);
    assert_eq!((gate.waiters(), gate.held(), rig.executor.in_flight()), (1, 1, 1));
    assert_eq!(rig.bytes(0, 5), [0; 5]);
    // The read sees what the store holds when the gate opens, not when it was submitted.
    std::os::unix::fs::FileExt::write_all_at(&file, b"later", 0).unwrap();
    gate.open();
    assert_eq!(next(&mut rig.executor).result, Ok(5));
    assert_eq!(rig.bytes(0, 5), b"later");
    assert_eq!(gate.waiters(), 0);
    // A write takes its bytes from memory then, too.
    gate.close();
    rig.submit(2, store, WRITE, 0, &[extent(100, 5)]);
    nothing_done(&mut rig);
    rig.memory.copy_in(100, b"WRITE").unwrap();
    gate.release(1);
    assert_eq!(next(&mut rig.executor).result, Ok(5));
    assert_eq!(content(&file), b"WRITE");
}

fn operations_pass_in_order_by_permits(backend: Backend) {
    let mut rig = Rig::new(backend);
    let gate = GateHandle::new(OnCancel::Honour);
    let store = rig.executor.add(Store::gated(Store::memory(100).unwrap(), gate.clone()));
    for token in 1..=5 {
        rig.submit(token, store, READ, 0, &[extent(0, 10)]);
    }
    assert_eq!(gate.waiters(), 5);
    gate.release(2);
    // This one comes when the gate lets pass, but others were first.
    rig.submit(6, store, READ, 0, &[extent(0, 10)]);
    for token in 1..=2 {
        assert_eq!(next(&mut rig.executor).token, Token(token));
    }
    nothing_done(&mut rig);
    assert_eq!(gate.waiters(), 4);
    gate.open();
    for token in 3..=6 {
        assert_eq!(next(&mut rig.executor).token, Token(token));
    }
    rig.submit(7, store, READ, 0, &[extent(0, 10)]);
    assert_eq!(rig.executor.next_done().map(|done| done.token), Some(Token(7)), "nothing holds it");
    assert_eq!(gate.held(), 6);
}

fn failures_are_injected_without_reaching_the_store(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"keep");
    let (store, gate) = gated(&mut rig, &file, OnCancel::Honour);
    gate.fail_next(StoreError::TimedOut);
    rig.memory.copy_in(0, b"lost").unwrap();
    rig.submit(1, store, WRITE, 0, &[extent(0, 4)]);
    nothing_done(&mut rig);
    gate.open();
    assert_eq!(next(&mut rig.executor).result, Err(StoreError::TimedOut));
    assert_eq!(content(&file), b"keep");
    gate.fail_next(StoreError::Io);
    assert_eq!(rig.write(store, 0, b"lost"), Err(StoreError::Io));
    assert_eq!(rig.write(store, 0, b"good"), Ok(4));
    assert_eq!(content(&file), b"good");
}

fn cancels_are_honoured_or_ignored(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"keep");
    let (store, gate) = gated(&mut rig, &file, OnCancel::Honour);
    rig.memory.copy_in(0, b"lost").unwrap();
    rig.submit(1, store, WRITE, 0, &[extent(0, 4)]);
    rig.executor.cancel(Token(1));
    assert_eq!(next(&mut rig.executor).result, Err(StoreError::Cancelled));
    assert_eq!(gate.waiters(), 0);
    gate.open();
    nothing_done(&mut rig);
    assert_eq!(content(&file), b"keep");

    let (store, gate) = gated(&mut rig, &file, OnCancel::Ignore);
    rig.submit(2, store, WRITE, 0, &[extent(0, 4)]);
    rig.executor.cancel(Token(2));
    nothing_done(&mut rig);
    assert_eq!(gate.waiters(), 1);
    gate.open();
    assert_eq!(next(&mut rig.executor).result, Ok(4));
    assert_eq!(content(&file), b"lost");
}

fn a_gate_without_handles_is_open(backend: Backend) {
    let mut rig = Rig::new(backend);
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = rig.executor.add(Store::gated(Store::null(10), gate.clone()));
    rig.submit(1, store, READ, 0, &[extent(0, 10)]);
    let second = gate.clone();
    drop(gate);
    nothing_done(&mut rig);
    drop(second);
    assert_eq!(next(&mut rig.executor).result, Ok(10));
}

fn another_thread_opens_the_gate(backend: Backend) {
    let mut rig = Rig::new(backend);
    let (store, gate) = gated(&mut rig, &scratch(b"abc"), OnCancel::Ignore);
    let opener = std::thread::spawn(move || {
        assert!(gate.wait_for_waiters(1, LIMIT));
        gate.open();
        gate
    });
    rig.submit(1, store, READ, 0, &[extent(0, 3)]);
    rig.executor.wait(None).unwrap();
    assert_eq!(next(&mut rig.executor).result, Ok(3));
    assert_eq!(rig.bytes(0, 3), b"abc");
    assert_eq!(opener.join().unwrap().held(), 1);
}

fn one_gate_before_two_stores(backend: Backend) {
    let mut rig = Rig::new(backend);
    let gate = GateHandle::new(OnCancel::Ignore);
    let first = rig.executor.add(Store::gated(Store::null(10), gate.clone()));
    let inner = Store::gated(Store::null(10), GateHandle::new(OnCancel::Ignore));
    let second = rig.executor.add(Store::gated(inner, gate.clone()));
    rig.submit(1, first, READ, 0, &[extent(0, 10)]);
    rig.submit(2, second, READ, 0, &[extent(0, 10)]);
    assert_eq!(gate.waiters(), 2);
    gate.open();
    let mut tokens = [next(&mut rig.executor).token, next(&mut rig.executor).token];
    tokens.sort_unstable();
    assert_eq!(tokens, [Token(1), Token(2)]);
}

fn other_stores_are_not_held_up(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"abc");
    let (slow, gate) = gated(&mut rig, &file, OnCancel::Ignore);
    let fast = rig.file(&file);
    for token in 0..100 {
        rig.submit(token, slow, READ, 0, &[extent(10, 3)]);
    }
    rig.submit(100, fast, READ, 0, &[extent(0, 3)]);
    let done = next(&mut rig.executor);
    assert_eq!((done.token, done.result), (Token(100), Ok(3)));
    assert_eq!(gate.waiters(), 100);
    gate.open();
    for _ in 0..100 {
        assert_eq!(next(&mut rig.executor).result, Ok(3));
    }
}
