//! Commands of several steps: alone on their range, and under the rule of buffers however they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lunbox_behaviour::{Lun, native_file};
use lunbox_contract::{
    BlockCommand, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Op, OpsResult, Outcome,
    StoreId, Tag, UnmapLimits,
};
use lunbox_device::{Ending, ResizeError};
use lunbox_emulator::initiator::{Pending, cdb};
use lunbox_emulator::{Data, Options, Placement, ResetMode, TaskManagement};
use lunbox_engine::{Abilities, Fault, Handler, HandlerFactory, Limits, SharedBuffers};
use lunbox_scsi::Bytes;
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;
const SOON: Duration = Duration::from_secs(10);

/// SBC-4 5.3.
fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x89;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[13] = blocks;
    cdb
}

/// SBC-4 5.44.
fn write_same(lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x93;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// SBC-4 5.33: the CDB and the list.
fn unmap(ranges: &[(u64, u32)]) -> ([u8; 10], Vec<u8>) {
    let descriptors = u16::try_from(ranges.len() * 16).unwrap();
    let mut list = Vec::new();
    list.extend((descriptors + 6).to_be_bytes());
    list.extend(descriptors.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    let mut cdb = [0; 10];
    cdb[0] = 0x42;
    cdb[7..9].copy_from_slice(&(descriptors + 8).to_be_bytes());
    (cdb, list)
}

/// SBC-4 5.4: FORMAT UNIT with a list that says IMMED.
const FORMAT: [u8; 6] = [0x04, 0x10, 0, 0, 0, 0];
const IMMED: [u8; 4] = [0, 0x02, 0, 0];

fn gated(on_cancel: OnCancel) -> (GateHandle, Lun) {
    let gate = GateHandle::new(on_cancel);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    // The blocks of a command that has ended are used again at once: a late access meets somebody else's data.
    let kernel = Options { placement: Placement::LowestFirst, ..Options::default() };
    let lun = Lun::builder().handler(native_file()).size(SIZE).store(store).kernel(kernel).start().unwrap();
    (gate, lun)
}

fn start(lun: &Lun, cdb: &[u8], data: Data<'_>) -> Pending {
    lun.initiator.start(cdb, data).unwrap()
}

fn poll(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

/// What was there and what is to be there.
fn halves(old: &[u8], new: &[u8]) -> Vec<u8> {
    [old, new].concat()
}

#[test]
fn compare_and_write_waits_for_overlapping_writes_and_keeps_later_ones_away() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let before = start(&lun, &cdb::write_16(0, 8), Data::Out(&pattern(1, 4096)));
    assert!(gate.wait_for_held(1, SOON));
    let new = pattern(2, 512);
    let swap =
        start(&lun, &compare_and_write(3, 1), Data::Out(&halves(&pattern(1, 4096)[3 * 512..][..512], &new)));
    let after = start(&lun, &cdb::write_16(3, 1), Data::Out(&pattern(3, 512)));
    let beside = start(&lun, &cdb::write_16(4, 1), Data::Out(&pattern(4, 512)));
    // Only what does not overlap reaches the store.
    assert!(gate.wait_for_held(2, SOON));
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(gate.waiters(), 2, "the exclusive command and whoever came after it wait");
    gate.release(2);
    good(&before.wait().unwrap());
    good(&beside.wait().unwrap());
    // Its read, then its write; the later write behind both.
    assert!(gate.wait_for_held(3, SOON));
    gate.release(1);
    assert!(gate.wait_for_held(4, SOON));
    assert!(!swap.is_done() && !after.is_done());
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(gate.waiters(), 1, "the later write waits for the end of the exclusive command");
    gate.release(1);
    good(&swap.wait().unwrap());
    assert!(gate.wait_for_held(5, SOON));
    gate.open();
    good(&after.wait().unwrap());
    assert_eq!(lun.initiator.read(3, 1).unwrap().data, pattern(3, 512));
    lun.assert_clean();
}

#[test]
fn no_increment_is_lost_when_several_initiators_compare_and_write_one_block() {
    const EACH: u64 = 100;
    let lun = Lun::builder().handler(native_file()).start().unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let initiator = lun.initiator.clone();
            std::thread::spawn(move || {
                let mut done = 0;
                while done < EACH {
                    let old = initiator.read(7, 1).unwrap().data;
                    let count = u64::from_be_bytes(*old.first_chunk().unwrap());
                    let mut new = old.clone();
                    new[..8].copy_from_slice(&(count + 1).to_be_bytes());
                    let answer =
                        initiator.execute(&compare_and_write(7, 1), Data::Out(&halves(&old, &new))).unwrap();
                    if answer.is_good() {
                        done += 1;
                    } else {
                        sense(&answer, (0xe, 0x1d, 0));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let counted = lun.initiator.read(7, 1).unwrap().data;
    assert_eq!(u64::from_be_bytes(*counted.first_chunk().unwrap()), 4 * EACH);
    lun.assert_clean();
}

#[test]
fn a_stream_of_overlapping_writes_does_not_starve_an_exclusive_command() {
    let lun = Lun::builder().handler(native_file()).start().unwrap();
    let mut writes = std::collections::VecDeque::new();
    let data = pattern(1, 4096);
    let feed = |writes: &mut std::collections::VecDeque<Pending>| {
        while writes.len() < 16 {
            writes.push_back(start(&lun, &cdb::write_16(0, 8), Data::Out(&data)));
        }
        good(&writes.pop_front().unwrap().wait().unwrap());
    };
    for _ in 0..32 {
        feed(&mut writes);
    }
    let swap = start(&lun, &compare_and_write(0, 8), Data::Out(&halves(&data, &data)));
    let deadline = Instant::now() + SOON;
    while !swap.is_done() {
        feed(&mut writes);
        assert!(Instant::now() < deadline, "the exclusive command never had its turn");
    }
    good(&swap.wait().unwrap());
    for write in writes {
        good(&write.wait().unwrap());
    }
    lun.assert_clean();
}

#[test]
fn more_commands_than_there_is_work_memory_wait_and_are_all_done() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let zeros = vec![0; 512];
    let swaps: Vec<_> = (0..40)
        .map(|lba| start(&lun, &compare_and_write(lba, 1), Data::Out(&halves(&zeros, &pattern(lba, 512)))))
        .collect();
    assert!(gate.wait_for_waiters(16, SOON), "each with a piece of its own: {}", gate.waiters());
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(gate.waiters(), 16);
    gate.open();
    for (lba, swap) in (0..).zip(swaps) {
        good(&swap.wait().unwrap());
        assert_eq!(lun.initiator.read(lba, 1).unwrap().data, pattern(lba, 512));
    }
    lun.assert_clean();
}

#[test]
fn an_aborted_composite_keeps_its_buffer_until_its_step_has_ended() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let old = vec![0; 512];
    let swap = start(&lun, &compare_and_write(5, 1), Data::Out(&halves(&old, &pattern(1, 512))));
    assert!(gate.wait_for_held(1, SOON));
    gate.release(1);
    // Its write, straight from the buffer of the command.
    assert!(gate.wait_for_held(2, SOON));
    let id = swap.id().unwrap();
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
        kernel.signal().unwrap();
    });
    lun.wait_until("the abort is seen", |status| status.aborts == 1 && status.aborting == 1);
    // Whoever overlaps must not meet the write that still runs.
    let later = start(&lun, &cdb::write_16(5, 1), Data::Out(&pattern(2, 512)));
    good(&lun.initiator.test_unit_ready().unwrap());
    assert!(!swap.is_done() && !later.is_done());
    assert_eq!(gate.waiters(), 1);
    gate.open();
    assert_eq!(swap.wait().unwrap().status, 0x40);
    good(&later.wait().unwrap());
    assert_eq!(lun.initiator.read(5, 1).unwrap().data, pattern(2, 512));
    let status = lun.status();
    assert_eq!((status.aborting, status.in_flight), (0, 0));
    lun.assert_clean();
}

#[test]
fn a_composite_that_waits_for_its_range_is_aborted_at_once() {
    let (gate, lun) = gated(OnCancel::Ignore);
    let write = start(&lun, &cdb::write_16(5, 1), Data::Out(&pattern(1, 512)));
    assert!(gate.wait_for_held(1, SOON));
    let swap = start(&lun, &compare_and_write(5, 1), Data::Out(&pattern(2, 1024)));
    let id = swap.id().unwrap();
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(TaskManagement::AbortTask, &[id]).unwrap();
        kernel.signal().unwrap();
    });
    assert_eq!(swap.wait().unwrap().status, 0x40);
    // Its claim has gone with it.
    let later = start(&lun, &cdb::write_16(5, 1), Data::Out(&pattern(3, 512)));
    assert!(gate.wait_for_held(2, SOON));
    gate.open();
    good(&write.wait().unwrap());
    good(&later.wait().unwrap());
    lun.assert_clean();
}

