//! Cancelling, and dropping an executor with operations in flight.

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;
use crate::{GateHandle, OnCancel};

on_both_backends! {
    what_has_not_started_never_does
    each_cancelled_operation_ends_once
    cancelling_what_is_not_there_is_nothing
    dropping_awaits_what_is_under_way
    dropping_waits_for_a_store_that_can_not_cancel
    dropping_cancels_what_may_be_cancelled
}

fn what_has_not_started_never_does(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"old");
    let store = rig.file(&file);
    rig.memory.copy_in(0, b"new").unwrap();
    rig.submit(1, store, WRITE, 0, &[extent(0, 3)]);
    rig.submit(2, store, READ, 0, &[extent(100, 3)]);
    rig.executor.cancel(Token(1));
    let done = next(&mut rig.executor);
    assert_eq!((done.token, done.result), (Token(1), Err(StoreError::Cancelled)));
    let done = next(&mut rig.executor);
    assert_eq!((done.token, done.result), (Token(2), Ok(3)));
    assert_eq!(rig.bytes(100, 3), b"old");
    assert_eq!(content(&file), b"old");
}

fn each_cancelled_operation_ends_once(backend: Backend) {
    // One worker, so that some operations are running and others wait when they are cancelled.
    let mut rig = Rig::with(Options { backend, entries: 8, io_workers: 1, threads: 1 });
    let file = scratch(b"");
    let store = rig.file(&file);
    let length = 1 << 20;
    for round in 0..20 {
        for n in 0..16 {
            rig.submit(n, store, WRITE, n * length, &[extent(0, length)]);
        }
        rig.executor.wait(Some(Duration::ZERO)).unwrap();
        for n in (round % 3..16).step_by(2) {
            rig.executor.cancel(Token(n));
        }
        let mut ends = [0; 16];
        for _ in 0..16 {
            let done = next(&mut rig.executor);
            ends[usize::try_from(done.token.0).unwrap()] += 1;
            let cancelled = done.token.0 >= round % 3 && (done.token.0 - round % 3).is_multiple_of(2);
            match done.result {
                Ok(bytes) => assert_eq!(bytes, length),
                Err(error) => {
                    assert!(cancelled, "{} was not cancelled", done.token.0);
                    assert_eq!(error, StoreError::Cancelled);
                }
            }
        }
        assert_eq!(ends, [1; 16]);
        rig.executor.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(rig.executor.next_done(), None, "no second end");
    }
}

fn cancelling_what_is_not_there_is_nothing(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.file(&scratch(b"abc"));
    rig.executor.cancel(Token(1));
    assert_eq!(rig.read(store, READ, 0, 3), Ok(b"abc".to_vec()));
    // A late cancel does not hit the next operation in the same place.
    rig.executor.cancel(Token(77));
    assert_eq!(rig.read(store, READ, 0, 3), Ok(b"abc".to_vec()));
}

fn dropping_awaits_what_is_under_way(backend: Backend) {
    // One write that takes long: the same 4 MiB of memory, 32 times over, to a file in memory.
    const PIECE: u64 = 4 << 20;
    let pieces = [extent(0, PIECE); 32];
    let after = vec![2; 4 << 20];
    for started in [true, false, true] {
        let mut rig = Rig::new(backend);
        let memory = Arc::clone(&rig.memory);
        memory.copy_in(0, &vec![1; 4 << 20]).unwrap();
        let file = File::from(memfd_create("store", MFdFlags::MFD_CLOEXEC).unwrap());
        let store = rig.file(&file);
        rig.submit(1, store, WRITE, 0, &pieces);
        if started {
            rig.executor.wait(Some(Duration::ZERO)).unwrap();
            let start = Instant::now();
            while file.metadata().unwrap().len() == 0 {
                assert!(start.elapsed() < LIMIT, "the write does not begin");
                std::thread::yield_now();
            }
        }
        drop(rig);
        // What is written to the memory now must not reach the file.
        memory.copy_in(0, &after).unwrap();
        assert_eq!(Arc::strong_count(&memory), 1, "nothing holds the memory any longer");
        let mut byte = [0];
        let size = file.metadata().unwrap().len();
        assert_eq!(size > 0, started);
        for offset in (0..size).step_by(4096) {
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, offset).unwrap();
            assert_eq!(byte, [1], "the write went on after the drop, at {offset}");
        }
    }
}

/// Drops an executor with a write at a gate, on another thread; gives the gate, the thread and the file.
fn drop_at_gate(
    backend: Backend,
    on_cancel: OnCancel,
) -> (GateHandle, std::thread::JoinHandle<Arc<Mapping>>, File) {
    let gate = GateHandle::new(on_cancel);
    let file = scratch(b"old");
    let inner = Store::file(file.as_fd().try_clone_to_owned().unwrap(), FileOptions::default()).unwrap();
    let store = Store::gated(inner, gate.clone());
    let thread = std::thread::spawn(move || {
        let mut rig = Rig::new(backend);
        let store = rig.executor.add(store);
        // A watched file that is always readable must not keep the drop busy, nor end it.
        let busy = nix::sys::eventfd::EventFd::from_value(1).unwrap();
        rig.executor.watch(busy.as_fd(), 1).unwrap();
        rig.memory.copy_in(0, b"new").unwrap();
        rig.submit(1, store, WRITE, 0, &[extent(0, 3)]);
        rig.executor.wait(Some(Duration::ZERO)).unwrap();
        rig.memory
    });
    (gate, thread, file)
}

fn dropping_waits_for_a_store_that_can_not_cancel(backend: Backend) {
    let (gate, thread, file) = drop_at_gate(backend, OnCancel::Ignore);
    assert!(gate.wait_for_waiters(1, LIMIT));
    assert_eq!(content(&file), b"old");
    gate.open();
    let memory = thread.join().unwrap();
    assert_eq!(Arc::strong_count(&memory), 1);
    assert_eq!(content(&file), b"new", "the drop has waited for the write");
}

fn dropping_cancels_what_may_be_cancelled(backend: Backend) {
    let (gate, thread, file) = drop_at_gate(backend, OnCancel::Honour);
    // The gate stays shut.
    thread.join().unwrap();
    assert_eq!((gate.waiters(), gate.held()), (0, 1));
    gate.open();
    assert_eq!(content(&file), b"old");
}
