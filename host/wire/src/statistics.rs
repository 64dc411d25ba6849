//! How devices do, in numbers: counters and durations by class of command, and single commands.

use serde::{Deserialize, Serialize};

/// How a device has done since its loop started; see `lunbox_device::Statistics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatistics {
    /// READ.
    pub read: ClassStatistics,
    /// WRITE, in all its forms.
    pub write: ClassStatistics,
    /// SYNCHRONIZE CACHE.
    pub flush: ClassStatistics,
    /// Everything else.
    pub other: ClassStatistics,
    /// Most commands that were in flight at a time.
    pub in_flight_max: u64,
    /// One command of so many is measured: 1 where reading the clock is cheap.
    pub sampled_every: u32,
}

/// Commands of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassStatistics {
    /// Commands completed.
    pub commands: u64,
    /// Of these, commands that ended with something other than GOOD.
    pub errors: u64,
    /// Bytes that commands moved that ended GOOD.
    pub bytes: u64,
    /// From the ring to the first call of the handler, or to the end if the handler was not asked.
    pub queue: Histogram,
    /// From then on to the completion.
    pub service: Histogram,
}

/// Number of bounded buckets of a [`Histogram`].
pub const HISTOGRAM_BOUNDS: usize = 27;

/// How long something took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// All samples together, in nanoseconds.
    pub sum_ns: u64,
    /// Samples by bucket, not cumulative: bucket n holds those of at most 2^n microseconds that fit into none
    /// before it; bucket [`HISTOGRAM_BOUNDS`], the last, those that are longer. Empty buckets at the end are left out.
    pub buckets: Vec<u64>,
}

impl Histogram {
    /// Upper bound of a bucket in nanoseconds; None for the last, which has none.
    #[must_use]
    pub const fn bound_ns(bucket: usize) -> Option<u64> {
        if bucket < HISTOGRAM_BOUNDS { Some(1000 << bucket) } else { None }
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Most devices in one [`crate::Report::Statistics`]: at most 6 KiB each.
pub const STATISTICS_CHUNK: usize = 20;

/// Most records in one [`crate::Report::Trace`]: about 250 bytes each.
pub const TRACE_CHUNK: usize = 256;

/// One completed command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// When it was completed: microseconds since 1970-01-01 00:00:00 UTC.
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
    /// Sense key, additional sense code and its qualifier.
    pub sense: Option<(u8, u8, u8)>,
    /// From the ring to the first call of the handler, in nanoseconds.
    pub queue_ns: u64,
    /// From then on to the completion, in nanoseconds.
    pub service_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, DeviceStatus, MAX_MESSAGE, Report};

    fn longest_histogram() -> Histogram {
        Histogram { sum_ns: u64::MAX, buckets: vec![u64::MAX; HISTOGRAM_BOUNDS + 1] }
    }

    fn longest_class() -> ClassStatistics {
        ClassStatistics {
            commands: u64::MAX,
            errors: u64::MAX,
            bytes: u64::MAX,
            queue: longest_histogram(),
            service: longest_histogram(),
        }
    }

    #[test]
    fn the_longest_chunks_fit_into_a_packet() {
        let device = DeviceStatistics {
            read: longest_class(),
            write: longest_class(),
            flush: longest_class(),
            other: longest_class(),
            in_flight_max: u64::MAX,
            sampled_every: u32::MAX,
        };
        let devices = vec![(u32::MAX, device); STATISTICS_CHUNK];
        let report = Report::Statistics { call: u64::MAX, devices, more: true };
        assert!(serde_json::to_vec(&report).unwrap().len() <= MAX_MESSAGE);
        let record = TraceRecord {
            at_us: u64::MAX,
            id: u16::MAX,
            cdb: vec![u8::MAX; 16],
            cdb_length: u16::MAX,
            data_length: u64::MAX,
            status: u8::MAX,
            sense: Some((u8::MAX, u8::MAX, u8::MAX)),
            queue_ns: u64::MAX,
            service_ns: u64::MAX,
        };
        let report = Report::Trace { minor: u32::MAX, records: vec![record; TRACE_CHUNK], lost: u64::MAX };
        assert!(serde_json::to_vec(&report).unwrap().len() <= MAX_MESSAGE);
    }

    #[test]
    fn bounds_double_from_a_microsecond_to_a_minute() {
        assert_eq!(Histogram::bound_ns(0), Some(1000));
        assert_eq!(Histogram::bound_ns(1), Some(2000));
        assert_eq!(Histogram::bound_ns(HISTOGRAM_BOUNDS - 1), Some(67_108_864_000));
        assert_eq!(Histogram::bound_ns(HISTOGRAM_BOUNDS), None);
        let hostile = Histogram { sum_ns: 0, buckets: vec![u64::MAX, 1] };
        assert_eq!(hostile.samples(), u64::MAX);
    }

    #[test]
    fn what_earlier_builds_say_is_understood() {
        let status: DeviceStatus = serde_json::from_str(
            r#"{"health":"serving","commands":7,"failures":0,"busy":0,"bytes_read":1,"bytes_written":2,"faults":0,
                "instances":1,"resets":0,"aborts":3,"cpu_ns":9}"#,
        )
        .unwrap();
        assert_eq!((status.commands, status.aborts, status.timeouts, status.aborting), (7, 3, 0, 0));
        let device: Device = serde_json::from_str(
            r#"{"minor":1,"id":2,"name":"n","map_bytes":3,"size":4,"block_size":512,"max_transfer":8,
                "read_only":true,"handler":{"subtype":"file","name":"","version":"","digest":""},"stores":[],
                "options":[],"limits":{"memory_bytes":1,"table_elements":1,"cpu_per_call_us":1,
                "wall_per_call_ms":1,"hostcall_bytes":1,"log_lines_per_second":1}}"#,
        )
        .unwrap();
        assert_eq!((device.command_timeout_s, device.write_cache, device.read_only), (0, None, true));
    }
}
