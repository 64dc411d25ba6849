//! `action/reset_ring` under a live device, wherever the ring stands and whatever runs.

use std::time::Duration;

use lunbox_behaviour::Lun;
use lunbox_emulator::initiator::cdb;
use lunbox_emulator::{Data, Options, ResetMode};
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{good, pattern};

const SIZE: u64 = 16 << 20;

fn small_ring() -> Options {
    Options { ring_bytes: 2048, data_blocks: 64, ..Options::default() }
}

fn gated() -> (GateHandle, Lun) {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    (gate, Lun::builder().size(SIZE).store(store).kernel(small_ring()).start().unwrap())
}

/// Resets the ring when it has advanced by `commands`, with reads and writes in flight.
fn reset_after(commands: u64) {
    let (gate, lun) = gated();
    gate.open();
    for place in 0..commands {
        good(&lun.initiator.test_unit_ready().unwrap());
        if place == 0 {
            good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
        }
    }
    gate.close();
    let in_flight: Vec<_> = (0..4)
        .map(|place| match place % 2 {
            0 => lun.initiator.start(&cdb::read_16(place * 8, 8), Data::In(4096)).unwrap(),
            _ => lun.initiator.start(&cdb::write_16(place * 8, 8), Data::Out(&pattern(9, 4096))).unwrap(),
        })
        .collect();
    assert!(gate.wait_for_waiters(4, Duration::from_secs(5)), "position {commands}");
    lun.initiator.with_kernel(|kernel| {
        kernel.block();
        kernel.reset_ring(ResetMode::Busy);
        kernel.unblock();
    });
    for command in in_flight {
        assert!(command.wait().unwrap().is_busy(), "position {commands}");
    }
    // Queued while operations of the old commands still run: must not be taken before they have ended.
    let data = pattern(commands + 100, 4096);
    let next = lun.initiator.start(&cdb::write_16(64, 8), Data::Out(&data)).unwrap();
    lun.wait_until("the reset is seen", |status| status.resets == 1);
    assert!(!next.is_done());
    gate.open();
    let first = next.wait().unwrap();
    assert!(first.is_busy() || first.is_good(), "position {commands}: {:#04x}", first.status);
    good(&lun.initiator.execute_retrying(&cdb::write_16(64, 8), Data::Out(&data), 1000).unwrap());
    for _ in 0..20 {
        let read = lun.initiator.read(64, 8).unwrap();
        good(&read);
        assert!(read.data == data, "position {commands}");
    }
    assert_eq!(lun.status().resets, 1);
    if let Err(report) = lun.initiator.check() {
        // Late accesses of the old commands are the reset's doing; whatever the daemon did after it is not.
        assert!(!report.to_string().contains("unknown"), "position {commands}: {report}");
    }
}

#[test]
fn the_device_survives_a_reset_at_every_position_of_the_ring() {
    // 2,048 bytes hold 16 commands: every position, the wrap and the pad are met.
    for commands in 0..40 {
        reset_after(commands);
    }
}

#[test]
fn a_reset_of_an_idle_ring_goes_unnoticed_by_the_initiator() {
    let lun = Lun::builder().kernel(small_ring()).start().unwrap();
    for round in 0..50 {
        for _ in 0..round % 7 {
            good(&lun.initiator.test_unit_ready().unwrap());
        }
        lun.initiator.with_kernel(|kernel| {
            kernel.block();
            kernel.reset_ring(ResetMode::Check);
            kernel.unblock();
        });
        good(
            &lun.initiator
                .execute_retrying(&cdb::write_16(round, 8), Data::Out(&pattern(round, 4096)), 100)
                .unwrap(),
        );
        assert_eq!(lun.initiator.read(round, 8).unwrap().data, pattern(round, 4096));
    }
    lun.assert_clean();
}

#[test]
fn resets_under_load_corrupt_nothing() {
    let lun = Lun::builder().kernel(Options { ring_bytes: 4096, ..Options::default() }).start().unwrap();
    let workers: Vec<_> = (0..4_u64)
        .map(|worker| {
            let initiator = lun.initiator.clone();
            std::thread::spawn(move || {
                for round in 0..300_u64 {
                    let lba = worker * 4096 + round % 64 * 8;
                    let data = pattern(worker << 32 | round, 4096);
                    let write =
                        initiator.execute_retrying(&cdb::write_16(lba, 8), Data::Out(&data), 10_000).unwrap();
                    good(&write);
                    let read =
                        initiator.execute_retrying(&cdb::read_16(lba, 8), Data::In(4096), 10_000).unwrap();
                    good(&read);
                    assert!(read.data == data, "worker {worker} round {round}");
                }
            })
        })
        .collect();
    let mut resets = 0;
    while workers.iter().any(|worker| !worker.is_finished()) {
        let before = lun.status().commands;
        lun.initiator.with_kernel(|kernel| {
            kernel.block();
            kernel.reset_ring(ResetMode::Busy);
            kernel.unblock();
        });
        resets += 1;
        while lun.status().commands < before + 25 && workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::yield_now();
        }
    }
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(resets > 3);
}

