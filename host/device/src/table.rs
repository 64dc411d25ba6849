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
use lunbox_memory::{Extent, Mapping};
use lunbox_scsi::SenseKeySpecific;
use lunbox_tcmu::{Outstanding, Request};

use crate::compose::{Composition, MAX_STEPS, Step};
use crate::ranges::Window;
use crate::statistics::Class;

/// Index of a slot.
pub(crate) type SlotIndex = usize;

/// Most commands in progress: more than any LIO fabric keeps open on one LUN; the rest waits in the ring.
pub(crate) const MAX_COMMANDS: usize = 1024;

/// Most slots: commands, their steps, and the host's own flushes. A tag has 16 bits for the index.
const MAX_SLOTS: usize = 1 << 15;
const _: () = assert!(MAX_SLOTS >= MAX_COMMANDS * (1 + MAX_STEPS) + 16);

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
    /// Steps of a composite command run, or the next ones are about to be decided.
    Composed,
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
    /// A step of a command that is doomed.
    Parent,
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
    /// Operations that were started and have not ended; for a composite command, its steps.
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
    /// A reset of the unit ended it for the initiator, and it runs to its end.
    pub is_reset: bool,
    /// For a composite command: what decides its steps.
    pub composition: Option<Box<Composition>>,
    /// For a step: whose it is.
    pub step: Option<Step>,
    /// No command: the stores are asked how much room they have.
    pub asks_space: bool,
    /// The field that is wrong, if it ends so.
    pub specific: Option<SenseKeySpecific>,
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
    /// The command of the initiator that it belongs to.
    pub(crate) fn parent(&self) -> Option<SlotIndex> {
        self.step.as_ref().map(|step| step.parent)
    }

    /// A composite command whose GOOD was told.
    pub(crate) fn is_early(&self) -> bool {
        self.composition.as_ref().is_some_and(|composition| composition.is_early)
    }

    /// A composite command one of whose steps has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.composition.as_ref().is_some_and(|composition| composition.failure.is_some())
    }

    /// Bytes of the data buffer that came with it.
    pub(crate) fn data_room(&self) -> u64 {
        self.request.data.iter().map(|extent| extent.length).fold(0, u64::saturating_add)
    }

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

    /// Takes a scratch buffer out for good. None if it is not there, or lent.
    pub(crate) fn take_scratch(&mut self, buffer: BufferId) -> Option<Vec<u8>> {
        match std::mem::take(self.place(buffer)?) {
            Scratch::Here(bytes) => Some(bytes),
            Scratch::Missing | Scratch::Lent => None,
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
        self.is_reset = false;
        self.composition = None;
        self.step = None;
        self.asks_space = false;
        self.specific = None;
        self.scratch.clear();
    }
}

/// All commands in progress of one device.
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<SlotIndex>,
    sequence: u64,
    map: Arc<Mapping>,
    /// Where steps have the bytes that are not the initiator's, once there was one.
    work: Option<Arc<Mapping>>,
    /// Slots that are steps.
    steps: usize,
    /// Bytes that scratch buffers may still take.
    scratch_room: usize,
}

impl Table {
    pub(crate) fn new(map: Arc<Mapping>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            map,
            work: None,
            steps: 0,
            scratch_room: MAX_SCRATCH,
        }
    }

    /// Memory for steps was made.
    pub(crate) fn set_work(&mut self, map: Arc<Mapping>) {
        self.work = Some(map);
    }

    /// A slot for a step of a composite command.
    pub(crate) fn take_for(&mut self, step: Step) -> Option<SlotIndex> {
        let index = self.take()?;
        self.slots[index].step = Some(step);
        self.steps += 1;
        Some(index)
    }

    /// A free slot with a tag that was never used before, or None if the table is full.
    pub(crate) fn take(&mut self) -> Option<SlotIndex> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MAX_SLOTS => {
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
        self.steps -= usize::from(self.slots[index].step.is_some());
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

    /// Slots in use: commands in progress and their steps.
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Commands in progress.
    pub(crate) fn commands(&self) -> usize {
        self.in_use() - self.steps
    }

    /// Room for another command.
    pub(crate) fn has_room(&self) -> bool {
        self.commands() < MAX_COMMANDS
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
        let slot = &mut self.slots[index];
        fill(slot, memory(slot, &self.map, self.work.as_ref()))
    }

    /// Copies bytes out of a command's data buffer, from its byte `offset` on.
    pub(crate) fn copy_out(&self, index: SlotIndex, offset: u64, out: &mut [u8]) -> Result<(), BufferError> {
        scatter(&self.slots[index].request.data, offset, out.len(), |at, start, length| {
            self.map.copy_out(at, &mut out[start..start + length]).map_err(|_| BufferError::Lost)
        })
    }

    /// Copies bytes into a command's data buffer, from its byte `offset` on.
    pub(crate) fn copy_in(&self, index: SlotIndex, offset: u64, bytes: &[u8]) -> Result<(), BufferError> {
        scatter(&self.slots[index].request.data, offset, bytes.len(), |at, start, length| {
            self.map.copy_in(at, &bytes[start..start + length]).map_err(|_| BufferError::Lost)
        })
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

/// The memory that a slot's buffer lies in. Work memory is there before the first step that uses it.
fn memory<'a>(slot: &Slot, ring: &'a Arc<Mapping>, work: Option<&'a Arc<Mapping>>) -> &'a Arc<Mapping> {
    match &slot.step {
        Some(step) if step.in_work => work.unwrap_or(ring),
        _ => ring,
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
    extents: &[Extent],
    offset: u64,
    length: usize,
    mut piece: impl FnMut(u64, usize, usize) -> Result<(), BufferError>,
) -> Result<(), BufferError> {
    let mut skip = offset;
    let mut done = 0;
    for extent in extents {
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
        let (ring, work) = (Arc::clone(&self.map), self.work.clone());
        let slot = self.find(tag)?;
        if buffer == BufferId::DATA {
            let map = memory(slot, &ring, work.as_ref());
            if slot.direction != Direction::FromInitiator {
                return Err(BufferError::WrongDirection);
            }
            if u64::from(offset) + out.len() as u64 > slot.data_length {
                return Err(BufferError::OutOfRange);
            }
            return scatter(&slot.request.data, u64::from(offset), out.len(), |at, start, length| {
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
        let (ring, work) = (Arc::clone(&self.map), self.work.clone());
        let room = self.scratch_room;
        let slot = self.find(tag)?;
        if buffer == BufferId::DATA {
            let map = memory(slot, &ring, work.as_ref());
            if slot.direction != Direction::ToInitiator {
                return Err(BufferError::WrongDirection);
            }
            if u64::from(offset) + data.len() as u64 > slot.data_length {
                return Err(BufferError::OutOfRange);
            }
            if slot.running > 0 {
                return Err(BufferError::InUse);
            }
            fill(slot, map)?;
            return scatter(&slot.request.data, u64::from(offset), data.len(), |at, start, length| {
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
mod tests;
