//! What a device tells of itself: counters and durations by class, commands as they come, late commands, and what
//! waits although it was aborted.

use std::time::{Duration, Instant};

use lunbox_behaviour::Lun;
use lunbox_device::{Histogram, TraceRecord};
use lunbox_emulator::initiator::cdb;
use lunbox_emulator::{Data, ResetMode, TaskManagement};
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;
const SOON: Duration = Duration::from_secs(10);

fn gated(limit: Option<Duration>) -> (GateHandle, Lun) {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let lun = Lun::builder().size(SIZE).store(store);
    let lun = match limit {
        Some(limit) => lun.command_timeout(limit),
        None => lun,
    };
    (gate, lun.start().unwrap())
}

fn samples(histogram: &Histogram) -> u64 {
    histogram.counts.iter().sum()
}

#[test]
fn commands_errors_and_bytes_are_counted_by_class() {
    let lun = Lun::builder().start().unwrap();
    for place in 0..5 {
        good(&lun.initiator.write(place * 8, &pattern(place, 4096)).unwrap());
    }
    for place in 0..3 {
        good(&lun.initiator.read(place * 8, 8).unwrap());
    }
    sense(&lun.initiator.execute(&cdb::read_16(SIZE / 512, 8), Data::In(4096)).unwrap(), (5, 0x21, 0));
    good(&lun.initiator.flush().unwrap());
    let mut immediate = cdb::synchronize_cache_10(0, 0);
    immediate[1] |= 0x02;
    good(&lun.initiator.execute(&immediate, Data::None).unwrap());
    good(&lun.initiator.test_unit_ready().unwrap());
    let statistics = lun.device(lunbox_device::DeviceHandle::statistics);
    let told = [&statistics.read, &statistics.write, &statistics.flush, &statistics.other]
        .map(|class| (class.commands, class.errors, class.bytes));
    assert_eq!(told, [(4, 1, 3 * 4096), (5, 0, 5 * 4096), (2, 0, 0), (1, 0, 0)]);
    let every = u64::from(statistics.sampled_every);
    assert!(every.is_power_of_two() && every <= 64, "{every}");
    for class in [&statistics.read, &statistics.write, &statistics.flush, &statistics.other] {
        assert_eq!(samples(&class.queue), class.commands.div_ceil(every));
    }
    // The host answers these by itself.
    assert_eq!(samples(&statistics.other.service), 0);
    assert_eq!(samples(&statistics.write.service), 5_u64.div_ceil(every));
}

#[test]
fn the_time_in_the_store_is_service_time_and_not_queue_time() {
    let (gate, lun) = gated(None);
    let read = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, SOON));
    let waits = Instant::now();
    // Time has to pass: it is what is measured.
    std::thread::sleep(Duration::from_millis(30));
    let waited = waits.elapsed();
    gate.open();
    good(&read.wait().unwrap());
    let read = lun.device(lunbox_device::DeviceHandle::statistics).read;
    assert!(u128::from(read.service.sum_ns) >= waited.as_nanos(), "{read:?}");
    assert!(read.queue.sum_ns < read.service.sum_ns, "{read:?}");
    // 30 ms and more: none of the buckets up to 16.4 ms.
    assert_eq!(read.service.counts[..15].iter().sum::<u64>(), 0);
    assert_eq!(samples(&read.service), 1);
}

#[test]
fn a_command_that_waits_for_the_one_before_it_is_queued() {
    let (gate, lun) = gated(None);
    // Held by the store, aborted by the initiator: the range stays its own.
    let aborted = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, SOON));
    abort(&lun, TaskManagement::AbortTask, &[aborted.id().unwrap()]);
    lun.wait_until("the abort is seen", |status| status.aborts == 1);
    let write = lun.initiator.start(&cdb::write_16(0, 8), Data::Out(&pattern(1, 4096))).unwrap();
    // It was taken when the one behind it is answered.
    good(&lun.initiator.test_unit_ready().unwrap());
    let waits = Instant::now();
    // Time has to pass: it is what is measured.
    std::thread::sleep(Duration::from_millis(30));
    let waited = waits.elapsed();
    gate.open();
    good(&write.wait().unwrap());
    let write = lun.device(lunbox_device::DeviceHandle::statistics).write;
    assert!(u128::from(write.queue.sum_ns) >= waited.as_nanos(), "{write:?}");
}

