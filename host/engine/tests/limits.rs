//! Guests that misbehave lose their instance; nobody else notices.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunbox_contract::{OpsResult, Outcome, Tag};
use lunbox_engine::{Component, Fault, Handler, HandlerFactory as _, Limits};
use lunbox_test_hostile as hostile;
use nix::time::{ClockId, clock_gettime};
use support::captured_log::capture;
use support::{SIZE, assert_ended, engine, fresh_buffers, guests, read, serving};

fn component() -> Component {
    engine().load(&guests::hostile()).unwrap()
}

fn trigger(handler: &mut dyn Handler, trigger: u64) -> Result<Outcome, Fault> {
    handler.submit_block(&read(trigger, hostile::trigger_offset(SIZE, trigger).unwrap()))
}

/// A limit of the tests: 20 ms of CPU.
fn short() -> Limits {
    Limits { cpu_per_call: Duration::from_millis(20), ..Limits::default() }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn a_trap_ends_the_instance_and_says_where() {
    let mut handler = serving(&component(), &short());
    let Err(Fault::Trap { message }) = trigger(handler.as_mut(), hostile::TRIGGER_TRAP) else {
        panic!("no trap")
    };
    assert!(message.contains("unreachable") && message.contains(" in "), "{message}");
    assert_ended(handler.as_mut());
}

#[test]
fn an_endless_loop_ends_with_its_budget() {
    let component = component();
    for bad in [hostile::TRIGGER_LOOP, hostile::TRIGGER_LOOP_IN_RESUME, hostile::TRIGGER_LOOP_IN_CANCEL] {
        let mut handler = serving(&component, &short());
        let start = cpu_time();
        let answer = match trigger(handler.as_mut(), bad) {
            Ok(Outcome::More(_)) if bad == hostile::TRIGGER_LOOP_IN_CANCEL => handler.cancel(Tag(bad)).err(),
            Ok(Outcome::More(_)) => handler.resume(Tag(bad), &OpsResult::default()).err(),
            other => other.err(),
        };
        let spent_in_all = cpu_time() - start;
        let Some(Fault::Deadline { spent, budget }) = answer else { panic!("{bad}: {answer:?}") };
        assert_eq!(budget, Duration::from_millis(20));
        assert!(spent > budget && spent <= spent_in_all);
        // Budget and two ticks are 24 ms; the rest is for a machine whose ticker waits for a CPU.
        assert!(spent_in_all < Duration::from_millis(500), "{spent_in_all:?}");
        assert_ended(handler.as_mut());
    }
}

#[test]
fn neighbours_go_on_during_an_endless_loop() {
    let (bad, good) = (component(), engine().load(&guests::file()).unwrap());
    let looping = AtomicBool::new(true);
    let calls = std::thread::scope(|scope| {
        scope.spawn(|| {
            let limits = Limits { cpu_per_call: Duration::from_millis(200), ..Limits::default() };
            let mut handler = serving(&bad, &limits);
            let answer = trigger(handler.as_mut(), hostile::TRIGGER_LOOP);
            looping.store(false, Ordering::Release);
            assert!(matches!(answer, Err(Fault::Deadline { .. })));
        });
        let mut handler = serving(&good, &Limits::default());
        let mut calls = 0_u32;
        while looping.load(Ordering::Acquire) {
            assert!(matches!(handler.submit_block(&read(u64::from(calls), 0)), Ok(Outcome::Io(_))));
            calls += 1;
        }
        calls
    });
    // 200 ms are hundreds of thousands of calls on an idle machine.
    assert!(calls > 1000, "{calls} calls while another guest was looping");
}

#[test]
fn honest_guests_survive_any_number_of_ticks() {
    // The budget is shorter than the time that these calls take together: it counts for each call.
    let limits = Limits { cpu_per_call: Duration::from_millis(1), ..Limits::default() };
    let mut handler = serving(&component(), &limits);
    let start = cpu_time();
    let mut tag = 0;
    while cpu_time() - start < Duration::from_millis(100) {
        assert!(matches!(handler.submit_block(&read(tag, 0)), Ok(Outcome::Io(_))));
        tag += 1;
    }
}

#[test]
fn a_memory_bomb_is_told_as_such() {
    // Touching 64 MiB takes a while.
    let limits = Limits { cpu_per_call: Duration::from_secs(10), ..Limits::default() };
    let mut handler = serving(&component(), &limits);
    let answer = trigger(handler.as_mut(), hostile::TRIGGER_MEMORY);
    let Err(Fault::Memory { limit, field, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((limit, field), (64 << 20, "memory_bytes"));
    assert_ended(handler.as_mut());
}

#[test]
fn an_exhausted_stack_is_a_trap() {
    let mut handler = serving(&component(), &Limits::default());
    let answer = trigger(handler.as_mut(), hostile::TRIGGER_RECURSION);
    let Err(Fault::Trap { message }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("call stack exhausted"), "{message}");
    assert_ended(handler.as_mut());
}

#[test]
fn what_a_guest_needs_to_start_counts() {
    let component = component();
    let started =
        |limits: Limits| component.instantiate("disk1", fresh_buffers(), &limits).map(|_| ()).unwrap_err();
    let fault = started(Limits { memory_bytes: 1 << 16, ..short() });
    assert!(matches!(fault, Fault::Memory { field: "memory_bytes", limit: 0x1_0000, .. }), "{fault:?}");
    let fault = started(Limits { table_elements: 1, ..short() });
    assert!(matches!(fault, Fault::Memory { field: "table_elements", limit: 1, .. }), "{fault:?}");
    let fault = started(Limits { instances: 1, ..short() });
    assert!(matches!(fault, Fault::Memory { field: "instances", limit: 1, .. }), "{fault:?}");
}

#[test]
fn traps_in_resume_and_cancel_end_the_instance_too() {
    let component = component();
    let mut handler = serving(&component, &short());
    assert!(matches!(trigger(handler.as_mut(), hostile::TRIGGER_TRAP_IN_RESUME), Ok(Outcome::More(_))));
    let answer = handler.resume(Tag(hostile::TRIGGER_TRAP_IN_RESUME), &OpsResult::default());
    assert!(matches!(answer, Err(Fault::Trap { .. })));
    assert_ended(handler.as_mut());

    let mut handler = serving(&component, &short());
    assert!(matches!(trigger(handler.as_mut(), hostile::TRIGGER_TRAP_IN_CANCEL), Ok(Outcome::More(_))));
    assert!(matches!(handler.cancel(Tag(hostile::TRIGGER_TRAP_IN_CANCEL)), Err(Fault::Trap { .. })));
    assert_ended(handler.as_mut());
}

#[test]
fn lists_and_answers_that_the_contract_forbids_end_the_instance() {
    let component = component();
    for bad in [hostile::TRIGGER_TOO_MANY_OPS, hostile::TRIGGER_EMPTY_LIST, hostile::TRIGGER_NOT_HANDLED] {
        let mut handler = serving(&component, &short());
        assert!(matches!(trigger(handler.as_mut(), bad), Err(Fault::Contract(_))), "{bad}");
        assert_ended(handler.as_mut());
    }
}

#[test]
fn a_log_flood_is_cut_and_counted() {
    let component = component();
    let lines = capture(|| {
        let mut handler =
            serving(&component, &Limits { log_lines_per_second: 1, log_burst: 7, ..Limits::default() });
        assert!(matches!(trigger(handler.as_mut(), hostile::TRIGGER_LOG_FLOOD), Ok(Outcome::Io(_))));
    });
    assert!(
        lines.iter().all(|(level, text)| *level == tracing::Level::WARN && text.contains("disk1")),
        "{lines:?}"
    );
    let (reports, passed): (Vec<_>, Vec<_>) = lines.iter().partition(|(_, text)| text.contains("suppressed"));
    assert_eq!(passed[0].1, "line 0 of a flood device=\"disk1\"");
    // One line per second passes on top of the burst, however slow the machine.
    assert!((7..100).contains(&passed.len()), "{}", passed.len());
    let suppressed: u64 = reports
        .iter()
        .map(|(_, text)| {
            text.split_once("suppressed=").unwrap().1.split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(suppressed + u64::try_from(passed.len()).unwrap(), u64::from(hostile::LOG_FLOOD_LINES));
}
