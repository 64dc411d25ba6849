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
