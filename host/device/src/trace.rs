//! Commands as they are completed, told to whoever watches. Nothing but one load per command when nobody does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Records that wait for whoever takes them. A loop that completes 40,000 commands a second loses none if they are
/// taken every 100 ms.
const MOST: usize = 4096;

/// One completed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRecord {
    /// When it was completed.
    pub at: Instant,
    /// The kernel's number for it; used again as soon as it has ended.
    pub id: u16,
    /// The first bytes of its command descriptor block, zeroes behind it.
    pub cdb: [u8; 16],
    /// Length of the whole block in bytes.
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

/// Between the loop, which never waits, and whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    on: AtomicBool,
    lost: AtomicU64,
    records: Mutex<VecDeque<TraceRecord>>,
}

impl Trace {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins with nothing, or ends. The memory is had here, not in the loop.
    pub(crate) fn switch(&self, on: bool) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        *records = if on { VecDeque::with_capacity(MOST) } else { VecDeque::new() };
        self.lost.store(0, Ordering::Relaxed);
        self.on.store(on, Ordering::Relaxed);
    }

    /// From the loop: never blocks, never allocates.
    pub(crate) fn push(&self, record: TraceRecord) {
        match self.records.try_lock() {
            // No room was made: it was just switched off.
            Ok(mut records) if records.len() < MOST && records.capacity() > records.len() => {
                records.push_back(record);
            }
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes at most `most` records, oldest first, and the number of those that were lost since the last call.
    pub(crate) fn take(&self, most: usize, out: &mut Vec<TraceRecord>) -> u64 {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let count = records.len().min(most);
        out.extend(records.drain(..count));
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u16) -> TraceRecord {
        TraceRecord {
            at: Instant::now(),
            id,
            cdb: [0; 16],
            cdb_length: 6,
            data_length: 0,
            status: 0,
            sense: None,
            queue_ns: 0,
            service_ns: 0,
        }
    }

    fn taken(trace: &Trace, most: usize) -> (Vec<u16>, u64) {
        let mut out = Vec::new();
        let lost = trace.take(most, &mut out);
        (out.iter().map(|record| record.id).collect(), lost)
    }

    #[test]
    fn records_come_in_order_and_what_finds_no_room_is_counted() {
        let trace = Trace::default();
        trace.switch(true);
        assert!(trace.is_on());
        for id in 0..5000_u16 {
            trace.push(record(id));
        }
        assert_eq!(taken(&trace, 3), (vec![0, 1, 2], 5000 - MOST as u64));
        let (rest, lost) = taken(&trace, usize::MAX);
        assert_eq!((rest.len(), rest[0], lost), (MOST - 3, 3, 0));
    }

    #[test]
    fn nothing_is_kept_when_it_is_off_and_nothing_old_is_told_when_it_is_on_again() {
        let trace = Trace::default();
        trace.push(record(1));
        assert_eq!(taken(&trace, 10), (vec![], 1));
        trace.switch(true);
        trace.push(record(2));
        trace.switch(false);
        trace.switch(true);
        assert_eq!(taken(&trace, 10), (vec![], 0));
    }
}
