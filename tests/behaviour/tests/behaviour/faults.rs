//! Handlers that misbehave: their LUN answers, the process lives, neighbours go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunbox_behaviour::{Lun, wasm};
use lunbox_device::Event;
use lunbox_emulator::Data;
use lunbox_emulator::initiator::{Response, cdb};
use lunbox_engine::Limits;
use lunbox_test_hostile as hostile;
use lunbox_test_wasi as wasi;

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;

fn lun() -> Lun {
    let limits =
        Limits { memory_bytes: 8 << 20, cpu_per_call: Duration::from_millis(10), ..Limits::default() };
    Lun::builder().handler(wasm("lunbox-test-hostile")).size(SIZE).limits(limits).start().unwrap()
}

fn provoke(lun: &Lun, k: u64) -> Response {
    let cdb = cdb::read_16(hostile::trigger_offset(SIZE, k).unwrap() / 512, 8);
    lun.initiator.execute(&cdb, Data::In(4096)).unwrap()
}

#[test]
fn each_way_to_fail_is_answered_busy_and_the_lun_serves_again() {
    for k in [
        hostile::TRIGGER_LOOP,
        hostile::TRIGGER_TRAP,
        hostile::TRIGGER_MEMORY,
        hostile::TRIGGER_TOO_MANY_OPS,
        hostile::TRIGGER_TRAP_IN_RESUME,
        hostile::TRIGGER_LOOP_IN_RESUME,
        hostile::TRIGGER_NOT_HANDLED,
        hostile::TRIGGER_RECURSION,
        hostile::TRIGGER_EMPTY_LIST,
    ] {
        let lun = lun();
        good(&lun.initiator.write(0, &pattern(k, 4096)).unwrap());
        let answer = provoke(&lun, k);
        assert!(answer.is_busy(), "trigger {k}: status {:#04x} {:?}", answer.status, answer.sense);
        let read = lun.initiator.read(0, 8).unwrap();
        good(&read);
        assert_eq!(read.data, pattern(k, 4096), "trigger {k}");
        let status = lun.status();
        assert_eq!((status.faults, status.instances), (1, 2), "trigger {k}");
        lun.wait_until("the supervisor hears of it", |_| {
            matches!(lun.events().first(), Some(Event::HandlerFailed(_)))
        });
        lun.assert_clean();
    }
}

#[test]
fn a_call_that_waits_longer_than_it_may_is_answered_busy_and_the_lun_serves_again() {
    const WALL: Duration = Duration::from_millis(200);
    for k in [wasi::TRIGGER_SLEEP, wasi::TRIGGER_POLL, wasi::TRIGGER_SLEEP_IN_RESUME] {
        let limits = Limits { wall_per_call: WALL, ..Limits::default() };
        let lun = Lun::builder().handler(wasm("lunbox-test-wasi")).size(SIZE).limits(limits).start().unwrap();
        good(&lun.initiator.write(0, &pattern(k, 4096)).unwrap());
        let begin = Instant::now();
        let cdb = cdb::read_16(wasi::trigger_offset(SIZE, k).unwrap() / 512, 8);
        let answer = lun.initiator.execute(&cdb, Data::In(4096)).unwrap();
        assert!(answer.is_busy(), "trigger {k}: status {:#04x} {:?}", answer.status, answer.sense);
        assert!(begin.elapsed() >= WALL, "trigger {k}: it may wait for so long");
        let read = lun.initiator.read(0, 8).unwrap();
        good(&read);
        assert_eq!(read.data, pattern(k, 4096), "trigger {k}");
        let status = lun.status();
        assert_eq!((status.faults, status.instances), (1, 2), "trigger {k}");
        lun.wait_until("the supervisor hears why", |_| {
            let events = lun.events();
            matches!(events.first(), Some(Event::HandlerFailed(why)) if why.contains("wall_per_call"))
        });
        // The new instance may wait, too, as long as it does not overdo it.
        let nap = cdb::read_16(wasi::trigger_offset(SIZE, wasi::TRIGGER_NAP).unwrap() / 512, 8);
        good(&lun.initiator.execute(&nap, Data::In(4096)).unwrap());
        lun.assert_clean();
    }
}

