//! The rule that must never break: a command ends only when no store operation refers to its buffer. The emulated
//! kernel poisons every block that it takes back and checks the poison, the gated store starts its transfer only
//! when the test lets it.

use std::time::Duration;

use lunbox_behaviour::{Lun, wasm};
use lunbox_device::Health;
use lunbox_emulator::initiator::{Pending, cdb};
use lunbox_emulator::{Data, Options, Placement, TaskManagement};
use lunbox_store::{GateHandle, OnCancel, Store};
use lunbox_test_hostile as hostile;

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;
const SECOND: Duration = Duration::from_secs(5);

fn gated(on_cancel: OnCancel) -> (GateHandle, Lun) {
    let gate = GateHandle::new(on_cancel);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let kernel = Options { placement: Placement::LowestFirst, ..Options::default() };
    let lun = Lun::builder()
        .handler(wasm("lunbox-test-hostile"))
        .size(SIZE)
        .store(store)
        .kernel(kernel)
        .start()
        .unwrap();
    (gate, lun)
}

fn trigger(k: u64) -> [u8; 16] {
    cdb::read_16(hostile::trigger_offset(SIZE, k).unwrap() / 512, 8)
}

fn start(lun: &Lun, cdb: &[u8], data: Data<'_>) -> Pending {
    lun.initiator.start(cdb, data).unwrap()
}

/// After whatever happened, the blocks that were in use carry somebody else's data unharmed.
fn next_users_are_safe(lun: &Lun, gate: &GateHandle) {
    gate.open();
    lun.wait_until("it serves", |status| status.health == Health::Serving);
    let writes: Vec<_> = (0..32)
        .map(|place| start(lun, &cdb::write_16(place * 8, 8), Data::Out(&pattern(place + 77, 4096))))
        .collect();
    for write in writes {
        good(&write.wait().unwrap());
    }
    for place in 0..32 {
        let read = lun.initiator.read(place * 8, 8).unwrap();
        good(&read);
        assert!(read.data == pattern(place + 77, 4096), "place {place}");
    }
    lun.assert_clean();
}

#[test]
fn a_lost_instance_waits_for_the_operations_in_flight_however_it_was_lost() {
    for k in [
        hostile::TRIGGER_TRAP,
        hostile::TRIGGER_LOOP,
        hostile::TRIGGER_MEMORY,
        hostile::TRIGGER_RECURSION,
        hostile::TRIGGER_NOT_HANDLED,
        hostile::TRIGGER_TOO_MANY_OPS,
        hostile::TRIGGER_EMPTY_LIST,
    ] {
        lose_instance(k, OnCancel::Honour);
        lose_instance(k, OnCancel::Ignore);
    }
}

fn lose_instance(k: u64, on_cancel: OnCancel) {
    let (gate, lun) = gated(on_cancel);
    // One of each kind: a final read, a final write, reads whose end the guest waits for, into the command's
    // buffer and into a scratch buffer.
    let read = start(&lun, &cdb::read_16(8, 8), Data::In(4096));
    let write = start(&lun, &cdb::write_16(64, 8), Data::Out(&pattern(1, 4096)));
    let listed = start(&lun, &trigger(hostile::TRIGGER_RESUME), Data::In(4096));
    let scratch = start(&lun, &trigger(hostile::TRIGGER_SCRATCH), Data::In(4096));
    assert!(gate.wait_for_waiters(4, SECOND), "trigger {k}");
    let failed = lun.initiator.execute(&trigger(k), Data::In(4096)).unwrap();
    assert!(failed.is_busy(), "trigger {k}: status {:#04x}", failed.status);
    assert!(!read.is_done() && !write.is_done(), "final operations do not depend on the guest");
    if on_cancel == OnCancel::Ignore {
        assert!(!listed.is_done() && !scratch.is_done(), "their operations could not be cancelled");
    }
    gate.open();
    good(&read.wait().unwrap());
    good(&write.wait().unwrap());
    assert!(listed.wait().unwrap().is_busy());
    assert!(scratch.wait().unwrap().is_busy());
    next_users_are_safe(&lun, &gate);
    assert_eq!(lun.status().faults, 1, "trigger {k}");
}

#[test]
fn a_trap_in_resume_ends_the_command_busy_and_the_rest_goes_on() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let bad = start(&lun, &trigger(hostile::TRIGGER_TRAP_IN_RESUME), Data::In(4096));
    let listed = start(&lun, &trigger(hostile::TRIGGER_RESUME), Data::In(4096));
    assert!(gate.wait_for_waiters(2, SECOND));
    gate.release(1);
    assert!(bad.wait().unwrap().is_busy());
    assert!(!listed.is_done());
    next_users_are_safe(&lun, &gate);
    assert!(listed.wait().unwrap().is_busy());
}