#[test]
fn a_ring_reset_during_a_composite_awaits_its_steps_and_completes_nothing() {
    for command in [write_same(0, 8192), compare_and_write(0, 1)] {
        let (gate, lun) = gated(OnCancel::Ignore);
        let data = if command[0] == 0x89 { vec![0; 1024] } else { pattern(1, 512) };
        let composite = start(&lun, &command, Data::Out(&data));
        assert!(gate.wait_for_held(1, SOON));
        lun.initiator.with_kernel(|kernel| {
            kernel.block();
            kernel.reset_ring(ResetMode::Busy);
            kernel.unblock();
        });
        assert!(composite.wait().unwrap().is_busy());
        let next = start(&lun, &cdb::write_16(64, 8), Data::Out(&pattern(3, 4096)));
        lun.wait_until("the reset is seen", |status| status.resets == 1);
        assert!(!next.is_done(), "not before the steps have ended");
        gate.open();
        let first = next.wait().unwrap();
        assert!(first.is_good() || first.is_busy());
        let again = Data::Out(&pattern(3, 4096));
        good(&lun.initiator.execute_retrying(&cdb::write_16(64, 8), again, 1000).unwrap());
        assert_eq!(lun.initiator.read(64, 8).unwrap().data, pattern(3, 4096));
        lun.wait_until("all slots are free", |status| status.in_flight == 0);
        // The same again is done whole.
        good(&lun.initiator.execute(&write_same(0, 64), Data::Out(&pattern(1, 512))).unwrap());
        assert_eq!(lun.initiator.read(63, 1).unwrap().data, pattern(1, 512));
    }
}

