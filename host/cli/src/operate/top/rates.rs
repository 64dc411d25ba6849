//! What happened between two looks.

use std::collections::{BTreeMap, BTreeSet};

use lunbox_control::{DeviceHealth, DeviceStatistics, HistogramReport, StatisticsReport};
use serde::Serialize;

/// How long a device that is missing is remembered, in milliseconds.
const REMEMBERED_MS: u64 = 60_000;

/// Behind it stands, in the name of a worker that has one device for itself, which one.
const OWN_WORKER: char = '.';

/// What a device did between two looks; nothing of what is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    pub(super) device: String,
    pub(super) health: DeviceHealth,
    pub(super) iops: Option<u64>,
    pub(super) read_bytes_per_s: Option<u64>,
    pub(super) write_bytes_per_s: Option<u64>,
    pub(super) queue: Latency,
    pub(super) service: Latency,
    /// At this moment.
    pub(super) in_flight: u64,
    /// Commands that ended with something other than GOOD.
    pub(super) errors: Option<u64>,
    /// Of one CPU, in thousandths.
    pub(super) cpu_permille: Option<u64>,
}

/// How long commands took; nothing if none was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) mean_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
}

/// What was seen before. A device may be missing for a while: its worker did not answer, or the daemon was restarted
/// and has not found it again.
pub(super) struct History {
    devices: BTreeMap<(String, u32), Seen>,
    /// The last look.
    at: u64,
    pid: i32,
    unanswered: BTreeSet<String>,
}

struct Seen {
    at: u64,
    statistics: DeviceStatistics,
}

impl History {
    /// From this look on.
    pub(super) fn new(first: &StatisticsReport) -> Self {
        let mut history =
            Self { devices: BTreeMap::new(), at: first.at, pid: first.pid, unanswered: BTreeSet::new() };
        history.remember(first);
        history
    }

    /// The rates of all devices that are there now, each since it was seen last.
    pub(super) fn rates(&mut self, now: &StatisticsReport) -> Vec<Rates> {
        let nothing = DeviceStatistics::default();
        let rates = |device: &DeviceStatistics| {
            let earlier = match self.devices.get(&(device.name.clone(), device.minor)) {
                Some(seen) => Some((&seen.statistics, seen.at)),
                // It was there, and what it did before is not known.
                None if self.pid != now.pid || self.unanswered.contains(&device.tenant) => None,
                // It did all that it ever did in between.
                None => Some((&nothing, self.at)),
            };
            // A clock may be set back.
            let earlier = earlier.filter(|(_, at)| *at < now.at);
            earlier.map_or_else(|| unknown(device), |(earlier, at)| of(earlier, device, now.at - at))
        };
        let rates = now.devices.iter().map(rates).collect();
        self.remember(now);
        rates
    }

    fn remember(&mut self, now: &StatisticsReport) {
        for device in &now.devices {
            let seen = Seen { at: now.at, statistics: device.clone() };
            self.devices.insert((device.name.clone(), device.minor), seen);
        }
        self.devices.retain(|_, seen| seen.at.abs_diff(now.at) <= REMEMBERED_MS);
        (self.at, self.pid) = (now.at, now.pid);
        let tenant = |worker: &String| worker.split(OWN_WORKER).next().unwrap_or(worker).to_owned();
        self.unanswered = now.unanswered.iter().map(tenant).collect();
    }
}

fn unknown(now: &DeviceStatistics) -> Rates {
    Rates {
        device: now.name.clone(),
        health: now.health,
        iops: None,
        read_bytes_per_s: None,
        write_bytes_per_s: None,
        queue: Latency::default(),
        service: Latency::default(),
        in_flight: now.counters.in_flight,
        errors: None,
        cpu_permille: None,
    }
}

