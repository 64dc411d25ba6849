//! How a device does: counters and durations by class of command. The loop writes, anybody reads.

use std::time::Duration;

use lunbox_scsi::opcode;

use crate::status::Counter;

/// Number of bounded buckets of a [`Histogram`]: from a microsecond to about a minute.
pub const HISTOGRAM_BOUNDS: usize = 27;

/// What kind of work a command is, by its operation code: also where it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    Write,
    Flush,
    #[default]
    Other,
}

impl Class {
    pub(crate) const COUNT: usize = 4;

    /// As the table of operation codes says.
    pub(crate) fn of(cdb: &[u8]) -> Self {
        match opcode::class(cdb) {
            opcode::Class::Read => Self::Read,
            opcode::Class::Write => Self::Write,
            opcode::Class::Flush => Self::Flush,
            opcode::Class::Other => Self::Other,
        }
    }
}

/// How long something took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// All samples together, in nanoseconds.
    pub sum_ns: u64,
    /// Samples by bucket, not cumulative: bucket n holds those of at most 2^n microseconds that fit into none
    /// before it, the last one those that are longer.
    pub counts: [u64; HISTOGRAM_BOUNDS + 1],
}

/// Commands of one class since the device's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassStatistics {
    /// Commands completed.
    pub commands: u64,
    /// Of these, commands that ended with something other than GOOD.
    pub errors: u64,
    /// Bytes that commands moved that ended GOOD.
    pub bytes: u64,
    /// From the ring to the first call of the handler, or to the end if the handler was not asked. Samples.
    pub queue: Histogram,
    /// From the first call of the handler to the completion. Samples.
    pub service: Histogram,
}

/// A snapshot of what a device has done since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// READ.
    pub read: ClassStatistics,
    /// WRITE in all its forms.
    pub write: ClassStatistics,
    /// SYNCHRONIZE CACHE.
    pub flush: ClassStatistics,
    /// Everything else.
    pub other: ClassStatistics,
    /// Most commands that were in flight at the end of a look into the ring.
    pub in_flight_max: u64,
    /// One command of so many of its class is measured: the dearer the clock, the fewer. Traced commands are
    /// measured always.
    pub sampled_every: u32,
}

#[derive(Debug, Default)]
pub(crate) struct ClassCounters {
    pub(crate) commands: Counter,
    pub(crate) errors: Counter,
    pub(crate) bytes: Counter,
    pub(crate) queue: Durations,
    pub(crate) service: Durations,
}

impl ClassCounters {
    pub(crate) fn snapshot(&self) -> ClassStatistics {
        ClassStatistics {
            commands: self.commands.get(),
            errors: self.errors.get(),
            bytes: self.bytes.get(),
            queue: self.queue.snapshot(),
            service: self.service.snapshot(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Durations {
    sum_ns: Counter,
    counts: [Counter; HISTOGRAM_BOUNDS + 1],
}

impl Durations {
    /// Only from the device's thread.
    pub(crate) fn add(&self, duration: Duration) {
        let ns = nanoseconds(duration);
        self.sum_ns.add(ns);
        if let Some(count) = self.counts.get(bucket(ns)) {
            count.add(1);
        }
    }

    fn snapshot(&self) -> Histogram {
        Histogram { sum_ns: self.sum_ns.get(), counts: std::array::from_fn(|index| self.counts[index].get()) }
    }
}

/// Whole nanoseconds; half a millennium at most.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(ns: u64) -> usize {
    let us = ns.div_ceil(1000);
    // The exponent of the next power of two.
    let exponent = if us <= 1 { 0 } else { u64::BITS - (us - 1).leading_zeros() };
    usize::try_from(exponent).unwrap_or(usize::MAX).min(HISTOGRAM_BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_a_nanosecond_more_does_not() {
        assert_eq!(bucket(0), 0);
        for index in 0..HISTOGRAM_BOUNDS {
            let bound = 1000_u64 << index;
            assert_eq!(bucket(bound), index);
            assert_eq!(bucket(bound + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), HISTOGRAM_BOUNDS);
    }

    #[test]
    fn samples_are_counted_once_and_summed() {
        let durations = Durations::default();
        for us in [1, 2, 3, 1000, 100_000_000] {
            durations.add(Duration::from_micros(us));
        }
        let histogram = durations.snapshot();
        assert_eq!(histogram.sum_ns, 100_001_006_000);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 5);
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[2]), (1, 1, 1));
        assert_eq!((histogram.counts[10], histogram.counts[HISTOGRAM_BOUNDS]), (1, 1));
    }

    #[test]
    fn classes_go_by_the_operation_code() {
        for (code, class) in [
            (0x28, Class::Read),
            (0x88, Class::Read),
            (0x2a, Class::Write),
            (0x93, Class::Write),
            (0x91, Class::Flush),
            (0x12, Class::Other),
            (0xff, Class::Other),
        ] {
            assert_eq!(Class::of(&[code]), class, "{code:#04x}");
        }
    }
}
