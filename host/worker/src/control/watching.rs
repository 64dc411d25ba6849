//! How devices do: counters for whoever asks, and single commands for whoever wants to see them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lunbox_wire::{Call, DeviceStatistics, Minor, Report, STATISTICS_CHUNK, TRACE_CHUNK, TraceRecord};

use super::Control;
use super::requests::gone;
use crate::start::Refused;

/// How long records of commands are gathered before they are told. A loop keeps a few thousand of them.
const GATHER: Duration = Duration::from_millis(50);

impl Control {
    pub(super) fn statistics(&mut self, call: Call) {
        let devices: Vec<(Minor, DeviceStatistics)> = self
            .devices
            .iter()
            .filter_map(|(&minor, entry)| entry.handle.as_ref().map(|handle| (minor, handle.statistics())))
            .map(|(minor, statistics)| (minor, crate::statistics::told(&statistics)))
            .collect();
        let Some(connection) = &mut self.connection else { return };
        let mut rest = &devices[..];
        loop {
            let (now, later) = rest.split_at(rest.len().min(STATISTICS_CHUNK));
            connection.put(Report::Statistics { call, devices: now.to_vec(), more: !later.is_empty() });
            if later.is_empty() {
                return;
            }
            rest = later;
        }
    }

    pub(super) fn trace(&mut self, minor: Minor, on: bool) -> Result<(), Refused> {
        let entry = self.devices.get(&minor).filter(|entry| entry.serves());
        let handle = entry.and_then(|entry| entry.handle.as_ref()).ok_or_else(|| gone(minor))?;
        // Who wants to see what he sees already loses nothing of it.
        if on != handle.is_traced() {
            handle.set_trace(on);
        }
        if on {
            self.traced.insert(minor);
            self.trace_at.get_or_insert_with(|| Instant::now() + GATHER);
        } else {
            self.traced.remove(&minor);
        }
        Ok(())
    }

    /// Nobody looks any more.
    pub(super) fn end_traces(&mut self) {
        for minor in std::mem::take(&mut self.traced) {
            if let Some(handle) = self.devices.get(&minor).and_then(|entry| entry.handle.as_ref()) {
                handle.set_trace(false);
            }
        }
    }

    /// Time until records are to be told; None if nobody wants them.
    pub(super) fn time_to_trace(&self) -> Option<Duration> {
        self.trace_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Tells what was gathered. A supervisor that does not read makes the loops lose records, and nothing else.
    pub(super) fn tell_traces(&mut self) {
        let now = Instant::now();
        if self.trace_at.is_none_or(|at| at > now) {
            return;
        }
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_empty()) else {
            self.trace_at =
                self.connection.as_ref().filter(|_| !self.traced.is_empty()).map(|_| now + GATHER);
            return;
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut taken = Vec::new();
        self.traced.retain(|&minor| {
            let Some(entry) = self.devices.get(&minor) else { return false };
            let Some(handle) = entry.handle.as_ref() else { return false };
            loop {
                taken.clear();
                let lost = handle.take_trace(TRACE_CHUNK, &mut taken);
                if !taken.is_empty() || lost > 0 {
                    let records = taken.iter().map(|record| told(record, now, wall)).collect();
                    connection.put(Report::Trace { minor, records, lost });
                }
                if taken.len() < TRACE_CHUNK {
                    break;
                }
            }
            entry.ended.is_none()
        });
        self.trace_at = (!self.traced.is_empty()).then(|| now + GATHER);
    }
}

/// With the time of day, of which the loop keeps no account.
fn told(record: &lunbox_device::TraceRecord, now: Instant, wall: Duration) -> TraceRecord {
    let at = wall.saturating_sub(now.saturating_duration_since(record.at));
    let length = record.cdb.len().min(record.cdb_length.into());
    TraceRecord {
        at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
        id: record.id,
        cdb: record.cdb.get(..length).unwrap_or_default().to_vec(),
        cdb_length: record.cdb_length,
        data_length: record.data_length,
        status: record.status,
        sense: record.sense,
        queue_ns: record.queue_ns,
        service_ns: record.service_ns,
    }
}