/// `ms` is not 0.
fn of(before: &DeviceStatistics, now: &DeviceStatistics, ms: u64) -> Rates {
    let (earlier, counters) = (&before.counters, &now.counters);
    // A loop that was started anew counts from nothing.
    let grown = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    let rate = |before: u64, now: u64| {
        let per_second = u128::from(grown(before, now)) * 1000 / u128::from(ms);
        Some(u64::try_from(per_second).unwrap_or(u64::MAX))
    };
    let cpu = u128::from(grown(earlier.cpu_ns, counters.cpu_ns)) / (u128::from(ms) * 1000);
    Rates {
        iops: rate(earlier.commands, counters.commands),
        read_bytes_per_s: rate(earlier.bytes_read, counters.bytes_read),
        write_bytes_per_s: rate(earlier.bytes_written, counters.bytes_written),
        queue: latency(all(before, |class| &class.queue), all(now, |class| &class.queue)),
        service: latency(all(before, |class| &class.service), all(now, |class| &class.service)),
        errors: Some(grown(earlier.failures, counters.failures)),
        cpu_permille: Some(u64::try_from(cpu).unwrap_or(u64::MAX)),
        ..unknown(now)
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

    fn between(before: &StatisticsReport, now: &StatisticsReport) -> Vec<Rates> {
        History::new(before).rates(now)
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let before = report(10_000, vec![device(1000, &[0, 1000], 2_000_000)]);
        let now = report(12_000, vec![device(21_000, &[0, 1000, 20_000], 82_000_000)]);
        let rates = between(&before, &now).remove(0);
        assert_eq!(
            (rates.iops, rates.read_bytes_per_s, rates.errors),
            (Some(10_000), Some(40_960_000), Some(200))
        );
        assert_eq!(rates.service, Latency { mean_ns: Some(4000), p99_ns: Some(4000) });
        assert_eq!(rates.queue, Latency::default(), "nothing was measured");
        assert_eq!((rates.cpu_permille, rates.in_flight), (Some(10), 5), "20 ms of 2 s");
    }

    #[test]
    fn what_began_anew_is_not_negative() {
        let before = report(10_000, vec![device(1000, &[0, 1000], 2_000_000)]);
        let now = report(11_000, vec![device(10, &[10], 5000)]);
        let rates = between(&before, &now).remove(0);
        assert_eq!((rates.iops, rates.service.p99_ns), (Some(10), Some(1000)));
        assert_eq!(
            between(&report(1000, Vec::new()), &now)[0].iops,
            Some(1),
            "over ten seconds, all that there is"
        );
        assert!(between(&before, &report(11_000, Vec::new())).is_empty());
    }

    #[test]
    fn a_clock_that_went_back_tells_no_rates() {
        let before = report(10_000, vec![device(1000, &[], 0)]);
        let mut history = History::new(&before);
        for at in [10_000, 9000] {
            let rates = history.rates(&report(at, vec![device(2000, &[], 0)])).remove(0);
            assert_eq!((rates.iops, rates.errors, rates.in_flight), (None, None, 5), "{at}");
        }
        let rates = history.rates(&report(10_000, vec![device(2500, &[], 0)]));
        assert_eq!(rates[0].iops, Some(500), "by the new clock");
    }

    #[test]
    fn a_device_that_was_missing_in_a_look_has_its_rate_over_the_whole_time() {
        let mut history = History::new(&report(10_000, vec![device(1_000_000, &[], 0)]));
        let silent = StatisticsReport { unanswered: vec!["blue.3".to_owned()], ..report(11_000, Vec::new()) };
        assert!(history.rates(&silent).is_empty());
        let restarted = StatisticsReport { pid: 2, ..report(12_000, Vec::new()) };
        assert!(history.rates(&restarted).is_empty());
        let now = StatisticsReport { pid: 2, ..report(14_000, vec![device(1_000_400, &[], 0)]) };
        assert_eq!(history.rates(&now)[0].iops, Some(100));
    }

    #[test]
    fn the_history_of_a_device_that_was_never_seen_is_no_rate() {
        let blue = || vec![DeviceStatistics { tenant: "blue".to_owned(), ..device(1_000_000, &[], 0) }];
        let silent = StatisticsReport { unanswered: vec!["blue.3".to_owned()], ..report(1000, Vec::new()) };
        assert_eq!(between(&silent, &report(2000, blue()))[0].iops, None);
        let restarted = StatisticsReport { pid: 2, ..report(2000, blue()) };
        assert_eq!(between(&report(1000, Vec::new()), &restarted)[0].iops, None);
        // Too long ago: it may have been reset since.
        let mut history = History::new(&report(1000, blue()));
        let silent = StatisticsReport { unanswered: vec!["blue".to_owned()], ..report(70_000, Vec::new()) };
        assert!(history.rates(&silent).is_empty());
        assert_eq!(history.rates(&report(71_000, blue()))[0].iops, None);
    }
}
