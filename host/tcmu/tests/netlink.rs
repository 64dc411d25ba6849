//! The fuzzer's harness for netlink events with random bytes, so that it runs where no fuzzer does.

#[path = "../../../tests/fuzz/src/netlink.rs"]
mod harness;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn hostile_events_are_read_or_refused() {
    let read = AtomicUsize::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(20_000));
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let ran = runner.run(&bytes, |bytes| {
        read.fetch_add(harness::drive(&bytes), Ordering::Relaxed);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let read = read.into_inner();
    assert!(read > 5_000, "the harness reaches the inside: {read} events");
}