#[test]
fn commands_in_flight_and_the_most_that_there_were_are_told() {
    let (gate, lun) = gated(None);
    let reads: Vec<_> = (0..8)
        .map(|place| lun.initiator.start(&cdb::read_16(place * 8, 8), Data::In(4096)).unwrap())
        .collect();
    assert!(gate.wait_for_waiters(8, SOON));
    lun.wait_until("eight are in flight", |status| status.in_flight == 8);
    gate.open();
    for read in reads {
        good(&read.wait().unwrap());
    }
    lun.wait_until("none is in flight", |status| status.in_flight == 0);
    assert_eq!(lun.device(lunbox_device::DeviceHandle::statistics).in_flight_max, 8);
}

fn traced(lun: &Lun) -> (Vec<TraceRecord>, u64) {
    let mut records = Vec::new();
    let lost = lun.device(|device| device.take_trace(usize::MAX, &mut records));
    (records, lost)
}

#[test]
fn each_command_is_traced_as_it_ends_and_none_when_nobody_looks() {
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(traced(&lun), (vec![], 0));
    lun.device(|device| device.set_trace(true));
    let begun = Instant::now();
    let data = pattern(1, 4096);
    good(&lun.initiator.execute(&cdb::write_16(8, 8), Data::Out(&data)).unwrap());
    good(&lun.initiator.execute(&cdb::read_16(8, 8), Data::In(4096)).unwrap());
    sense(&lun.initiator.execute(&[0xc7, 1, 2, 3, 4, 5], Data::None).unwrap(), (5, 0x20, 0));
    let mut immediate = cdb::synchronize_cache_10(0, 0);
    immediate[1] |= 0x02;
    good(&lun.initiator.execute(&immediate, Data::None).unwrap());
    let (records, lost) = traced(&lun);
    assert_eq!((records.len(), lost), (4, 0));
    let [write, read, unknown, flush] = &records[..] else { panic!("four") };
    assert_eq!((write.cdb, write.cdb_length), (cdb::write_16(8, 8), 16));
    assert_eq!((write.status, write.sense, write.data_length), (0, None, 4096));
    assert_eq!((read.cdb, read.data_length), (cdb::read_16(8, 8), 4096));
    assert_eq!((unknown.cdb[0], unknown.status, unknown.sense), (0xc7, 2, Some((5, 0x20, 0))));
    assert_eq!((&flush.cdb[..10], flush.cdb_length, flush.status), (&immediate[..], 10, 0));
    for pair in records.windows(2) {
        assert!(pair[0].at <= pair[1].at);
    }
    assert!(write.at >= begun && u128::from(write.queue_ns + write.service_ns) <= begun.elapsed().as_nanos());
    assert!(write.service_ns > 0 && unknown.service_ns == 0);

    lun.device(|device| device.set_trace(false));
    good(&lun.initiator.read(8, 8).unwrap());
    assert_eq!(traced(&lun), (vec![], 0));
}

#[test]
fn a_trace_that_nobody_takes_loses_records_and_no_command() {
    let lun = Lun::builder().start().unwrap();
    lun.device(|device| device.set_trace(true));
    for _ in 0..5000 {
        good(&lun.initiator.test_unit_ready().unwrap());
    }
    let (records, lost) = traced(&lun);
    assert!(lost > 0);
    assert_eq!(records.len() as u64 + lost, 5000);
}

#[test]
fn a_late_command_counts_once_and_is_delivered_when_it_ends() {
    let (gate, lun) = gated(Some(Duration::from_millis(40)));
    let first = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    let began = Instant::now();
    lun.wait_until("the first is late", |status| status.timeouts == 1);
    assert!(began.elapsed() >= Duration::from_millis(39), "{:?}", began.elapsed());
    let second = lun.initiator.start(&cdb::write_16(64, 8), Data::Out(&pattern(1, 4096))).unwrap();
    lun.wait_until("the second is late", |status| status.timeouts == 2);
    assert!(!first.is_done() && !second.is_done(), "nothing was aborted");
    good(&lun.initiator.test_unit_ready().unwrap());
    gate.open();
    good(&first.wait().unwrap());
    good(&second.wait().unwrap());
    for _ in 0..50 {
        good(&lun.initiator.read(64, 8).unwrap());
    }
    assert_eq!(lun.status().timeouts, 2, "quick ones are not late");
    lun.assert_clean();
}

