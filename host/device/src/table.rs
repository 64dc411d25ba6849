//! The commands in progress and the buffers that belong to them.
//!
//! A slot is taken when an entry leaves the ring and given back when the entry is completed (or abandoned after
//! a ring reset) *and* no store operation refers to it. Slots keep their allocations, so a warm table allocates
//! nothing.

use std::sync::Arc;
use std::time::Instant;

use lunbox_contract::{
    BlockCommand, BufferError, BufferId, Buffers, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Op, OpsResult, Tag,
};
use lunbox_memory::Mapping;
use lunbox_tcmu::{Outstanding, Request};

use crate::ranges::Window;
use crate::statistics::Class;

/// Index of a slot.
pub(crate) type SlotIndex = usize;

/// Most commands in progress: more than any LIO fabric keeps open on one LUN; the rest waits in the ring.
pub(crate) const MAX_COMMANDS: usize = 1024;

/// Bytes of all scratch buffers of a device together: a handler can not use up the host's memory.
pub(crate) const MAX_SCRATCH: usize = 64 << 20;

/// Which way the bytes of the data buffer go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    #[default]
    None,
    ToInitiator,
    FromInitiator,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The slot is free.
    #[default]
    Free,
    /// Waits for the handler, a range or the device's identity; no operation runs.
    Parked,
    /// A last operation runs; the handler is done with the command.
    Final,
    /// It is being completed at this moment.
    Ending,
    /// Operations of a list run; the handler will be resumed.
    Listed,
}

/// Why a command ends otherwise than the handler planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Its handler instance died: BUSY.
    GuestLost,
    /// The initiator aborted it: TASK ABORTED.
    Aborted,
    /// The handler planned something impossible: 4/44/00.
    InvalidPlan,
    /// The ring was reset: no completion at all.
    RingReset,
}

impl Doom {
    /// It is the initiator's or the kernel's doing.
    pub(crate) const fn is_foreign(self) -> bool {
        matches!(self, Self::Aborted | Self::RingReset)
    }
}

/// One command in progress.
#[derive(Default)]
pub(crate) struct Slot {
    pub stage: Stage,
    pub tag: u64,
    /// None once completed early (IMMED) or abandoned, and for the loop's own commands.
    pub outstanding: Option<Outstanding>,
    pub request: Request,
    pub direction: Direction,
    /// Bytes of the data buffer that the command uses.
    pub data_length: u64,
    /// The buffer is as long as that.
    pub exact: bool,
    /// What the handler was or will be asked.
    pub block: Option<BlockCommand>,
    pub doom: Option<Doom>,
    /// The data-in buffer holds nothing of earlier commands any more.
    pub filled: bool,
    /// A last read covers the whole buffer: it is filled if that read succeeds.
    pub covered: bool,
    pub ops: Vec<Op>,
    /// Operations of `ops` that were started.
    pub started: usize,
    /// Operations that were started and have not ended.
    pub running: usize,
    /// A barrier operation runs: nothing may start beside it.
    pub behind_barrier: bool,
    pub result: OpsResult,
    /// Times the handler answered with more operations.
    pub rounds: u32,
    /// Counted among the commands that a new instance must wait for.
    pub orphan: bool,
    /// Its operations were asked to end early.
    pub cancelling: bool,
    pub class: Class,
    /// When it left the ring, if it is measured.
    pub taken: Option<Instant>,
    /// When the handler was first asked, if it is measured.
    pub handed: Option<Instant>,
    /// When the turn began in which it left the ring, if lateness matters.
    pub since: Option<Instant>,
    /// Its time is over, and that was told.
    pub is_late: bool,
    scratch: Vec<Scratch>,
}

#[derive(Default)]
enum Scratch {
    #[default]
    Missing,
    Here(Vec<u8>),
    /// A store operation owns it.
    Lent,
}

impl Slot {
    /// The blocks that the command touches, if it does.
    pub(crate) fn window(&self) -> Option<Window> {
        self.block.map(|block| Window::new(block.offset, block.length))
    }

