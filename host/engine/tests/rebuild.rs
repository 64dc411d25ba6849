//! Instances come and go for ever: nothing is left behind.
//!
//! The only test of its process: it counts what the process has.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::time::Duration;

use lunbox_engine::{Component, Fault, Limits};
use lunbox_test_hostile as hostile;
use support::{SIZE, engine, guests, read, serving};

const ROUNDS: u32 = 10_000;
/// Rounds until everything that is allocated once has been.
const WARM_UP: u32 = 500;
/// Resident memory may grow by this much: an instance that stayed would show its stack and data pages, 64 KiB at
/// least, and ten thousand of them 640 MiB.
const SLACK_KIB: u64 = 16 << 10;

#[test]
fn ten_thousand_instances_that_trapped_leave_nothing() {
    let engine = engine();
    let component = engine.load(&guests::hostile()).unwrap();
    for _ in 0..WARM_UP {
        live_and_trap(&component);
    }
    let before = Owned::now();
    for _ in 0..ROUNDS {
        live_and_trap(&component);
    }
    let after = Owned::now();
    assert_eq!((before.descriptors, before.threads), (after.descriptors, after.threads));
    assert!(after.mappings <= before.mappings + 16, "{before:?} {after:?}");
    assert!(after.resident_kib <= before.resident_kib + SLACK_KIB, "{before:?} {after:?}");

    drop((component, engine));
    assert_eq!(Owned::now().threads, before.threads - 1, "the ticker ends with its engine");
}

fn live_and_trap(component: &Component) {
    let mut handler =
        serving(component, &Limits { cpu_per_call: Duration::from_secs(1), ..Limits::default() });
    handler.submit_block(&read(1, 0)).unwrap();
    let offset = hostile::trigger_offset(SIZE, hostile::TRIGGER_TRAP).unwrap();
    assert!(matches!(handler.submit_block(&read(2, offset)), Err(Fault::Trap { .. })));
}

/// What the process has.
#[derive(Debug)]
struct Owned {
    resident_kib: u64,
    threads: u64,
    descriptors: usize,
    mappings: usize,
}

impl Owned {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self {
            resident_kib: field("VmRSS:"),
            threads: field("Threads:"),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            mappings: std::fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        }
    }
}
