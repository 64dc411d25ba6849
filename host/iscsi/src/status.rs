//! Counters: written by the server's thread, read by anybody, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of [`LunStatus::latency`].
pub const LATENCY_BUCKETS: usize = 40;

/// What the server has done since its start. The numbers are read one after the other: those of a busy server do
/// not add up exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Connections that are open now, those that are still logging in included.
    pub connections: u64,
    /// Sessions that are open now, discovery sessions included.
    pub sessions: u64,
    /// Logins that were refused: wrong secret, unknown target, broken negotiation, time over.
    pub logins_failed: u64,
    /// One for each LUN, in the order of their numbers.
    pub luns: Vec<LunStatus>,
}

/// What one LUN has done since the server's start. Commands are counted when they end; those that the target
/// answered for the LUN are not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunStatus {
    /// Commands with data-in.
    pub reads: u64,
    /// Commands with data-out.
    pub writes: u64,
    /// Commands without data.
    pub other: u64,
    /// Bytes that the device returned.
    pub bytes_read: u64,
    /// Bytes that were given to the device.
    pub bytes_written: u64,
    /// Commands that ended with another status than GOOD.
    pub errors: u64,
    /// Sum of all times from the arrival of a command's PDU to its end, in nanoseconds.
    pub latency_ns_sum: u64,
    /// How many commands took how long: bucket n counts times of 2ⁿ to 2ⁿ⁺¹ − 1 ns, the last one all longer ones.
    pub latency: [u64; LATENCY_BUCKETS],
    /// Commands that the device has and has not ended.
    pub in_flight: u64,
}

impl Default for LunStatus {
    fn default() -> Self {
        Self {
            reads: 0,
            writes: 0,
            other: 0,
            bytes_read: 0,
            bytes_written: 0,
            errors: 0,
            latency_ns_sum: 0,
            latency: [0; LATENCY_BUCKETS],
            in_flight: 0,
        }
    }
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the server's thread may: it is a load and a store, which cost less than one locked instruction.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What kind of command a LUN has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Nothing,
    In(u64),
    Out(u64),
}

#[derive(Debug)]
pub(crate) struct LunCounters {
    reads: Counter,
    writes: Counter,
    other: Counter,
    bytes_read: Counter,
    bytes_written: Counter,
    errors: Counter,
    latency_ns_sum: Counter,
    latency: [Counter; LATENCY_BUCKETS],
    pub(crate) in_flight: Counter,
}

impl LunCounters {
    fn new() -> Self {
        Self {
            reads: Counter::default(),
            writes: Counter::default(),
            other: Counter::default(),
            bytes_read: Counter::default(),
            bytes_written: Counter::default(),
            errors: Counter::default(),
            latency_ns_sum: Counter::default(),
            latency: std::array::from_fn(|_| Counter::default()),
            in_flight: Counter::default(),
        }
    }

    /// Counts a command that has ended.
    pub(crate) fn ended(&self, moved: Moved, good: bool, took: Duration) {
        match moved {
            Moved::Nothing => self.other.add(1),
            Moved::In(bytes) => {
                self.reads.add(1);
                self.bytes_read.add(bytes);
            }
            Moved::Out(bytes) => {
                self.writes.add(1);
                self.bytes_written.add(bytes);
            }
        }
        if !good {
            self.errors.add(1);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns_sum.add(nanoseconds);
        let bucket = nanoseconds.max(1).ilog2() as usize;
        self.latency[bucket.min(LATENCY_BUCKETS - 1)].add(1);
    }

    fn read(&self) -> LunStatus {
        LunStatus {
            reads: self.reads.get(),
            writes: self.writes.get(),
            other: self.other.get(),
            bytes_read: self.bytes_read.get(),
            bytes_written: self.bytes_written.get(),
            errors: self.errors.get(),
            latency_ns_sum: self.latency_ns_sum.get(),
            latency: std::array::from_fn(|bucket| self.latency[bucket].get()),
            in_flight: self.in_flight.get(),
        }
    }
}

/// All counters of a server.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) sessions: Counter,
    pub(crate) logins_failed: Counter,
    pub(crate) luns: Vec<LunCounters>,
}

impl Counters {
    pub(crate) fn new(luns: usize) -> Self {
        Self {
            connections: Counter::default(),
            sessions: Counter::default(),
            logins_failed: Counter::default(),
            luns: (0..luns).map(|_| LunCounters::new()).collect(),
        }
    }

    pub(crate) fn read(&self) -> ServerStatus {
        ServerStatus {
            connections: self.connections.get(),
            sessions: self.sessions.get(),
            logins_failed: self.logins_failed.get(),
            luns: self.luns.iter().map(LunCounters::read).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_kind_and_time() {
        let counters = Counters::new(1);
        let lun = &counters.luns[0];
        lun.ended(Moved::In(4096), true, Duration::from_nanos(1024));
        lun.ended(Moved::Out(512), false, Duration::from_nanos(1023));
        lun.ended(Moved::Nothing, true, Duration::ZERO);
        lun.ended(Moved::Nothing, true, Duration::from_secs(1 << 40));
        let status = &counters.read().luns[0];
        assert_eq!((status.reads, status.writes, status.other, status.errors), (1, 1, 2, 1));
        assert_eq!((status.bytes_read, status.bytes_written), (4096, 512));
        let used: Vec<usize> = (0..LATENCY_BUCKETS).filter(|&bucket| status.latency[bucket] > 0).collect();
        assert_eq!(used, [0, 9, 10, LATENCY_BUCKETS - 1]);
    }
}