    /// Makes room for the operations of an outcome.
    pub(crate) fn begin_list(&mut self) {
        self.ops.clear();
        self.started = 0;
        self.running = 0;
        self.behind_barrier = false;
        self.result = OpsResult::default();
    }

    /// The operation that may start now. After a failure what stands behind a barrier is passed over.
    pub(crate) fn next_operation(&mut self) -> Option<Op> {
        let op = *self.ops.get(self.started)?;
        if self.behind_barrier || (op.flags.barrier && self.running > 0) {
            return None;
        }
        let after_barrier = self.started > 0 && self.ops[self.started - 1].flags.barrier;
        if self.result.first_error.is_some() && (op.flags.barrier || after_barrier) {
            self.started = self.ops.len();
            return None;
        }
        Some(op)
    }

    /// Takes a scratch buffer out for a read of `end` bytes or a write. None if it is missing or lent, or if it
    /// would have to grow by more than `room` bytes.
    pub(crate) fn lend_scratch(
        &mut self,
        buffer: BufferId,
        end: u64,
        grow: bool,
        room: &mut usize,
    ) -> Option<Vec<u8>> {
        if buffer == BufferId::DATA || buffer.0 > MAX_SCRATCH_BUFFERS || end > u64::from(MAX_SCRATCH_BYTES) {
            return None;
        }
        let end = usize::try_from(end).ok()?;
        let place = self.place(buffer)?;
        match std::mem::take(place) {
            Scratch::Here(bytes) if bytes.len() >= end => Some(bytes),
            Scratch::Here(mut bytes) if grow && end - bytes.len() <= *room => {
                *room -= end - bytes.len();
                bytes.resize(end, 0);
                Some(bytes)
            }
            Scratch::Missing if grow && end <= *room => {
                *room -= end;
                Some(vec![0; end])
            }
            other => {
                *place = other;
                return None;
            }
        }
        .inspect(|_| *place = Scratch::Lent)
    }

    /// Gives a lent scratch buffer back.
    pub(crate) fn return_scratch(&mut self, buffer: BufferId, bytes: Vec<u8>) {
        if let Some(place) = self.place(buffer) {
            *place = Scratch::Here(bytes);
        }
    }

    /// Bytes of scratch buffers; none may be lent.
    fn scratch_bytes(&self) -> usize {
        let bytes = |place: &Scratch| if let Scratch::Here(bytes) = place { bytes.len() } else { 0 };
        self.scratch.iter().map(bytes).sum()
    }

    fn place(&mut self, buffer: BufferId) -> Option<&mut Scratch> {
        let index = usize::try_from(buffer.0.checked_sub(1)?).ok()?;
        if index >= MAX_SCRATCH_BUFFERS as usize {
            return None;
        }
        if self.scratch.len() <= index {
            self.scratch.resize_with(index + 1, Scratch::default);
        }
        self.scratch.get_mut(index)
    }

    fn clear(&mut self) {
        // The buffer is somebody else's from now on, and a slot may next serve a command of the host's own.
        self.request.data.clear();
        self.request.bidi.clear();
        self.stage = Stage::Free;
        self.direction = Direction::None;
        self.data_length = 0;
        self.exact = false;
        self.block = None;
        self.doom = None;
        self.filled = false;
        self.covered = false;
        self.cancelling = false;
        self.ops.clear();
        self.started = 0;
        self.running = 0;
        self.behind_barrier = false;
        self.result = OpsResult::default();
        self.rounds = 0;
        self.orphan = false;
        self.class = Class::Other;
        self.taken = None;
        self.handed = None;
        self.since = None;
        self.is_late = false;
        self.scratch.clear();
    }
}

/// All commands in progress of one device.
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<SlotIndex>,
    sequence: u64,
    map: Arc<Mapping>,
    /// Bytes that scratch buffers may still take.
    scratch_room: usize,
}

