//! What happened between two looks.

use std::collections::BTreeMap;

use lunbox_control::{DeviceHealth, DeviceStatistics, HistogramReport, StatisticsReport};
use serde::Serialize;

/// What a device did between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    pub(super) device: String,
    pub(super) health: DeviceHealth,
    pub(super) iops: u64,
    pub(super) read_bytes_per_s: u64,
    pub(super) write_bytes_per_s: u64,
    pub(super) queue: Latency,
    pub(super) service: Latency,
    /// At this moment.
    pub(super) in_flight: u64,
    /// Commands that ended with something other than GOOD.
    pub(super) errors: u64,
    /// Of one CPU, in thousandths.
    pub(super) cpu_permille: u64,
}

/// How long commands took; nothing if none was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) mean_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
}

/// The rates of all devices that are there now. One that was not there before did all that it ever did in between.
pub(super) fn between(before: &StatisticsReport, now: &StatisticsReport) -> Vec<Rates> {
    let ms = now.at.saturating_sub(before.at).max(1);
    let known: BTreeMap<(&str, u32), &DeviceStatistics> =
        before.devices.iter().map(|device| ((device.name.as_str(), device.minor), device)).collect();
    let nothing = DeviceStatistics::default();
    let rates = |device: &DeviceStatistics| {
        let earlier = known.get(&(device.name.as_str(), device.minor)).copied().unwrap_or(&nothing);
        of(earlier, device, ms)
    };
    now.devices.iter().map(rates).collect()
}

fn of(before: &DeviceStatistics, now: &DeviceStatistics, ms: u64) -> Rates {
    let (earlier, counters) = (&before.counters, &now.counters);
    // A loop that was started anew counts from nothing.
    let grown = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    let rate = |before: u64, now: u64| {
        let per_second = u128::from(grown(before, now)) * 1000 / u128::from(ms);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    };
    let cpu = u128::from(grown(earlier.cpu_ns, counters.cpu_ns)) / (u128::from(ms) * 1000);
    Rates {
        device: now.name.clone(),
        health: now.health,
        iops: rate(earlier.commands, counters.commands),
        read_bytes_per_s: rate(earlier.bytes_read, counters.bytes_read),
        write_bytes_per_s: rate(earlier.bytes_written, counters.bytes_written),
        queue: latency(all(before, |class| &class.queue), all(now, |class| &class.queue)),
        service: latency(all(before, |class| &class.service), all(now, |class| &class.service)),
        in_flight: counters.in_flight,
        errors: grown(earlier.failures, counters.failures),
        cpu_permille: u64::try_from(cpu).unwrap_or(u64::MAX),
    }
}

fn all(
    device: &DeviceStatistics,
    of: impl Fn(&lunbox_control::ClassReport) -> &HistogramReport,
) -> HistogramReport {
    let classes = [&device.read, &device.write, &device.flush, &device.other];
    classes.into_iter().fold(HistogramReport::default(), |sum, class| sum.plus(of(class)))
}

fn latency(before: HistogramReport, now: HistogramReport) -> Latency {
    let grown = now.since(&before);
    Latency { mean_ns: grown.mean_ns(), p99_ns: grown.percentile_ns(99) }
}

#[cfg(test)]
mod tests {
    use lunbox_control::{ClassReport, CountersReport};

    use super::*;

    fn device(commands: u64, buckets: &[u64], sum_ns: u64) -> DeviceStatistics {
        let service = HistogramReport { sum_ns, buckets: buckets.to_vec() };
        DeviceStatistics {
            name: "user_0/disk".to_owned(),
            counters: CountersReport {
                commands,
                failures: commands / 100,
                bytes_read: commands * 4096,
                cpu_ns: commands * 1000,
                in_flight: 5,
                ..CountersReport::default()
            },
            read: ClassReport { service, ..ClassReport::default() },
            ..DeviceStatistics::default()
        }
    }

    fn report(at: u64, devices: Vec<DeviceStatistics>) -> StatisticsReport {
        StatisticsReport { at, devices, ..StatisticsReport::default() }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let before = report(10_000, vec![device(1000, &[0, 1000], 2_000_000)]);
        let now = report(12_000, vec![device(21_000, &[0, 1000, 20_000], 82_000_000)]);
        let rates = between(&before, &now).remove(0);
        assert_eq!((rates.iops, rates.read_bytes_per_s, rates.errors), (10_000, 40_960_000, 200));
        assert_eq!(rates.service, Latency { mean_ns: Some(4000), p99_ns: Some(4000) });
        assert_eq!(rates.queue, Latency::default(), "nothing was measured");
        assert_eq!((rates.cpu_permille, rates.in_flight), (10, 5), "20 ms of 2 s");
    }

    #[test]
    fn what_began_anew_is_not_negative() {
        let before = report(10_000, vec![device(1000, &[0, 1000], 2_000_000)]);
        let now = report(11_000, vec![device(10, &[10], 5000)]);
        let rates = between(&before, &now).remove(0);
        assert_eq!((rates.iops, rates.service.p99_ns), (10, Some(1000)));
        assert_eq!(
            between(&report(1000, Vec::new()), &now)[0].iops,
            1,
            "over ten seconds, all that there is"
        );
        assert!(between(&before, &report(11_000, Vec::new())).is_empty());
        // A clock that went back divides by nothing.
        assert_eq!(between(&now, &before).len(), 1);
    }
}