/// The `file` handler with an UNMAP that fails when its number is up.
struct Failing {
    inner: Arc<dyn HandlerFactory>,
    good_ones: Arc<AtomicU64>,
}

struct FailingInstance {
    inner: Box<dyn Handler>,
    good_ones: Arc<AtomicU64>,
}

impl HandlerFactory for Failing {
    fn description(&self) -> &Description {
        self.inner.description()
    }

    fn abilities(&self) -> Abilities {
        Abilities { unmap: true, ..self.inner.abilities() }
    }

    fn instantiate(
        &self,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
    ) -> Result<Box<dyn Handler>, Fault> {
        let inner = self.inner.instantiate(device, buffers, limits)?;
        Ok(Box::new(FailingInstance { inner, good_ones: Arc::clone(&self.good_ones) }))
    }
}

impl Handler for FailingInstance {
    fn configure(&mut self, config: &DeviceConfig) -> Result<Result<DeviceInfo, ConfigError>, Fault> {
        self.inner.configure(config)
    }

    fn submit_block(&mut self, command: &BlockCommand) -> Result<Outcome, Fault> {
        self.inner.submit_block(command)
    }

    fn submit_cdb(&mut self, command: &CdbCommand<'_>) -> Result<Outcome, Fault> {
        self.inner.submit_cdb(command)
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult) -> Result<Outcome, Fault> {
        self.inner.resume(tag, result)
    }

    fn cancel(&mut self, tag: Tag) -> Result<(), Fault> {
        self.inner.cancel(tag)
    }

    fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Fault> {
        self.inner.resize(size)
    }

    fn unmap_limits(&mut self) -> Result<Option<UnmapLimits>, Fault> {
        Ok(Some(UnmapLimits { max_length: 0, granularity: 512, reads_zeroes: true }))
    }

    fn unmap(&mut self, _tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let left =
            self.good_ones.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Ok(Outcome::Io(Op::discard(StoreId(0), offset, length))),
            Err(_) => Err(Fault::Trap { message: "out of luck".to_owned() }),
        }
    }
}

#[test]
fn a_handler_that_traps_in_the_middle_of_an_unmap_is_answered_busy_and_the_repetition_is_done() {
    let good_ones = Arc::new(AtomicU64::new(1));
    let handler = Arc::new(Failing { inner: native_file(), good_ones: Arc::clone(&good_ones) });
    let lun = Lun::builder().handler(handler).start().unwrap();
    for lba in 0..64 {
        good(&lun.initiator.write(lba, &pattern(lba, 512)).unwrap());
    }
    let (cdb, list) = unmap(&[(0, 8), (16, 8), (32, 8)]);
    let answer = lun.initiator.execute(&cdb, Data::Out(&list)).unwrap();
    assert!(answer.is_busy(), "status {:#04x} {:?}", answer.status, answer.sense);
    good_ones.store(u64::MAX, Ordering::SeqCst);
    good(&lun.initiator.execute_retrying(&cdb, Data::Out(&list), 1000).unwrap());
    for lba in 0..64 {
        let expected = if lba % 16 < 8 && lba < 40 { vec![0; 512] } else { pattern(lba, 512) };
        assert_eq!(lun.initiator.read(lba, 1).unwrap().data, expected, "block {lba}");
    }
    let status = lun.status();
    assert_eq!((status.faults, status.instances, status.in_flight), (1, 2, 0));
    lun.assert_clean();
}