impl Table {
    pub(crate) fn new(map: Arc<Mapping>) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), sequence: 0, map, scratch_room: MAX_SCRATCH }
    }

    /// A free slot with a tag that was never used before, or None if the table is full.
    pub(crate) fn take(&mut self) -> Option<SlotIndex> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MAX_COMMANDS => {
                self.slots.push(Slot::default());
                self.free.reserve(self.slots.len());
                self.slots.len() - 1
            }
            None => return None,
        };
        self.sequence += 1;
        self.slots[index].tag = (self.sequence << 16) | index as u64;
        Some(index)
    }

    /// Gives a slot back. Its entry must be completed or abandoned, its operations ended.
    pub(crate) fn give_back(&mut self, index: SlotIndex) {
        debug_assert_eq!(self.slots[index].running, 0, "a slot is given back while operations refer to it");
        debug_assert!(self.slots[index].outstanding.is_none(), "a slot is given back with its entry open");
        debug_assert!(!self.free.contains(&index), "a slot is given back twice");
        self.scratch_room += self.slots[index].scratch_bytes();
        self.slots[index].clear();
        self.free.push(index);
    }

    /// A slot, and the bytes by which its scratch buffers may grow.
    pub(crate) fn slot_and_room(&mut self, index: SlotIndex) -> (&mut Slot, &mut usize) {
        (&mut self.slots[index], &mut self.scratch_room)
    }

    pub(crate) fn slot(&mut self, index: SlotIndex) -> &mut Slot {
        &mut self.slots[index]
    }

    pub(crate) fn peek(&self, index: SlotIndex) -> &Slot {
        &self.slots[index]
    }

    /// Commands in progress.
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Room for another command.
    pub(crate) fn has_room(&self) -> bool {
        self.in_use() < MAX_COMMANDS
    }

    /// Indices of the slots that ever existed; free ones have [`Stage::Free`].
    pub(crate) fn indices(&self) -> std::ops::Range<SlotIndex> {
        0..self.slots.len()
    }

    fn find(&mut self, tag: Tag) -> Result<&mut Slot, BufferError> {
        let index = usize::try_from(tag.0 & 0xffff).map_err(|_| BufferError::UnknownTag)?;
        self.slots
            .get_mut(index)
            .filter(|slot| slot.tag == tag.0 && slot.stage != Stage::Free && slot.doom.is_none())
            .ok_or(BufferError::UnknownTag)
    }

    /// Zeroes the data-in buffer unless that was done: bytes of earlier commands never reach an initiator.
    pub(crate) fn fill(&mut self, index: SlotIndex) -> Result<(), BufferError> {
        let map = Arc::clone(&self.map);
        fill(&mut self.slots[index], &map)
    }

    /// Copies an answer of the host into the data-in buffer, as much as fits; the rest is zeroed.
    ///
    /// Returns the bytes copied.
    pub(crate) fn answer(&mut self, index: SlotIndex, bytes: &[u8]) -> Result<u64, BufferError> {
        let slot = &mut self.slots[index];
        let mut rest = bytes;
        let mut copied = 0;
        for extent in &slot.request.data {
            let room = usize::try_from(extent.length).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            self.map.copy_in(extent.offset, now).map_err(|_| BufferError::Lost)?;
            self.map
                .zero(extent.offset + now.len() as u64, extent.length - now.len() as u64)
                .map_err(|_| BufferError::Lost)?;
            copied += now.len() as u64;
            rest = later;
        }
        slot.filled = true;
        Ok(copied)
    }
}

fn fill(slot: &mut Slot, map: &Mapping) -> Result<(), BufferError> {
    // A command without data may come with a buffer all the same, and it may be one that the initiator gets to see.
    if slot.direction != Direction::FromInitiator && !slot.filled {
        for extent in &slot.request.data {
            map.zero(extent.offset, extent.length).map_err(|_| BufferError::Lost)?;
        }
        slot.filled = true;
    }
    Ok(())
}

/// Calls `piece(map offset, start in the caller's bytes, length)` for each part of `[offset, offset + length)` of a
/// scattered buffer.
fn scatter(
    slot: &Slot,
    offset: u32,
    length: usize,
    mut piece: impl FnMut(u64, usize, usize) -> Result<(), BufferError>,
) -> Result<(), BufferError> {
    let mut skip = u64::from(offset);
    let mut done = 0;
    for extent in &slot.request.data {
        if done == length {
            break;
        }
        if skip >= extent.length {
            skip -= extent.length;
            continue;
        }
        let room = usize::try_from(extent.length - skip).unwrap_or(usize::MAX);
        let step = room.min(length - done);
        piece(extent.offset + skip, done, step)?;
        (done, skip) = (done + step, 0);
    }
    if done == length { Ok(()) } else { Err(BufferError::OutOfRange) }
}