#[test]
fn without_a_limit_no_command_is_late() {
    for limit in [None, Some(Duration::ZERO)] {
        let (gate, lun) = gated(limit);
        let read = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
        assert!(gate.wait_for_waiters(1, SOON));
        // Time has to pass.
        std::thread::sleep(Duration::from_millis(20));
        good(&lun.initiator.test_unit_ready().unwrap());
        gate.open();
        good(&read.wait().unwrap());
        assert_eq!(lun.status().timeouts, 0);
    }
}

fn abort(lun: &Lun, kind: TaskManagement, ids: &[lunbox_emulator::CommandId]) {
    lun.initiator.with_kernel(|kernel| {
        kernel.queue_tmr(kind, ids).unwrap();
        kernel.signal().unwrap();
    });
}

#[test]
fn aborted_commands_that_wait_for_their_store_are_told() {
    let (gate, lun) = gated(None);
    let reads: Vec<_> = (0..3)
        .map(|place| lun.initiator.start(&cdb::read_16(place * 8, 8), Data::In(4096)).unwrap())
        .collect();
    assert!(gate.wait_for_waiters(3, SOON));
    let ids: Vec<_> = reads.iter().map(|read| read.id().unwrap()).collect();
    abort(&lun, TaskManagement::AbortTask, &ids[..1]);
    lun.wait_until("one is aborted", |status| (status.aborts, status.aborting) == (1, 1));
    assert_eq!(lun.status().lun_resets, 0);
    abort(&lun, TaskManagement::LunReset, &ids[1..]);
    lun.wait_until("all are aborted", |status| (status.aborts, status.aborting) == (3, 3));
    assert_eq!(lun.status().lun_resets, 1);
    gate.open();
    // Those of the reset were not cut short.
    for (read, status) in reads.into_iter().zip([0x40, 0x00, 0x00]) {
        assert_eq!(read.wait().unwrap().status, status);
    }
    assert_eq!(lun.status().aborting, 0);
    lun.assert_clean();
}

#[test]
fn an_aborted_command_of_which_nothing_runs_is_answered_at_once() {
    let (gate, lun) = gated(None);
    let held = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, SOON));
    abort(&lun, TaskManagement::AbortTask, &[held.id().unwrap()]);
    lun.wait_until("the first is aborted", |status| status.aborting == 1);
    // It waits for the range of the one before it: nothing of it runs.
    let waiting = lun.initiator.start(&cdb::write_16(0, 8), Data::Out(&pattern(1, 4096))).unwrap();
    good(&lun.initiator.test_unit_ready().unwrap());
    abort(&lun, TaskManagement::AbortTask, &[waiting.id().unwrap()]);
    assert_eq!(waiting.wait().unwrap().status, 0x40);
    assert_eq!((lun.status().aborting, held.is_done()), (1, false));
    gate.open();
    assert_eq!(held.wait().unwrap().status, 0x40);
    lun.assert_clean();
}

#[test]
fn commands_of_a_ring_that_was_reset_are_told_until_their_store_lets_go() {
    let (gate, lun) = gated(None);
    let reads: Vec<_> = (0..2)
        .map(|place| lun.initiator.start(&cdb::read_16(place * 8, 8), Data::In(4096)).unwrap())
        .collect();
    assert!(gate.wait_for_waiters(2, SOON));
    // One of them is aborted already: it counts once.
    abort(&lun, TaskManagement::AbortTask, &[reads[0].id().unwrap()]);
    lun.wait_until("one is aborted", |status| status.aborting == 1);
    lun.initiator.with_kernel(|kernel| {
        kernel.block();
        kernel.reset_ring(ResetMode::Busy);
        kernel.unblock();
    });
    let next = lun.initiator.start(&cdb::test_unit_ready(), Data::None).unwrap();
    lun.wait_until("the reset is seen", |status| (status.resets, status.aborting) == (1, 2));
    gate.open();
    lun.wait_until("nothing waits any more", |status| status.aborting == 0);
    drop(next);
}
