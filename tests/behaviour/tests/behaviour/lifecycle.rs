//! Starting, refusing to start, stopping; and nothing left behind.

use std::time::Duration;

use lunbox_behaviour::{Lun, native_file, wasm};
use lunbox_device::StartError;
use lunbox_scsi::BlockSize;
use lunbox_store::Store;

use crate::{good, pattern};

fn refusal(lun: anyhow::Result<Lun>) -> StartError {
    match lun {
        Ok(_) => panic!("it started"),
        Err(error) => error.downcast().unwrap(),
    }
}

#[test]
fn wrong_sizes_are_refused_with_the_numbers() {
    for (size, names) in [(0, "0"), (1000, "1000"), (512 * 3 + 1, "1537")] {
        let store = Store::memory(1 << 20).unwrap();
        let error = refusal(Lun::builder().size(size).store(store).start());
        assert!(error.to_string().contains(names), "{error}");
    }
    assert!(BlockSize::new(1000).unwrap_err().to_string().contains("1000"));
    assert!(BlockSize::new(256).is_err() && BlockSize::new(0).is_err());
}

#[test]
fn a_stop_serves_what_is_in_the_ring_and_its_own_flush_touches_no_buffer() {
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    lun.stop(Duration::from_secs(5)).unwrap();
    lun.assert_clean();
}

/// The question for their space was one to nobody, and never ended.
#[test]
fn a_lun_without_stores_stops() {
    let lun = Lun::builder().handler(wasm("lunbox-example-null")).without_stores().start().unwrap();
    good(&lun.initiator.test_unit_ready().unwrap());
    lun.stop(Duration::from_secs(5)).unwrap();
    lun.assert_clean();
}

/// File descriptors, threads and resident memory (KiB) of this process.
fn footprint() -> (usize, usize, u64) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"), resident)
}

/// Runs in a process of its own: other tests of this binary open and close descriptors, too.
#[test]
fn ten_thousand_creates_and_deletes_leave_nothing_behind() {
    if std::env::var_os("LUNBOX_LEAK_TEST").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lifecycle::ten_thousand_creates_and_deletes_leave_nothing_behind",
                "--nocapture",
            ])
            .env("LUNBOX_LEAK_TEST", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let cycle = |round: usize| {
        let handler = if round.is_multiple_of(2) { wasm("lunbox-handler-file") } else { native_file() };
        let lun = Lun::builder().handler(handler).size(1 << 20).start().unwrap();
        if round.is_multiple_of(16) {
            good(&lun.initiator.write(0, &pattern(1, 512)).unwrap());
        }
        lun.stop(Duration::from_secs(5)).unwrap();
    };
    for round in 0..500 {
        cycle(round);
    }
    let before = footprint();
    for round in 0..10_000 {
        cycle(round);
    }
    let after = footprint();
    assert_eq!((after.0, after.1), (before.0, before.1), "descriptors, threads");
    assert!(after.2 < before.2 + 8 * 1024, "resident memory grew from {} to {} KiB", before.2, after.2);
}