#[test]
fn an_immediate_format_leaves_the_unit_not_ready_and_says_how_far_it_is() {
    let (gate, lun) = gated(OnCancel::Ignore);
    gate.open();
    good(&lun.initiator.write(9, &pattern(1, 512)).unwrap());
    gate.close();
    good(&lun.initiator.execute(&FORMAT, Data::Out(&IMMED)).unwrap());
    let not_ready = lun.initiator.test_unit_ready().unwrap();
    sense(&not_ready, (2, 4, 4));
    assert_eq!(not_ready.raw_sense[15] & 0x80, 0x80, "with progress");
    sense(&lun.initiator.read(0, 8).unwrap(), (2, 4, 4));
    good(&lun.initiator.inquiry().unwrap());
    let refused = lun.device(|device| device.resize(Bytes(SIZE / 2), SOON)).unwrap_err();
    assert!(matches!(refused, ResizeError::Refused(_)), "{refused}");
    gate.open();
    poll("the format ends", || lun.initiator.test_unit_ready().unwrap().is_good());
    assert_eq!(lun.initiator.read(9, 1).unwrap().data, vec![0; 512]);
    lun.wait_until("nothing is left of it", |status| status.in_flight == 0);
    lun.assert_clean();
}

#[test]
fn a_ring_reset_does_not_wait_for_an_immediate_format() {
    let (gate, lun) = gated(OnCancel::Ignore);
    good(&lun.initiator.execute(&FORMAT, Data::Out(&IMMED)).unwrap());
    assert!(gate.wait_for_held(1, SOON));
    good(&lun.initiator.inquiry().unwrap());
    lun.initiator.with_kernel(|kernel| {
        kernel.block();
        kernel.reset_ring(ResetMode::Busy);
        kernel.unblock();
    });
    let inquiry = cdb::inquiry(96);
    good(&lun.initiator.execute_retrying(&inquiry, Data::In(96), 1000).unwrap());
    sense(&lun.initiator.test_unit_ready().unwrap(), (2, 4, 4));
    gate.open();
    poll("the format ends", || lun.initiator.test_unit_ready().unwrap().is_good());
    lun.assert_clean();
}

#[test]
fn a_hand_over_does_not_wait_for_an_immediate_format() {
    let (gate, lun) = gated(OnCancel::Honour);
    good(&lun.initiator.execute(&FORMAT, Data::Out(&IMMED)).unwrap());
    assert!(gate.wait_for_held(1, SOON));
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| lun.device(|device| device.end(Ending::HandOver, SOON)));
        // Its steps are cancelled; the flushes around it are not.
        poll("the loop ends", || {
            gate.release(1);
            ended.is_finished()
        });
        assert_eq!(ended.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_drain_waits_for_an_immediate_format() {
    let (gate, lun) = gated(OnCancel::Ignore);
    good(&lun.initiator.execute(&FORMAT, Data::Out(&IMMED)).unwrap());
    assert!(gate.wait_for_held(1, SOON));
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| lun.device(|device| device.end(Ending::Drain, SOON)));
        gate.open();
        assert_eq!(ended.join().unwrap(), Ok(()));
    });
}

/// The mode pages with the write cache off, and the software write protection as said.
fn modes_without_cache(lun: &Lun, protected: bool) -> Vec<u8> {
    let mut data = lun.initiator.execute(&[0x1a, 0x08, 0x3f, 0, 252, 0], Data::In(252)).unwrap().data;
    data.truncate(usize::from(data[0]) + 1);
    (data[0], data[2]) = (0, 0);
    let mut at = 4;
    while at < data.len() {
        let (page, subpages) = (data[at] & 0x3f, data[at] & 0x40 != 0);
        let length = if subpages { 4 + usize::from(data[at + 3]) } else { 2 + usize::from(data[at + 1]) };
        match page {
            0x08 => data[at + 2] &= !0x04,
            0x0a if protected => data[at + 4] |= 0x08,
            _ => {}
        }
        data[at] &= 0x7f;
        at += length;
    }
    data
}

#[test]
fn a_write_that_waits_for_mode_select_is_held_to_what_it_sets() {
    for protected in [false, true] {
        let (gate, lun) = gated(OnCancel::Ignore);
        let list = modes_without_cache(&lun, protected);
        let length = u8::try_from(list.len()).unwrap();
        let select = start(&lun, &[0x15, 0x10, 0, 0, length, 0], Data::Out(&list));
        assert!(gate.wait_for_waiters(1, SOON), "the flush before the write cache is off");
        let write = start(&lun, &cdb::write_16(8, 8), Data::Out(&pattern(3, 4096)));
        good(&lun.initiator.test_unit_ready().unwrap());
        assert!(!select.is_done() && !write.is_done());
        gate.open();
        good(&select.wait().unwrap());
        let write = write.wait().unwrap();
        if protected {
            sense(&write, (0x7, 0x27, 0x02));
        } else {
            good(&write);
        }
        lun.assert_clean();
    }
}
