//! What devices do, in numbers: counters and durations by class of command, and single commands.

use serde::{Deserialize, Serialize};

use crate::report::{CountersReport, DeviceHealth};

/// What all devices have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsReport {
    /// When it was collected: milliseconds since 1970.
    pub at: u64,
    /// Process id of the supervisor: what counts since its start begins anew when this changes.
    pub pid: i32,
    /// One for each device that a worker told of.
    pub devices: Vec<DeviceStatistics>,
    /// Tenants whose worker did not answer in time: their devices are missing.
    pub unanswered: Vec<String>,
}

/// What a device has done since its loop was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatistics {
    /// Its name in configfs: `user_0/disk`.
    pub name: String,
    /// Its UIO node is `/dev/uioN`.
    pub minor: u32,
    /// Whose it is.
    pub tenant: String,
    /// Text before the first `/` of its configuration.
    pub subtype: String,
    /// Whether it serves.
    pub health: DeviceHealth,
    /// What [`crate::DeviceReport::counters`] says.
    pub counters: CountersReport,
    /// READ.
    pub read: ClassReport,
    /// WRITE, in all its forms.
    pub write: ClassReport,
    /// SYNCHRONIZE CACHE.
    pub flush: ClassReport,
    /// Everything else.
    pub other: ClassReport,
    /// Most commands that were in flight at a time.
    pub in_flight_max: u64,
    /// Durations are of one command in so many; 0 if nothing was measured.
    pub sampled_every: u32,
}

/// Commands of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Commands completed.
    pub commands: u64,
    /// Of these, commands that ended with something other than GOOD.
    pub errors: u64,
    /// Bytes that commands moved that ended GOOD.
    pub bytes: u64,
    /// From the ring to the first call of the handler.
    pub queue: HistogramReport,
    /// From then on to the completion.
    pub service: HistogramReport,
}

/// How long something took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramReport {
    /// All samples together, in nanoseconds.
    pub sum_ns: u64,
    /// Samples by bucket, not cumulative: bucket n holds those of at most 2^n microseconds that fit into none before
    /// it; bucket [`HistogramReport::BOUNDS`] those that are longer. Empty buckets at the end are left out.
    pub buckets: Vec<u64>,
}

impl HistogramReport {
    /// Number of buckets that have an upper bound.
    pub const BOUNDS: usize = 27;

    /// Upper bound of a bucket in nanoseconds; none for the last.
    #[must_use]
    pub const fn bound_ns(bucket: usize) -> Option<u64> {
        if bucket < Self::BOUNDS { Some(1000 << bucket) } else { None }
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The mean in nanoseconds; none without samples.
    #[must_use]
    pub fn mean_ns(&self) -> Option<u64> {
        self.sum_ns.checked_div(self.samples())
    }

    /// A bound in nanoseconds that so many of a hundred samples do not exceed, as near as the buckets tell: at most twice
    /// what it was. None without samples; the last bound for what is longer than that.
    #[must_use]
    pub fn percentile_ns(&self, percent: u8) -> Option<u64> {
        let samples = self.samples();
        if samples == 0 {
            return None;
        }
        let wanted = u128::from(samples) * u128::from(percent.min(100));
        let mut below = 0_u128;
        let reached = self.buckets.iter().position(|count| {
            below += u128::from(*count) * 100;
            below >= wanted
        });
        let bucket = reached.unwrap_or(self.buckets.len()).min(Self::BOUNDS - 1);
        Self::bound_ns(bucket)
    }

    /// With the samples of another one.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let count = |of: &Self, bucket: usize| of.buckets.get(bucket).copied().unwrap_or(0);
        let buckets = (0..self.buckets.len().max(other.buckets.len()))
            .map(|bucket| count(self, bucket).saturating_add(count(other, bucket)))
            .collect();
        Self { sum_ns: self.sum_ns.saturating_add(other.sum_ns), buckets }
    }

    /// Without the samples that an earlier one had. What has begun anew since then is all of it.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: usize| earlier.buckets.get(bucket).copied().unwrap_or(0);
        let anew = earlier.buckets.len() > self.buckets.len()
            || self.sum_ns < earlier.sum_ns
            || self.buckets.iter().enumerate().any(|(bucket, count)| *count < before(bucket));
        if anew {
            return self.clone();
        }
        let buckets = self.buckets.iter().enumerate().map(|(bucket, count)| count - before(bucket)).collect();
        Self { sum_ns: self.sum_ns - earlier.sum_ns, buckets }
    }
}

/// Commands that a device has completed, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The commands.
    pub commands: Vec<CommandReport>,
    /// Commands before these that are not told, because they came too quickly.
    pub lost: u64,
}

/// A command that was completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReport {
    /// When: microseconds since 1970.
    pub at_us: u64,
    /// The kernel's number for it; used again as soon as it has ended.
    pub id: u16,
    /// The first 16 bytes of its command descriptor block.
    pub cdb: Vec<u8>,
    /// Length of the whole.
    pub cdb_length: u16,
    /// Bytes of its data buffer.
    pub data_length: u64,
    /// SAM-5 status code.
    pub status: u8,
    /// Why it failed, if that was told.
    pub sense: Option<SenseReport>,
    /// From the ring to the first call of the handler, in nanoseconds.
    pub queue_ns: u64,
    /// From then on to the completion, in nanoseconds.
    pub service_ns: u64,
}

/// Sense data, as far as it has a name (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenseReport {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(sum_ns: u64, buckets: &[u64]) -> HistogramReport {
        HistogramReport { sum_ns, buckets: buckets.to_vec() }
    }

    #[test]
    fn percentiles_are_the_bounds_of_their_buckets() {
        let empty = HistogramReport::default();
        assert_eq!((empty.mean_ns(), empty.percentile_ns(99)), (None, None));
        let some = histogram(100_000, &[90, 9, 0, 1]);
        assert_eq!(some.mean_ns(), Some(1000));
        for (percent, bound) in [(0, 1000), (50, 1000), (90, 1000), (91, 2000), (99, 2000), (100, 8000)] {
            assert_eq!(some.percentile_ns(percent), Some(bound), "{percent}");
        }
        let mut long = vec![0; HistogramReport::BOUNDS];
        long.push(5);
        assert_eq!(histogram(1, &long).percentile_ns(50), Some(67_108_864_000), "beyond all bounds");
        assert_eq!(histogram(1, &[u64::MAX, u64::MAX]).samples(), u64::MAX);
    }

    #[test]
    fn differences_are_what_happened_in_between() {
        let (before, now) = (histogram(100, &[1, 2]), histogram(300, &[1, 5, 7]));
        assert_eq!(now.since(&before), histogram(200, &[0, 3, 7]));
        assert_eq!(now.since(&now).samples(), 0);
        assert_eq!(before.since(&now), before, "a loop that was started anew begins with nothing");
        assert_eq!(before.plus(&now), histogram(400, &[2, 7, 7]));
    }
}