#[test]
fn an_impossible_operation_ends_its_command_and_nothing_else() {
    for k in [hostile::TRIGGER_UNKNOWN_STORE, hostile::TRIGGER_BUFFER_RANGE, hostile::TRIGGER_RANGE_OVERFLOW]
    {
        let lun = lun();
        sense(&provoke(&lun, k), (4, 0x44, 0));
        good(&lun.initiator.read(0, 8).unwrap());
        assert_eq!(lun.status().faults, 0, "trigger {k}");
        lun.assert_clean();
    }
}

#[test]
fn forbidden_buffer_calls_get_errors_and_log_floods_are_survived() {
    let lun = lun();
    good(&provoke(&lun, hostile::TRIGGER_BAD_BUFFER_CALLS));
    good(&provoke(&lun, hostile::TRIGGER_LOG_FLOOD));
    assert_eq!(lun.status().faults, 0);
}

#[test]
fn resume_and_scratch_buffers_bring_the_right_bytes() {
    let lun = lun();
    for k in [hostile::TRIGGER_RESUME, hostile::TRIGGER_SCRATCH] {
        let lba = hostile::trigger_offset(SIZE, k).unwrap() / 512;
        good(&lun.initiator.write(lba, &pattern(k, 4096)).unwrap());
        let answer = provoke(&lun, k);
        good(&answer);
        assert_eq!(answer.data, pattern(k, 4096), "trigger {k}");
    }
    lun.assert_clean();
}

#[test]
fn commands_that_were_planned_together_with_a_failing_one_are_served_when_repeated() {
    let lun = lun();
    let trap = cdb::read_16(hostile::trigger_offset(SIZE, hostile::TRIGGER_TRAP).unwrap() / 512, 8);
    let reads: Vec<[u8; 16]> = (0..20).map(|place| cdb::read_16(place * 8, 8)).collect();
    for place in 0..20 {
        good(&lun.initiator.write(place * 8, &pattern(place, 4096)).unwrap());
    }
    let mut together: Vec<(&[u8], Data<'_>)> = reads.iter().map(|cdb| (&cdb[..], Data::In(4096))).collect();
    together.insert(7, (&trap, Data::In(4096)));
    let mut pending = Vec::new();
    lun.initiator.start_all(&together, &mut pending).unwrap();
    for command in pending {
        let answer = command.wait().unwrap();
        assert!(answer.is_good() || answer.is_busy(), "status {:#04x}", answer.status);
    }
    // Now one by one: whoever does nothing wrong is served although the culprit comes again with them.
    let mut pending = Vec::new();
    lun.initiator.start_all(&together, &mut pending).unwrap();
    let busy: Vec<bool> = pending.into_iter().map(|command| command.wait().unwrap().is_busy()).collect();
    assert_eq!(busy.iter().filter(|busy| **busy).count(), 1, "{busy:?}");
    assert!(busy[7]);
    for place in 0..20 {
        assert_eq!(lun.initiator.read(place * 8, 8).unwrap().data, pattern(place, 4096));
    }
    assert_eq!(lun.status().faults, 2);
    lun.assert_clean();
}

#[test]
fn a_neighbour_goes_on_while_a_handler_loops() {
    let (bad, neighbour) = (lun(), lun());
    let stop = Arc::new(AtomicBool::new(false));
    let looping = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) {
                assert!(provoke(&bad, hostile::TRIGGER_LOOP).is_busy());
                answers += 1;
            }
            (answers, bad.status())
        })
    };
    for round in 0..500 {
        let lba = round * 8 % 4096;
        good(&neighbour.initiator.write(lba, &pattern(round, 4096)).unwrap());
        assert_eq!(neighbour.initiator.read(lba, 8).unwrap().data, pattern(round, 4096));
    }
    stop.store(true, Ordering::Relaxed);
    let (answers, status) = looping.join().unwrap();
    assert!(answers > 0 && status.faults > 0);
    assert_eq!(neighbour.status().faults, 0);
    neighbour.assert_clean();
}

#[test]
fn a_handler_that_fails_again_and_again_is_given_pauses() {
    let lun = lun();
    for _ in 0..12 {
        assert!(provoke(&lun, hostile::TRIGGER_TRAP).is_busy());
    }
    let status = lun.status();
    assert!(
        status.faults < 12 && status.busy > status.faults,
        "commands are refused in the pauses: {status:?}"
    );
    let retried = lun.initiator.execute_retrying(&cdb::read_16(0, 8), Data::In(4096), 10_000).unwrap();
    good(&retried);
}
