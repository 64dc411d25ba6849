//! What goes on: rates from two looks at the counters, and how they are told.

use std::time::Duration;

use lunbox_device::{Health, Status as DeviceStatus};
use lunbox_iscsi::{LATENCY_BUCKETS, LunStatus, ServerStatus};
use serde::Serialize;

/// A look at all counters.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) server: ServerStatus,
    /// By LUN.
    pub(super) devices: Vec<DeviceStatus>,
}

/// What happened between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    /// Time between the looks in milliseconds.
    pub(super) milliseconds: u64,
    /// Open now.
    pub(super) connections: u64,
    /// Open now.
    pub(super) sessions: u64,
    /// Refused since the start.
    pub(super) logins_failed: u64,
    /// By LUN.
    pub(super) luns: Vec<LunRates>,
}

/// What happened to one LUN between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LunRates {
    pub(super) lun: usize,
    /// Commands per second.
    pub(super) iops: u64,
    /// Bytes per second.
    pub(super) read_bytes: u64,
    /// Bytes per second.
    pub(super) write_bytes: u64,
    /// Commands with data-in, since the start.
    pub(super) reads: u64,
    /// Commands with data-out, since the start.
    pub(super) writes: u64,
    /// Since the start.
    pub(super) bytes_read: u64,
    /// Since the start.
    pub(super) bytes_written: u64,
    /// Nanoseconds from a command's arrival to its end; 0 if none ended.
    pub(super) latency_mean_ns: u64,
    /// The time within which 99 of 100 ended, within the precision of the counters (a factor of two).
    pub(super) latency_p99_ns: u64,
    /// Commands that the device has and has not ended.
    pub(super) in_flight: u64,
    /// Commands that did not end GOOD, since the start.
    pub(super) errors: u64,
    /// Times the handler trapped, overran a limit or broke the contract, since the start.
    pub(super) faults: u64,
    /// `serving`, `recovering` or `stopped`.
    pub(super) health: &'static str,
}

/// A status as a line of JSON.
#[derive(Serialize)]
pub(super) struct StatusLine<'a> {
    pub(super) status: &'a Rates,
}

/// Totals of one LUN since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LunTotals {
    pub(super) lun: usize,
    pub(super) reads: u64,
    pub(super) writes: u64,
    /// Commands without data.
    pub(super) other: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// Commands per second, from the start to the end.
    pub(super) iops: u64,
    pub(super) latency_mean_ns: u64,
    pub(super) latency_p99_ns: u64,
    pub(super) errors: u64,
    pub(super) faults: u64,
    /// CPU time of the device's thread in nanoseconds.
    pub(super) device_cpu_ns: u64,
}

/// Totals since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) milliseconds: u64,
    pub(super) logins_failed: u64,
    pub(super) luns: Vec<LunTotals>,
}

/// Totals as a line of JSON.
#[derive(Serialize)]
pub(super) struct TotalsLine<'a> {
    pub(super) totals: &'a Totals,
}

/// Counts of one LUN between two looks.
struct Delta {
    commands: u64,
    latency_sum: u64,
    latency: [u64; LATENCY_BUCKETS],
}

impl Delta {
    fn between(before: &LunStatus, after: &LunStatus) -> Self {
        let commands = |status: &LunStatus| status.reads + status.writes + status.other;
        Self {
            commands: commands(after).saturating_sub(commands(before)),
            latency_sum: after.latency_ns_sum.saturating_sub(before.latency_ns_sum),
            latency: std::array::from_fn(|bucket| {
                after.latency[bucket].saturating_sub(before.latency[bucket])
            }),
        }
    }

    fn mean(&self) -> u64 {
        self.latency_sum.checked_div(self.commands).unwrap_or(0)
    }
}

