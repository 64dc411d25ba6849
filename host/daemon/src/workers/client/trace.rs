//! Who wants to know of each command that a device completes.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lunbox_control::{CommandReport, SenseReport, Teller, TraceReport};
use lunbox_tcmu::Minor;
use lunbox_wire::{Request, TraceRecord};

use super::{AskError, Worker};

/// How long a worker may take to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker that tells of what nobody follows is left alone before it is told again to stop: it may have said it
/// before it heard.
const QUIET: Duration = Duration::from_secs(1);

/// Bytes of a command descriptor block that are told.
const CDB_BYTES: usize = 16;

/// Those who follow a worker's devices.
#[derive(Debug, Default)]
pub(super) struct Traces {
    next: u64,
    tellers: BTreeMap<Minor, Vec<(u64, Teller)>>,
    /// When the worker was told last to stop. It may not have heard: the link is full when there is much to tell.
    ended: Option<Instant>,
}

#[cfg(test)]
impl Traces {
    /// Nobody follows anything.
    pub(super) fn is_empty(&self) -> bool {
        self.tellers.is_empty()
    }
}

/// Somebody follows a device until this is dropped.
#[derive(Debug)]
pub struct Tracing {
    worker: Arc<Worker>,
    minor: Minor,
    number: u64,
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let mut traces = self.worker.traces();
        let Some(tellers) = traces.tellers.get_mut(&self.minor) else { return };
        tellers.retain(|(number, _)| *number != self.number);
        if tellers.is_empty() {
            traces.tellers.remove(&self.minor);
            self.worker.tell_to_end_trace(&mut traces, self.minor);
        }
    }
}

impl Worker {
    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of each command that a device completes, until the result is dropped or the device ends: then `teller` is
    /// dropped. Blocks for the worker's answer, a few seconds at the most.
    ///
    /// # Errors
    /// See [`AskError`]. A worker of another build is not asked.
    pub fn trace(self: &Arc<Self>, minor: Minor, teller: Teller) -> Result<Tracing, AskError> {
        if self.outdated() {
            let reason = "its worker is of another build of lunboxd and can not tell; the device moves soon";
            return Err(AskError::Link(reason.to_owned()));
        }
        let mut traces = self.traces();
        let number = traces.next;
        traces.next += 1;
        traces.tellers.entry(minor).or_default().push((number, teller));
        drop(traces);
        // Whatever goes wrong from here on, this ends it.
        let tracing = Tracing { worker: Arc::clone(self), minor, number };
        self.ask_for(&[], PATIENCE, |call| Request::Trace { call, minor: minor.0, on: true })?;
        Ok(tracing)
    }

    /// The worker tells of commands.
    pub(super) fn note_trace(&self, minor: Minor, records: Vec<TraceRecord>, lost: u64) {
        let mut traces = self.traces();
        let Some(tellers) = traces.tellers.get_mut(&minor) else {
            if traces.ended.is_none_or(|ended| ended.elapsed() >= QUIET) {
                self.tell_to_end_trace(&mut traces, minor);
            }
            return;
        };
        let report = TraceReport { commands: records.into_iter().map(command).collect(), lost };
        for (_, teller) in tellers.iter_mut() {
            teller.tell(report.clone());
        }
    }

    /// Under the lock: whoever comes now asks for it to begin again, and must be heard last.
    fn tell_to_end_trace(&self, traces: &mut Traces, minor: Minor) {
        traces.ended = Some(Instant::now());
        self.tell(&Request::Trace { call: 0, minor: minor.0, on: false });
    }

    /// A device has ended.
    pub(super) fn end_traces(&self, minor: Minor) {
        let ended = self.traces().tellers.remove(&minor);
        drop(ended);
    }

    /// All devices have ended.
    pub(super) fn end_all_traces(&self) {
        let ended = std::mem::take(&mut self.traces().tellers);
        drop(ended);
    }
}

fn command(record: TraceRecord) -> CommandReport {
    let TraceRecord { at_us, id, mut cdb, cdb_length, data_length, status, sense, queue_ns, service_ns } =
        record;
    cdb.truncate(CDB_BYTES);
    let sense = sense.map(|(key, asc, ascq)| SenseReport { key, asc, ascq });
    CommandReport { at_us, id, cdb, cdb_length, data_length, status, sense, queue_ns, service_ns }
}
