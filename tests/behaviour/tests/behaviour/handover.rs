//! One loop leaves a ring to the next: nothing is lost, nothing is done twice, no initiator sees an error.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use lunbox_behaviour::{native_file, wasm};
use lunbox_contract::StoreInfo;
use lunbox_device::{DeviceHandle, DeviceParts, Ending, Event, Identity, Settings, StopError, spawn};
use lunbox_emulator::initiator::{Pending, Settings as InitiatorSettings, cdb};
use lunbox_emulator::{Data, Initiator, Kernel, Options, Placement, ResetMode, TaskManagement};
use lunbox_engine::{HandlerFactory, Limits};
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Blocks, Bytes};
use lunbox_store::{Backend, FileOptions, GateHandle, OnCancel, Store};
use lunbox_tcmu::{Doorbell, Ring};
use lunbox_test_hostile as hostile;

use crate::{good, pattern};

const SIZE: u64 = 16 << 20;
const SOON: Duration = Duration::from_secs(10);

/// A ring and a file that outlive the loops which serve them.
struct Rig {
    initiator: Initiator,
    handler: Arc<dyn HandlerFactory>,
    file: std::fs::File,
    gate: Option<GateHandle>,
}

impl Rig {
    fn new(handler: Arc<dyn HandlerFactory>, gate: Option<GateHandle>) -> Self {
        // Freed blocks stay free for long, which shows late writes.
        let options = Options { ring_bytes: 8192, placement: Placement::RoundRobin, ..Options::default() };
        let (kernel, _) = Kernel::new(options).unwrap();
        let initiator = Initiator::on(kernel, InitiatorSettings::default()).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        Self { initiator, handler, file, gate }
    }

    /// The next loop, with descriptors of its own: as in another process.
    fn next_loop(&self) -> (DeviceHandle, mpsc::Receiver<Event>) {
        let user = self.initiator.with_kernel(|kernel| kernel.user_side()).unwrap();
        let map = Arc::new(Mapping::shared(user.memory.as_fd(), user.length).unwrap());
        let ring = Ring::attach(map, Doorbell::Event { wait: user.wait, ring: user.ring }).unwrap();
        let store = Store::file(self.file.try_clone().unwrap().into(), FileOptions::default()).unwrap();
        let store = match &self.gate {
            Some(gate) => Store::gated(store, gate.clone()),
            None => store,
        };
        let info = StoreInfo {
            option: String::new(),
            size: store.size(),
            read_only: false,
            discard_zeroes: true,
            can_grow: true,
            physical_block_size: 0,
            discard_granularity: 4096,
        };
        let (send, events) = mpsc::channel();
        let send = Mutex::new(send);
        let parts = DeviceParts {
            name: "test".to_owned(),
            ring,
            stores: vec![(store, info)],
            options: Vec::new(),
            handler: Arc::clone(&self.handler),
            settings: Settings {
                size: Bytes(SIZE),
                block_size: BlockSize::new(512).unwrap(),
                read_only: false,
                max_transfer: Blocks(2048),
                limits: Limits::default(),
                backend: Backend::Auto,
                command_timeout: None,
                write_cache: None,
                modes: lunbox_device::Modes::default(),
            },
            events: Arc::new(move |event| {
                // A test that has ended wants no events.
                let _ = send.lock().map(|send| send.send(event));
            }),
        };
        (spawn(parts).unwrap(), events)
    }

    fn write(&self, lba: u64, seed: u64) -> Pending {
        self.initiator.start(&cdb::write_16(lba, 8), Data::Out(&pattern(seed, 4096))).unwrap()
    }

    fn provoke(&self, k: u64) -> Pending {
        let lba = hostile::trigger_offset(SIZE, k).unwrap() / 512;
        self.initiator.start(&cdb::read_16(lba, 8), Data::In(4096)).unwrap()
    }

    #[track_caller]
    fn reads(&self, lba: u64, seed: u64) {
        let read = self.initiator.read(lba, 8).unwrap();
        good(&read);
        assert!(read.data == pattern(seed, 4096), "the data at {lba} is not what was written");
    }

    #[track_caller]
    fn assert_clean(&self) {
        if let Err(report) = self.initiator.check() {
            panic!("{report}");
        }
    }
}

/// Hands over while something holds the loop back; `release` lets it go on.
fn hand_over_while(device: &DeviceHandle, release: impl FnOnce()) {
    std::thread::scope(|scope| {
        let (told, tell) = mpsc::channel();
        let ended = scope.spawn(move || {
            told.send(()).unwrap();
            device.end(Ending::HandOver, SOON)
        });
        tell.recv().unwrap();
        release();
        assert_eq!(ended.join().unwrap(), Ok(()));
    });
}