fn reset(lun: &Lun) {
    lun.initiator.with_kernel(|kernel| {
        kernel.block();
        kernel.reset_ring(ResetMode::Busy);
        kernel.unblock();
    });
}

fn serves(lun: &Lun) {
    let data = pattern(4711, 4096);
    good(&lun.initiator.execute_retrying(&cdb::write_16(512, 8), Data::Out(&data), 1000).unwrap());
    assert_eq!(lun.initiator.read(512, 8).unwrap().data, data);
}

#[test]
fn a_write_whose_buffer_an_old_read_still_fills_is_not_stored() {
    let (gate, lun) = gated();
    gate.open();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    gate.close();
    let read = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, Duration::from_secs(5)));
    reset(&lun);
    assert!(read.wait().unwrap().is_busy());
    // The lowest free block is the one that the read is about to fill.
    let data = pattern(2, 4096);
    let write = lun.initiator.start(&cdb::write_16(64, 8), Data::Out(&data)).unwrap();
    gate.open();
    if write.wait().unwrap().is_good() {
        assert!(lun.initiator.read(64, 8).unwrap().data == data, "bytes of the old read were stored");
    }
    serves(&lun);
}

#[test]
fn commands_that_wait_for_names_survive_a_reset_once() {
    let lun = Lun::builder().names(0).kernel(small_ring()).start().unwrap();
    let waiting: Vec<_> =
        (0..3).map(|_| lun.initiator.start(&cdb::inquiry_page(0x80, 252), Data::In(252)).unwrap()).collect();
    lun.wait_until("the names are asked for", |_| !lun.events().is_empty());
    // All three have been taken when a command behind them has been answered.
    good(&lun.initiator.test_unit_ready().unwrap());
    reset(&lun);
    lun.device(|device| {
        device.set_identity(lunbox_device::Identity {
            serial: "7".to_owned(),
            ..lunbox_device::Identity::default()
        })
    });
    for command in waiting {
        assert!(command.wait().unwrap().is_busy());
    }
    serves(&lun);
}

#[test]
fn a_reset_ends_although_a_flush_was_answered_early_and_waits_for_the_handler() {
    use lunbox_test_hostile as hostile;
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let handler = lunbox_behaviour::wasm("lunbox-test-hostile");
    let lun = Lun::builder().handler(handler).size(SIZE).store(store).start().unwrap();
    let trigger = |k| cdb::read_16(hostile::trigger_offset(SIZE, k).unwrap() / 512, 8);
    let listed = lun.initiator.start(&trigger(hostile::TRIGGER_RESUME), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, Duration::from_secs(5)));
    assert!(lun.initiator.execute(&trigger(hostile::TRIGGER_TRAP), Data::In(4096)).unwrap().is_busy());
    let mut flush = cdb::synchronize_cache_10(0, 0);
    flush[1] |= 0x02;
    good(&lun.initiator.execute(&flush, Data::None).unwrap());
    reset(&lun);
    assert!(listed.wait().unwrap().is_busy());
    gate.open();
    serves(&lun);
    lun.stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_resize_and_a_reset_wait_for_the_same_operation_and_both_happen() {
    let (gate, lun) = gated();
    let read = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
    assert!(gate.wait_for_waiters(1, Duration::from_secs(5)));
    std::thread::scope(|scope| {
        let resized = scope.spawn(|| {
            lun.device(|device| device.resize(lunbox_scsi::Bytes(SIZE / 2), Duration::from_secs(5)))
        });
        reset(&lun);
        assert!(read.wait().unwrap().is_busy());
        let next = lun.initiator.start(&cdb::read_16(0, 8), Data::In(4096)).unwrap();
        gate.open();
        assert_eq!(resized.join().unwrap(), Ok(()));
        let next = next.wait().unwrap();
        assert!(!next.is_good(), "BUSY after the reset, or told of the new size: {:#04x}", next.status);
    });
    let again = || lun.initiator.execute_retrying(&cdb::read_16(0, 8), Data::In(4096), 1000).unwrap();
    assert!(again().is_good() || again().is_good(), "at most one unit attention");
}
