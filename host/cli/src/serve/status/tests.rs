use proptest::prelude::*;

use super::*;

fn device(faults: u64) -> DeviceStatus {
    DeviceStatus {
        health: Health::Serving,
        commands: 0,
        failures: 0,
        busy: 0,
        bytes_read: 0,
        bytes_written: 0,
        faults,
        instances: 1,
        resets: 0,
        aborts: 0,
        syscalls: 0,
        bad_plans: 0,
        cpu_ns: 5,
        timeouts: 0,
        lun_resets: 0,
        aborting: 0,
        in_flight: 0,
        write_cache: true,
        size: 1 << 20,
    }
}

/// `reads` reads of 4 KiB, each of which took 2^17 ns.
fn sample(seconds: u64, reads: u64, faults: u64) -> Sample {
    let mut lun =
        LunStatus { reads, bytes_read: reads * 4096, latency_ns_sum: reads << 17, ..LunStatus::default() };
    lun.latency[17] = reads;
    let server = ServerStatus { connections: 1, sessions: 1, logins_failed: 0, luns: vec![lun] };
    Sample { at: Duration::from_secs(seconds), server, devices: vec![device(faults)] }
}

#[test]
fn rates_are_for_a_second_and_between_two_looks() {
    let rates = Rates::between(&sample(10, 1000, 0), &sample(12, 25_000, 1));
    let lun = &rates.luns[0];
    assert_eq!((lun.iops, lun.read_bytes, lun.write_bytes), (12_000, 12_000 * 4096, 0));
    assert_eq!((lun.latency_mean_ns, lun.faults, rates.milliseconds), (1 << 17, 1, 2000));
    assert!((1 << 17..1 << 18).contains(&lun.latency_p99_ns), "{lun:?}");
    let line = rates.line();
    for part in ["1 session ", "12,000 IOPS", "49.1 MB/s", "mean 131 µs", "1 trap"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("error") && !line.contains("LUN"), "{line}");
}

#[test]
fn nothing_happens_without_dividing_by_nothing() {
    let rates = Rates::between(&sample(3, 7, 0), &sample(3, 7, 0));
    assert_eq!((rates.luns[0].iops, rates.luns[0].latency_mean_ns, rates.luns[0].latency_p99_ns), (0, 0, 0));
    let line = rates.line();
    assert!(line.contains(" 0 IOPS") && !line.contains("p99"), "{line}");
}

#[test]
fn several_luns_are_told_apart() {
    let mut after = sample(1, 2000, 0);
    after.server.luns.push(LunStatus { writes: 30, errors: 2, ..LunStatus::default() });
    after.devices.push(DeviceStatus { health: Health::Recovering, ..device(0) });
    let mut before = sample(0, 0, 0);
    before.server.luns.push(LunStatus::default());
    before.devices.push(device(0));
    let line = Rates::between(&before, &after).line();
    for part in ["2,030 IOPS", "2 errors", "LUN 1 recovering", "IOPS of LUN 0: 2,000, 1: 30"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn totals_count_from_the_start() {
    let totals = Totals::of(&sample(10, 50_000, 3));
    let lun = &totals.luns[0];
    assert_eq!((lun.reads, lun.iops, lun.faults, lun.device_cpu_ns), (50_000, 5_000, 3, 5));
    assert!(lun.line().starts_with("LUN 0: 50,000 reads (204.8 MB), 0 writes (0.0 MB)"), "{}", lun.line());
}

#[test]
fn the_shape_of_json() {
    let rates = Rates::between(&sample(0, 0, 0), &sample(1, 5, 0));
    let json = serde_json::to_value(StatusLine { status: &rates }).unwrap();
    assert_eq!(json["status"]["luns"][0]["iops"], 5);
    assert_eq!(json["status"]["luns"][0]["health"], "serving");
    let json = serde_json::to_value(TotalsLine { totals: &Totals::of(&sample(1, 5, 0)) }).unwrap();
    assert_eq!(json["totals"]["luns"][0]["reads"], 5);
}

#[test]
fn numbers_are_readable() {
    let grouped_cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
    assert!(grouped_cases.iter().all(|(number, text)| grouped(*number) == *text));
    let durations = [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.5 µs"),
        (85_000, "85 µs"),
        (2_000_000, "2.0 ms"),
        (12 << 30, "12 s"),
    ];
    assert!(durations.iter().all(|(number, text)| duration(*number) == *text));
    assert_eq!(megabytes(1_250_000), "1.2");
}

proptest! {
    #[test]
    fn a_percentile_lies_in_the_bucket_of_its_rank(times in prop::collection::vec(1u64..1 << 35, 1..200), percent in 1u64..=100) {
        let mut counts = [0; LATENCY_BUCKETS];
        for time in &times {
            counts[time.ilog2() as usize] += 1;
        }
        let mut sorted = times;
        sorted.sort_unstable();
        let rank = (sorted.len() * usize::try_from(percent).unwrap()).div_ceil(100);
        let exact = sorted[rank - 1];
        prop_assert_eq!(percentile(&counts, percent).ilog2(), exact.ilog2());
    }
}