fn under_load(handler: Arc<dyn HandlerFactory>, rounds: u32) {
    let rig = Rig::new(handler, None);
    let (mut device, mut events) = rig.next_loop();
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let mut served = 0;
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (rig, stop, sent) = (&rig, &stop, &sent);
            scope.spawn(move || {
                let mut round = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let places: Vec<u64> = (0..8).map(|n| worker * 4096 + (round + n) % 64 * 8).collect();
                    let seed = |n: u64| worker << 48 | round << 8 | n;
                    let writes: Vec<_> =
                        (0..8).zip(&places).map(|(n, &lba)| rig.write(lba, seed(n))).collect();
                    for write in writes {
                        good(&write.wait().unwrap());
                    }
                    for (n, &lba) in (0..8).zip(&places) {
                        rig.reads(lba, seed(n));
                    }
                    sent.fetch_add(16, Ordering::Relaxed);
                    round += 1;
                }
            });
        }
        for _ in 0..rounds {
            let before = device.status().commands;
            let deadline = Instant::now() + SOON;
            while device.status().commands < before + 50 {
                assert!(Instant::now() < deadline, "the loop does not serve");
                std::thread::yield_now();
            }
            let begin = Instant::now();
            assert_eq!(device.end(Ending::HandOver, SOON), Ok(()));
            longest = longest.max(begin.elapsed());
            served += device.status().commands;
            assert_eq!(device.status().busy, 0);
            assert!(events.try_iter().next().is_none(), "nothing happened that is worth a word");
            (device, events) = rig.next_loop();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(device.end(Ending::Drain, SOON), Ok(()));
    served += device.status().commands;
    // Each command was completed once, and by one loop.
    assert_eq!(served, sent.load(Ordering::Relaxed));
    assert!(longest < SOON / 2, "under constant load the loop did not end for {longest:?}");
    rig.assert_clean();
}

#[test]
fn loops_take_turns_under_verified_load_and_no_command_fails() {
    under_load(wasm("lunbox-handler-file"), 50);
    under_load(native_file(), 100);
}

#[test]
fn what_waits_in_the_ring_is_left_to_the_next_loop() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let rig = Rig::new(wasm("lunbox-handler-file"), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    let taken: Vec<_> = (0..4).map(|n| rig.write(n * 8, n)).collect();
    assert!(gate.wait_for_waiters(4, SOON));
    let mut waiting = Vec::new();
    hand_over_while(&first, || {
        // The four and the flush that is made while the loop serves; then the last flush, when it serves no more.
        assert!(gate.wait_for_waiters(5, SOON));
        gate.release(5);
        assert!(gate.wait_for_held(6, SOON));
        waiting.extend((4..8).map(|n| rig.write(n * 8, n)));
        gate.open();
    });
    for write in taken {
        good(&write.wait().unwrap());
    }
    assert_eq!(first.status().commands, 4);
    // Nobody serves now.
    waiting.extend((8..12).map(|n| rig.write(n * 8, n)));
    assert!(waiting.iter().all(|write| !write.is_done()));
    let (second, _events) = rig.next_loop();
    for write in waiting {
        good(&write.wait().unwrap());
    }
    for n in 0..12 {
        rig.reads(n * 8, n);
    }
    assert_eq!(second.status().commands, 8 + 12);
    rig.assert_clean();
}

#[test]
fn a_command_whose_list_runs_is_resumed_by_the_loop_that_took_it() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let rig = Rig::new(wasm("lunbox-test-hostile"), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    let listed = [rig.provoke(hostile::TRIGGER_RESUME), rig.provoke(hostile::TRIGGER_SCRATCH)];
    assert!(gate.wait_for_waiters(2, SOON));
    hand_over_while(&first, || gate.open());
    for command in listed {
        good(&command.wait().unwrap());
    }
    assert_eq!((first.status().faults, first.status().instances), (0, 1));
    let (second, _events) = rig.next_loop();
    good(&rig.provoke(hostile::TRIGGER_RESUME).wait().unwrap());
    assert_eq!(second.status().commands, 1);
    rig.assert_clean();
}

#[test]
fn commands_that_wait_for_a_lost_instance_end_before_the_ring_is_left() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let rig = Rig::new(wasm("lunbox-test-hostile"), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    // An orphaned operation keeps the next instance from being made, so what comes now is parked.
    let orphaned = rig.provoke(hostile::TRIGGER_RESUME);
    assert!(gate.wait_for_waiters(1, SOON));
    assert!(rig.provoke(hostile::TRIGGER_TRAP).wait().unwrap().is_busy());
    let parked: Vec<_> = (0..3).map(|n| rig.write(n * 8, n)).collect();
    hand_over_while(&first, || gate.open());
    assert!(orphaned.wait().unwrap().is_busy());
    for write in parked {
        let answer = write.wait().unwrap();
        assert!(answer.is_good() || answer.is_busy(), "status {:#04x}", answer.status);
    }
    let (_second, _events) = rig.next_loop();
    good(&rig.write(0, 77).wait().unwrap());
    rig.reads(0, 77);
    rig.assert_clean();
}

