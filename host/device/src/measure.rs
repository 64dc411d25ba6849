//! What is noted of a command on its way: how long it waits and is served, whether it is late, what it was.
//!
//! Reading the clock is not free (25 ns where the kernel lends its clock to programs, microseconds where it does
//! not), so that only samples are measured, as many as the clock is cheap for.

use std::fmt::Write;
use std::time::{Duration, Instant};

use lunbox_scsi::{Sense, cdb_length, opcode_name};
use tracing::Level;

use crate::run::DeviceLoop;
use crate::statistics::{Class, nanoseconds};
use crate::table::{Direction, Slot, SlotIndex};
use crate::trace::TraceRecord;

/// Times that a measured command reads the clock.
const READS: u64 = 3;
/// What these may cost each command on average, in nanoseconds.
const BUDGET_NS: u64 = 10;
/// So many commands at most for one that is measured.
const RAREST: u64 = 64;

/// Times that the clock is read in a row to see what it costs.
const ROUND: u64 = 64;

/// Chooses the commands that are measured.
#[derive(Debug)]
pub(crate) struct Sampler {
    mask: u64,
    /// Commands taken, by class: where classes alternate, each has its samples.
    taken: [u64; Class::COUNT],
}

impl Sampler {
    /// Reads the clock some times to see what it costs.
    pub(crate) fn new() -> Self {
        let spent = [(); 4].map(|()| {
            let before = Instant::now();
            for _ in 1..ROUND {
                std::hint::black_box(Instant::now());
            }
            nanoseconds(before.elapsed())
        });
        Self { mask: every(cost(&spent)) - 1, taken: [0; Class::COUNT] }
    }

    /// One of so many is measured.
    pub(crate) const fn every(&self) -> u64 {
        self.mask + 1
    }

    fn is_due(&mut self, class: Class) -> bool {
        let taken = &mut self.taken[class as usize];
        let due = *taken & self.mask == 0;
        *taken = taken.wrapping_add(1);
        due
    }
}

/// What one reading costs, from what rounds of them took: the fastest one was interrupted least. A clock that stands
/// still over a whole round ticks more slowly than commands come: it tells nothing of its cost, and little of theirs.
fn cost(rounds_ns: &[u64]) -> u64 {
    let fastest = rounds_ns.iter().copied().min().unwrap_or(0);
    if fastest == 0 { u64::MAX } else { fastest / ROUND }
}

/// A power of two.
fn every(cost_ns: u64) -> u64 {
    cost_ns.saturating_mul(READS).div_ceil(BUDGET_NS).clamp(1, RAREST).next_power_of_two()
}

/// Watches for commands that take too long (`tcmur_cmd_time_out`). The clock is read once in each turn of the loop,
/// and the commands are looked through once in a while.
#[derive(Debug)]
pub(crate) struct Lateness {
    limit: Duration,
    /// Between two looks.
    tick: Duration,
    now: Instant,
    looked: Instant,
}

impl Lateness {
    pub(crate) fn new(limit: Duration) -> Self {
        let now = Instant::now();
        let tick = (limit / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
        Self { limit, tick, now, looked: now }
    }

    /// Time until the next look.
    fn left(&self) -> Duration {
        (self.looked + self.tick).saturating_duration_since(self.now)
    }
}

impl DeviceLoop {
    /// A command has left the ring.
    pub(crate) fn note_arrival(&mut self, index: SlotIndex) {
        let mut table = self.table.borrow_mut();
        let slot = table.slot(index);
        slot.class = Class::of(slot.request.cdb.as_bytes());
        slot.since = self.lateness.as_ref().map(|lateness| lateness.now);
        if self.sampler.is_due(slot.class) || self.trace.is_on() {
            slot.taken = Some(Instant::now());
        }
        if tracing::enabled!(Level::TRACE) {
            tracing::trace!(device = self.name, "{}", dump(slot.request.cdb.as_bytes()));
        }
    }

    /// A composite command begins.
    pub(crate) fn note_handed(&self, index: SlotIndex) {
        note_handed(self.table.borrow_mut().slot(index));
    }

    /// A command was refused: one that nobody implements is worth a word for whoever looks for the reason.
    #[cold]
    pub(crate) fn note_refusal(&self, index: SlotIndex) {
        if tracing::enabled!(Level::DEBUG) {
            let table = self.table.borrow();
            let cdb = table.peek(index).request.cdb.as_bytes();
            tracing::debug!(device = self.name, "{} is not supported", dump(cdb));
        }
    }

    /// A command is about to be completed, with these bytes moved.
    pub(crate) fn note_end(&self, slot: &mut Slot, id: u16, status: u8, sense: Option<&Sense>) {
        let class = &self.counters.classes[slot.class as usize];
        class.commands.add(1);
        if status != 0 {
            class.errors.add(1);
        } else if slot.direction != Direction::None {
            class.bytes.add(slot.data_length);
        }
        if slot.taken.is_some() || slot.is_late {
            self.note_times(slot, id, status, sense);
        }
    }