impl Buffers for Table {
    fn take(&mut self, tag: Tag, buffer: BufferId, offset: u32, out: &mut [u8]) -> Result<(), BufferError> {
        let map = Arc::clone(&self.map);
        let slot = self.find(tag)?;
        if buffer == BufferId::DATA {
            if slot.direction != Direction::FromInitiator {
                return Err(BufferError::WrongDirection);
            }
            if u64::from(offset) + out.len() as u64 > slot.data_length {
                return Err(BufferError::OutOfRange);
            }
            return scatter(slot, offset, out.len(), |at, start, length| {
                map.copy_out(at, &mut out[start..start + length]).map_err(|_| BufferError::Lost)
            });
        }
        match slot.place(buffer) {
            None | Some(Scratch::Missing) => Err(BufferError::UnknownBuffer),
            Some(Scratch::Lent) => Err(BufferError::InUse),
            Some(Scratch::Here(bytes)) => {
                let start = offset as usize;
                let from = bytes.get(start..).and_then(|rest| rest.get(..out.len()));
                out.copy_from_slice(from.ok_or(BufferError::OutOfRange)?);
                Ok(())
            }
        }
    }

    fn put(&mut self, tag: Tag, buffer: BufferId, offset: u32, data: &[u8]) -> Result<(), BufferError> {
        let map = Arc::clone(&self.map);
        let room = self.scratch_room;
        let slot = self.find(tag)?;
        if buffer == BufferId::DATA {
            if slot.direction != Direction::ToInitiator {
                return Err(BufferError::WrongDirection);
            }
            if u64::from(offset) + data.len() as u64 > slot.data_length {
                return Err(BufferError::OutOfRange);
            }
            if slot.running > 0 {
                return Err(BufferError::InUse);
            }
            fill(slot, &map)?;
            return scatter(slot, offset, data.len(), |at, start, length| {
                map.copy_in(at, &data[start..start + length]).map_err(|_| BufferError::Lost)
            });
        }
        let start = offset as usize;
        let end = start + data.len();
        if end > MAX_SCRATCH_BYTES as usize {
            return Err(BufferError::OutOfRange);
        }
        match slot.place(buffer).ok_or(BufferError::UnknownBuffer)? {
            Scratch::Lent => Err(BufferError::InUse),
            place => {
                if matches!(place, Scratch::Missing) {
                    *place = Scratch::Here(Vec::new());
                }
                if let Scratch::Here(bytes) = place {
                    let growth = end.saturating_sub(bytes.len());
                    if growth > room {
                        return Err(BufferError::OutOfRange);
                    }
                    bytes.resize(bytes.len() + growth, 0);
                    bytes[start..end].copy_from_slice(data);
                    self.scratch_room -= growth;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunbox_contract::{OpError, OpFailure, OpFlags, OpKind, StoreId};

    fn op(barrier: bool) -> Op {
        Op {
            kind: OpKind::Flush,
            store: StoreId(0),
            store_offset: 0,
            buffer: BufferId::DATA,
            buffer_offset: 0,
            length: 0,
            flags: OpFlags { barrier, ..OpFlags::default() },
        }
    }

    /// Starts what may start; returns how many that were.
    fn start(slot: &mut Slot) -> usize {
        let before = slot.started;
        while let Some(op) = slot.next_operation() {
            slot.started += 1;
            slot.running += 1;
            slot.behind_barrier = op.flags.barrier;
        }
        slot.started - before
    }

    fn end(slot: &mut Slot, position: usize, failed: bool) {
        slot.running -= 1;
        if slot.ops[position].flags.barrier {
            slot.behind_barrier = false;
        }
        if failed {
            slot.result.first_error = Some(OpFailure { index: 0, error: OpError::Io });
        }
    }

    fn list(barriers: [bool; 5]) -> Slot {
        Slot { ops: barriers.map(op).to_vec(), ..Slot::default() }
    }

    #[test]
    fn a_barrier_waits_for_what_stands_before_it_and_holds_back_what_stands_behind() {
        let mut slot = list([false, false, true, false, false]);
        assert_eq!(start(&mut slot), 2);
        end(&mut slot, 1, false);
        assert_eq!(start(&mut slot), 0, "one before the barrier still runs");
        end(&mut slot, 0, false);
        assert_eq!(start(&mut slot), 1, "the barrier runs alone");
        end(&mut slot, 2, false);
        assert_eq!(start(&mut slot), 2);
    }

    #[test]
    fn a_failure_keeps_what_stands_behind_the_next_barrier_from_starting() {
        let mut slot = list([false, false, true, false, false]);
        start(&mut slot);
        end(&mut slot, 0, true);
        end(&mut slot, 1, false);
        assert_eq!(slot.next_operation(), None);
        assert_eq!((slot.started, slot.running), (5, 0), "the list has ended");
    }

    #[test]
    fn a_failed_barrier_ends_the_list_and_a_failure_within_a_group_does_not() {
        let mut slot = list([true, false, false, false, true]);
        assert_eq!(start(&mut slot), 1);
        end(&mut slot, 0, true);
        assert_eq!(slot.next_operation(), None);
        assert_eq!(slot.started, 5);

        let mut slot = list([false, false, false, false, false]);
        assert_eq!(start(&mut slot), 5, "no barrier: all at once");
    }

    #[test]
    fn scratch_buffers_are_lent_to_one_operation_at_a_time_and_stay_within_the_limit() {
        let mut slot = Slot::default();
        let mut room = 1000;
        let mut lend = |slot: &mut Slot, buffer, end, grow| slot.lend_scratch(buffer, end, grow, &mut room);
        assert!(lend(&mut slot, BufferId(1), 512, false).is_none(), "nothing was put into it");
        let lent = lend(&mut slot, BufferId(1), 512, true).unwrap();
        assert!(lend(&mut slot, BufferId(1), 512, true).is_none(), "in use");
        slot.return_scratch(BufferId(1), lent);
        assert_eq!(lend(&mut slot, BufferId(1), 100, false).map(|bytes| bytes.len()), Some(512));
        assert!(lend(&mut slot, BufferId(2), 489, true).is_none(), "more than what is left for all");
        assert_eq!(lend(&mut slot, BufferId(2), 488, true).map(|bytes| bytes.len()), Some(488));
        assert!(lend(&mut slot, BufferId(16), 1, true).is_none());
        assert!(lend(&mut slot, BufferId::DATA, 1, true).is_none());
    }

    #[test]
    fn scratch_memory_of_all_commands_is_limited_and_comes_back() {
        let mut table = Table::new(Arc::new(Mapping::anonymous(4096).unwrap()));
        let mut taken = Vec::new();
        let refused = loop {
            let index = table.take().unwrap();
            table.slot(index).stage = Stage::Parked;
            taken.push(index);
            let tag = Tag(table.slot(index).tag);
            let put = (1..=15).try_for_each(|n| table.put(tag, BufferId(n), MAX_SCRATCH_BYTES - 1, b"x"));
            if put.is_err() {
                break put;
            }
        };
        assert_eq!(refused, Err(BufferError::OutOfRange));
        assert_eq!(taken.len(), 5, "four times 15 MiB fit");
        taken.into_iter().for_each(|index| table.give_back(index));
        assert_eq!(table.scratch_room, MAX_SCRATCH);
    }

    #[test]
    fn tags_are_never_used_twice_and_stale_ones_find_nothing() {
        let map = Arc::new(Mapping::anonymous(4096).unwrap());
        let mut table = Table::new(map);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let index = table.take().unwrap();
            table.slot(index).stage = Stage::Parked;
            let tag = Tag(table.slot(index).tag);
            assert!(seen.insert(tag));
            assert_eq!(table.put(tag, BufferId(1), 0, b"x"), Ok(()));
            table.give_back(index);
            assert_eq!(table.put(tag, BufferId(1), 0, b"x"), Err(BufferError::UnknownTag));
        }
    }
}