/// So many in so much time, for one second.
fn per_second(count: u64, time: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The time within which `percent` of the counted times lie: inside of its bucket it is assumed that they are spread
/// evenly.
fn percentile(counts: &[u64; LATENCY_BUCKETS], percent: u64) -> u64 {
    let total: u64 = counts.iter().sum();
    let mut rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
    for (bucket, &count) in counts.iter().enumerate() {
        let count = u128::from(count);
        if rank <= count && count > 0 {
            let low = 1u128 << bucket;
            return u64::try_from(low + low * rank / count - 1).unwrap_or(u64::MAX);
        }
        rank -= count;
    }
    0
}

fn health(status: &DeviceStatus) -> &'static str {
    match status.health {
        Health::Serving => "serving",
        Health::Recovering => "recovering",
        Health::Stopped => "stopped",
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Rates {
    /// What happened from one look to a later one.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let time = after.at.saturating_sub(before.at);
        let luns = after.server.luns.iter().zip(&before.server.luns).zip(&after.devices).enumerate();
        let luns = luns.map(|(lun, ((after, before), device))| {
            let delta = Delta::between(before, after);
            LunRates {
                lun,
                iops: per_second(delta.commands, time),
                read_bytes: per_second(after.bytes_read.saturating_sub(before.bytes_read), time),
                write_bytes: per_second(after.bytes_written.saturating_sub(before.bytes_written), time),
                reads: after.reads,
                writes: after.writes,
                bytes_read: after.bytes_read,
                bytes_written: after.bytes_written,
                latency_mean_ns: delta.mean(),
                latency_p99_ns: percentile(&delta.latency, 99),
                in_flight: after.in_flight,
                errors: after.errors,
                faults: device.faults,
                health: health(device),
            }
        });
        Self {
            milliseconds: milliseconds(time),
            connections: after.server.connections,
            sessions: after.server.sessions,
            logins_failed: after.server.logins_failed,
            luns: luns.collect(),
        }
    }

    /// One line for people: all LUNs together, and each of several.
    pub(super) fn line(&self) -> String {
        let sum = |of: fn(&LunRates) -> u64| self.luns.iter().map(of).sum::<u64>();
        let max = |of: fn(&LunRates) -> u64| self.luns.iter().map(of).max().unwrap_or(0);
        let iops = sum(|lun| lun.iops);
        let mean =
            self.luns.iter().map(|lun| u128::from(lun.iops) * u128::from(lun.latency_mean_ns)).sum::<u128>();
        let mean = u64::try_from(mean.checked_div(u128::from(iops)).unwrap_or(0)).unwrap_or(u64::MAX);
        let mut parts = vec![
            counted(self.sessions, "session"),
            format!("{} IOPS", grouped(iops)),
            format!("{} MB/s", megabytes(sum(|lun| lun.read_bytes + lun.write_bytes))),
        ];
        let p99 = max(|lun| lun.latency_p99_ns);
        if p99 > 0 {
            parts.push(format!("mean {}", duration(mean)));
            parts.push(format!("p99 {}", duration(p99)));
        }
        parts.push(counted(sum(|lun| lun.faults), "trap"));
        let errors = sum(|lun| lun.errors);
        if errors > 0 {
            parts.push(counted(errors, "error"));
        }
        let down = self.luns.iter().filter(|lun| lun.health != "serving");
        parts.extend(down.map(|lun| format!("LUN {} {}", lun.lun, lun.health)));
        if self.luns.len() > 1 {
            let each: Vec<String> =
                self.luns.iter().map(|lun| format!("{}: {}", lun.lun, grouped(lun.iops))).collect();
            parts.push(format!("IOPS of LUN {}", each.join(", ")));
        }
        parts.join(" · ")
    }
}

impl Totals {
    /// What happened until a look.
    pub(super) fn of(sample: &Sample) -> Self {
        let luns = sample.server.luns.iter().zip(&sample.devices).enumerate();
        let luns = luns.map(|(lun, (status, device))| {
            let delta = Delta::between(&LunStatus::default(), status);
            LunTotals {
                lun,
                reads: status.reads,
                writes: status.writes,
                other: status.other,
                bytes_read: status.bytes_read,
                bytes_written: status.bytes_written,
                iops: per_second(delta.commands, sample.at),
                latency_mean_ns: delta.mean(),
                latency_p99_ns: percentile(&delta.latency, 99),
                errors: status.errors,
                faults: device.faults,
                device_cpu_ns: device.cpu_ns,
            }
        });
        Self {
            milliseconds: milliseconds(sample.at),
            logins_failed: sample.server.logins_failed,
            luns: luns.collect(),
        }
    }
}

impl LunTotals {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        format!(
            "LUN {}: {} reads ({} MB), {} writes ({} MB), {} other commands; {} IOPS on average, mean {}, p99 {}; {}, {}",
            self.lun,
            grouped(self.reads),
            megabytes(self.bytes_read),
            grouped(self.writes),
            megabytes(self.bytes_written),
            grouped(self.other),
            grouped(self.iops),
            duration(self.latency_mean_ns),
            duration(self.latency_p99_ns),
            counted(self.errors, "error"),
            counted(self.faults, "trap"),
        )
    }
}

/// `1 session`, `2 sessions`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Millions of bytes with one decimal, rounded down.
fn megabytes(bytes: u64) -> String {
    format!("{}.{}", grouped(bytes / 1_000_000), bytes % 1_000_000 / 100_000)
}

/// Nanoseconds in the unit that fits, with one decimal below ten.
fn duration(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let whole = nanoseconds / unit;
    if whole < 10 {
        format!("{whole}.{} {name}", nanoseconds % unit * 10 / unit)
    } else {
        format!("{whole} {name}")
    }
}

#[cfg(test)]
mod tests;