    #[cold]
    fn note_times(&self, slot: &mut Slot, id: u16, status: u8, sense: Option<&Sense>) {
        let now = Instant::now();
        if let Some(since) = slot.since.filter(|_| slot.is_late) {
            tracing::info!(
                device = self.name,
                id,
                status,
                elapsed_ms = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX),
                "a command that was late has ended"
            );
        }
        let Some(taken) = slot.taken.take() else { return };
        let class = &self.counters.classes[slot.class as usize];
        let handed = slot.handed.take();
        let queue = handed.unwrap_or(now).duration_since(taken);
        let service = handed.map(|handed| now.duration_since(handed));
        class.queue.add(queue);
        if let Some(service) = service {
            class.service.add(service);
        }
        if !self.trace.is_on() {
            return;
        }
        let whole = whole(slot.request.cdb.as_bytes());
        let mut cdb = [0; 16];
        for (to, from) in cdb.iter_mut().zip(whole) {
            *to = *from;
        }
        self.trace.push(TraceRecord {
            at: now,
            id,
            cdb,
            cdb_length: u16::try_from(whole.len()).unwrap_or(u16::MAX),
            data_length: slot.request.data.iter().map(|extent| extent.length).fold(0, u64::saturating_add),
            status,
            sense: sense.map(|sense| (sense.key.code(), sense.asc, sense.ascq)),
            queue_ns: nanoseconds(queue),
            service_ns: service.map_or(0, nanoseconds),
        });
    }

    /// A turn begins: reads the clock, and looks for commands that have become late, if that is wanted.
    pub(crate) fn look_for_late(&mut self) {
        let Some(lateness) = &mut self.lateness else { return };
        lateness.now = Instant::now();
        if lateness.left() > Duration::ZERO {
            return;
        }
        lateness.looked = lateness.now;
        let (now, limit) = (lateness.now, lateness.limit);
        let mut table = self.table.borrow_mut();
        if table.in_use() == 0 {
            return;
        }
        for index in table.indices() {
            let slot = table.slot(index);
            let Some(open) = slot.outstanding.as_ref().filter(|_| !slot.is_late) else { continue };
            if slot.since.is_none_or(|since| now.duration_since(since) < limit) {
                continue;
            }
            slot.is_late = true;
            self.counters.timeouts.add(1);
            let block = u64::from(self.disk.block_size());
            let (lba, blocks) =
                slot.block.map_or((0, 0), |asked| (asked.offset / block, asked.length / block));
            tracing::info!(
                device = self.name,
                id = open.id(),
                lba,
                blocks,
                seconds = limit.as_secs(),
                "{} has not ended in time; it goes on",
                opcode_name(slot.request.cdb.as_bytes())
            );
        }
    }

    /// How long the loop may sleep before it must look for late commands again; None if it need not.
    pub(crate) fn time_to_look(&self) -> Option<Duration> {
        let lateness = self.lateness.as_ref()?;
        (self.table.borrow().in_use() > 0).then(|| lateness.left())
    }
}

/// A measured command is handed to the handler, or to the composite that asks it; the first time counts.
pub(crate) fn note_handed(slot: &mut Slot) {
    if slot.taken.is_some() && slot.handed.is_none() {
        slot.handed = Some(Instant::now());
    }
}

/// Without the padding of the ring's entry.
fn whole(cdb: &[u8]) -> &[u8] {
    cdb_length(cdb).and_then(|length| cdb.get(..length)).unwrap_or(cdb)
}

/// The way that tcmu-runner writes them, so that the same tools find them in a log.
#[cold]
fn dump(cdb: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for (place, byte) in whole(cdb).iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(text, "{}{byte:x}", if place == 0 { "" } else { " " });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearer_the_clock_the_fewer_commands_are_measured() {
        assert_eq!(every(0), 1);
        assert_eq!(every(3), 1);
        assert_eq!(every(25), 8);
        assert_eq!(every(16_000), RAREST);
        assert_eq!(every(u64::MAX), RAREST);
    }

    #[test]
    fn a_clock_that_ticks_more_slowly_than_it_is_read_is_taken_for_a_dear_one() {
        assert_eq!(cost(&[25 * ROUND, 26 * ROUND, 1_000_000]), 25);
        assert_eq!(every(cost(&[0, 0, 4_000_000, 0])), RAREST);
        assert_eq!(every(cost(&[4_000_000, 4_000_000])), RAREST, "each round costs a tick");
        let every = Sampler::new().every();
        assert!(every.is_power_of_two() && every <= RAREST, "{every}");
    }

    #[test]
    fn each_class_has_its_samples_however_they_alternate() {
        let mut sampler = Sampler { mask: 7, taken: [0; Class::COUNT] };
        let mut due = [0; Class::COUNT];
        for round in 0..64 {
            let class = if round % 2 == 0 { Class::Read } else { Class::Write };
            due[class as usize] += usize::from(sampler.is_due(class));
        }
        assert_eq!(due, [4, 4, 0, 0]);
    }

    #[test]
    fn a_cdb_is_written_as_tcmu_runner_writes_it() {
        let padded = [0x28, 0, 0, 0, 0x0a, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(dump(&padded), "28 0 0 0 a 0 0 0 8 0");
        assert_eq!(dump(&[0x12, 1, 0x80, 0, 0xfc, 0, 0, 0]), "12 1 80 0 fc 0");
        // A length that is none: everything that came.
        assert_eq!(dump(&[0xff, 1]), "ff 1");
        assert_eq!(dump(&[]), "");
    }
}