#[test]
fn commands_wait_for_the_operations_of_a_lost_instance() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let listed = start(&lun, &trigger(hostile::TRIGGER_RESUME), Data::In(4096));
    assert!(gate.wait_for_waiters(1, SECOND));
    assert!(lun.initiator.execute(&trigger(hostile::TRIGGER_TRAP), Data::In(4096)).unwrap().is_busy());
    let later = start(&lun, &cdb::read_16(0, 8), Data::In(4096));
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(lun.status().instances, 1, "a new instance must not start beside the old one's operations");
    assert_eq!(gate.waiters(), 1);
    gate.open();
    assert!(listed.wait().unwrap().is_busy());
    let later = later.wait().unwrap();
    assert!(later.is_good() || later.is_busy(), "BUSY if it took long: status {:#04x}", later.status);
    next_users_are_safe(&lun, &gate);
}

#[test]
fn commands_are_answered_busy_when_a_lost_instance_keeps_them_waiting_for_long() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let listed = start(&lun, &trigger(hostile::TRIGGER_RESUME), Data::In(4096));
    assert!(gate.wait_for_waiters(1, SECOND));
    assert!(lun.initiator.execute(&trigger(hostile::TRIGGER_TRAP), Data::In(4096)).unwrap().is_busy());
    // Whether it comes early and waits or comes late: it is answered while the store still hangs.
    for _ in 0..3 {
        assert!(lun.initiator.read(0, 8).unwrap().is_busy());
    }
    assert_eq!(gate.waiters(), 1);
    gate.open();
    assert!(listed.wait().unwrap().is_busy());
    next_users_are_safe(&lun, &gate);
}

#[test]
fn a_resize_that_nobody_waits_for_any_more_holds_nothing_back() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let read = start(&lun, &cdb::read_16(0, 8), Data::In(4096));
    assert!(gate.wait_for_waiters(1, SECOND));
    let refused = lun.device(|device| device.resize(lunbox_scsi::Bytes(SIZE / 2), Duration::from_millis(20)));
    assert_eq!(refused, Err(lunbox_device::ResizeError::TimedOut));
    good(&lun.initiator.test_unit_ready().unwrap());
    gate.open();
    good(&read.wait().unwrap());
    let capacity = lun.initiator.read_capacity().unwrap().capacity().unwrap();
    assert_eq!(capacity.blocks, SIZE / 512, "the old size stays in force");
}

#[test]
fn an_aborted_command_ends_when_its_operation_has() {
    for k in [None, Some(hostile::TRIGGER_RESUME)] {
        let (gate, lun) = gated(OnCancel::Ignore);
        let cdb = k.map_or_else(|| cdb::read_16(8, 8), trigger);
        let command = start(&lun, &cdb, Data::In(4096));
        assert!(gate.wait_for_waiters(1, SECOND));
        let id = command.id().unwrap();
        lun.initiator.with_kernel(|kernel| {
            kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
            kernel.signal().unwrap();
        });
        lun.wait_until("the abort is seen", |status| status.aborts == 1);
        good(&lun.initiator.test_unit_ready().unwrap());
        assert!(!command.is_done(), "its buffer is still in use");
        gate.open();
        assert_eq!(command.wait().unwrap().status, 0x40);
        next_users_are_safe(&lun, &gate);
    }
}

#[test]
fn an_abort_that_can_be_cancelled_ends_at_once() {
    let (gate, lun) = gated(OnCancel::Honour);
    let command = start(&lun, &cdb::write_16(8, 8), Data::Out(&pattern(5, 4096)));
    assert!(gate.wait_for_waiters(1, SECOND));
    let id = command.id().unwrap();
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
        kernel.signal().unwrap();
    });
    assert_eq!(command.wait().unwrap().status, 0x40);
    next_users_are_safe(&lun, &gate);
}

#[test]
fn a_command_on_an_aborted_range_waits_and_others_do_not() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let aborted = start(&lun, &cdb::write_16(8, 8), Data::Out(&pattern(5, 4096)));
    assert!(gate.wait_for_waiters(1, SECOND));
    let id = aborted.id().unwrap();
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
        kernel.signal().unwrap();
    });
    lun.wait_until("the abort is seen", |status| status.aborts == 1);
    let overlapping = start(&lun, &cdb::write_16(12, 1), Data::Out(&pattern(6, 512)));
    let elsewhere = start(&lun, &cdb::write_16(100, 1), Data::Out(&pattern(7, 512)));
    assert!(gate.wait_for_waiters(2, SECOND), "only the one elsewhere has started");
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(gate.waiters(), 2);
    gate.open();
    assert_eq!(aborted.wait().unwrap().status, 0x40);
    good(&elsewhere.wait().unwrap());
    good(&overlapping.wait().unwrap());
    assert_eq!(lun.initiator.read(12, 1).unwrap().data, pattern(6, 512), "the later write came last");
}