#[test]
fn an_aborted_command_whose_operation_runs_keeps_its_buffer_until_the_operation_ends() {
    for k in [None, Some(hostile::TRIGGER_RESUME)] {
        let gate = GateHandle::new(OnCancel::Ignore);
        let rig = Rig::new(wasm("lunbox-test-hostile"), Some(gate.clone()));
        let (first, _events) = rig.next_loop();
        let command = match k {
            Some(k) => rig.provoke(k),
            None => rig.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap(),
        };
        assert!(gate.wait_for_waiters(1, SOON));
        let id = command.id().unwrap();
        rig.initiator.with_kernel(|kernel| {
            kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
            kernel.signal().unwrap();
        });
        let deadline = Instant::now() + SOON;
        while first.status().aborts == 0 {
            assert!(Instant::now() < deadline, "the abort was not seen");
            std::thread::yield_now();
        }
        hand_over_while(&first, || {
            assert!(!command.is_done(), "its operation runs");
            gate.open();
        });
        assert_eq!(command.wait().unwrap().status, 0x40, "TASK ABORTED");
        let (_second, _events) = rig.next_loop();
        good(&rig.write(8, 3).wait().unwrap());
        rig.reads(8, 3);
        rig.assert_clean();
    }
}

#[test]
fn an_inquiry_that_waits_for_names_is_answered_when_they_come() {
    let rig = Rig::new(native_file(), None);
    let (first, events) = rig.next_loop();
    let inquiry = rig.initiator.start(&cdb::inquiry_page(0x80, 252), Data::In(252)).unwrap();
    assert_eq!(events.recv_timeout(SOON), Ok(Event::IdentityWanted));
    hand_over_while(&first, || {
        first.set_identity(Identity { serial: "4711".to_owned(), ..Identity::default() })
    });
    let answer = inquiry.wait().unwrap();
    good(&answer);
    assert!(answer.data.windows(4).any(|bytes| bytes == b"4711"), "{:?}", answer.data);
}

#[test]
fn a_ring_that_is_reset_meanwhile_is_left_in_order() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let rig = Rig::new(native_file(), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    let old: Vec<_> = (0..3).map(|n| rig.write(n * 8, n)).collect();
    assert!(gate.wait_for_waiters(3, SOON));
    hand_over_while(&first, || {
        rig.initiator.with_kernel(|kernel| {
            kernel.block();
            kernel.reset_ring(ResetMode::Busy);
            kernel.unblock();
        });
        gate.open();
    });
    for write in old {
        assert!(write.wait().unwrap().is_busy());
    }
    let (_second, _events) = rig.next_loop();
    for round in 0..50 {
        let data = pattern(round, 4096);
        good(&rig.initiator.execute_retrying(&cdb::write_16(800, 8), Data::Out(&data), 100).unwrap());
        rig.reads(800, round);
    }
}

#[test]
fn an_operation_that_does_not_end_keeps_the_ring_until_it_does() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let rig = Rig::new(native_file(), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    let write = rig.write(0, 1);
    assert!(gate.wait_for_waiters(1, SOON));
    let short = Duration::from_millis(20);
    assert!(matches!(first.end(Ending::HandOver, short), Err(StopError::StoreBusy(1..))));
    assert!(!write.is_done(), "completed while an operation refers to its buffer");
    gate.open();
    assert_eq!(first.end(Ending::HandOver, SOON), Ok(()));
    assert_eq!(first.end(Ending::HandOver, SOON), Ok(()), "a second time there is nothing to do");
    let answer = write.wait().unwrap();
    assert!(answer.is_busy() || answer.is_good(), "status {:#04x}", answer.status);
    let (_second, _events) = rig.next_loop();
    good(&rig.write(0, 2).wait().unwrap());
    rig.reads(0, 2);
    rig.assert_clean();
}

#[test]
fn cancelling_answers_busy_what_was_taken() {
    let gate = GateHandle::new(OnCancel::Honour);
    let rig = Rig::new(native_file(), Some(gate.clone()));
    let (first, _events) = rig.next_loop();
    let writes: Vec<_> = (0..3).map(|n| rig.write(n * 8, n)).collect();
    assert!(gate.wait_for_waiters(3, SOON));
    assert_eq!(first.end(Ending::Cancel, SOON), Ok(()));
    for write in writes {
        assert!(write.wait().unwrap().is_busy());
    }
    gate.open();
    let (_second, _events) = rig.next_loop();
    good(&rig.write(0, 2).wait().unwrap());
    rig.assert_clean();
}