/// With sg_reset through Linux's loopback fabric fio's verification read zeros, as if commands that the reset ended had been
/// told GOOD: what runs is done, and only then given back.
#[test]
fn what_runs_when_the_unit_is_reset_is_done() {
    let (gate, lun) = gated(OnCancel::Honour);
    let written = start(&lun, &cdb::write_16(8, 8), Data::Out(&pattern(5, 4096)));
    let read = start(&lun, &cdb::read_16(64, 8), Data::In(4096));
    assert!(gate.wait_for_waiters(2, SECOND));
    let ids = [written.id().unwrap(), read.id().unwrap()];
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::LunReset, &ids).unwrap();
        kernel.signal().unwrap();
    });
    lun.wait_until("the reset is seen", |status| (status.aborts, status.aborting) == (2, 2));
    let overlapping = start(&lun, &cdb::write_16(12, 1), Data::Out(&pattern(6, 512)));
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(gate.waiters(), 2, "what comes after the reset waits for what was there before");
    assert!(!written.is_done() && !read.is_done());
    gate.open();
    good(&written.wait().unwrap());
    good(&read.wait().unwrap());
    good(&overlapping.wait().unwrap());
    let mut expected = pattern(5, 4096);
    expected[2048..2560].copy_from_slice(&pattern(6, 512));
    assert_eq!(lun.initiator.read(8, 8).unwrap().data, expected);
    assert_eq!(lun.status().aborting, 0);
    lun.assert_clean();
}

#[test]
fn a_handler_that_fails_while_a_command_is_cancelled_is_rebuilt() {
    for k in [hostile::TRIGGER_TRAP_IN_CANCEL, hostile::TRIGGER_LOOP_IN_CANCEL] {
        let (gate, lun) = gated(OnCancel::Ignore);
        let command = start(&lun, &trigger(k), Data::In(4096));
        assert!(gate.wait_for_waiters(1, SECOND));
        let id = command.id().unwrap();
        lun.initiator.with_kernel(|kernel| {
            kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
            kernel.signal().unwrap();
        });
        lun.wait_until("the handler fails", |status| status.faults == 1);
        assert!(!command.is_done());
        gate.open();
        assert_eq!(command.wait().unwrap().status, 0x40);
        next_users_are_safe(&lun, &gate);
    }
}

#[test]
fn a_vanished_data_page_fails_one_command_and_not_the_device() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let read = start(&lun, &cdb::read_16(0, 8), Data::In(4096));
    let write = start(&lun, &cdb::write_16(64, 8), Data::Out(&pattern(1, 4096)));
    assert!(gate.wait_for_waiters(2, SECOND));
    lun.initiator.with_kernel(|kernel| kernel.vanish_pages(0).unwrap());
    gate.open();
    assert!(read.wait().unwrap().is_busy(), "the initiator tries again with a buffer that is there");
    assert!(write.wait().unwrap().is_busy());
    lun.initiator.with_kernel(|kernel| kernel.restore_pages().unwrap());
    next_users_are_safe(&lun, &gate);
    assert_eq!(lun.status().faults, 0);
}

#[test]
fn stopping_with_operations_in_flight_waits_for_them() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let read = start(&lun, &cdb::read_16(0, 8), Data::In(4096));
    assert!(gate.wait_for_waiters(1, SECOND));
    let error = lun.stop(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("1 store operation"), "{error}");
    assert!(!read.is_done());
    gate.open();
    assert!(read.wait().unwrap().is_busy(), "cancelled by the stop, answered when its operation had ended");
    lun.assert_clean();
}

#[test]
fn a_store_error_becomes_sense_data_and_the_lba() {
    use lunbox_store::StoreError;
    let (gate, lun) = gated(OnCancel::Honour);
    gate.open();
    let fail = |error, cdb: &[u8], data| {
        gate.fail_next(error);
        lun.initiator.execute(cdb, data).unwrap()
    };
    let read = fail(StoreError::Io, &cdb::read_16(24, 8), Data::In(4096));
    sense(&read, (3, 0x11, 0));
    assert_eq!(read.sense.unwrap().information, Some(24));
    sense(&fail(StoreError::Io, &cdb::write_16(24, 8), Data::Out(&[0; 4096])), (3, 0x0c, 0));
    sense(&fail(StoreError::NoSpace, &cdb::write_16(24, 8), Data::Out(&[0; 4096])), (7, 0x27, 7));
    sense(&fail(StoreError::ReadOnly, &cdb::write_16(24, 8), Data::Out(&[0; 4096])), (7, 0x27, 0));
    sense(&fail(StoreError::Io, &cdb::synchronize_cache_10(0, 0), Data::None), (3, 0x0c, 0));
    assert!(fail(StoreError::TimedOut, &cdb::read_16(24, 8), Data::In(4096)).is_busy());
}
