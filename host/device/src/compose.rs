//! Commands that are made of steps: a [`Composite`] decides, its steps run as commands of their own.
//!
//! Each step has a slot of the table without a ring entry, and goes the way of a plain command: planned by the handler,
//! run by the executor, held back by ranges. What `running` counts of a composite command are its steps, so that the
//! rule of buffers holds for it by itself: it is completed when no step is left, and a step ends when no store operation
//! is left.
//!
//! A composite is asked for its next steps from the loop's turn only ([`DeviceLoop::run_composites`]), never where a
//! step ends: a handler that answers at once makes no recursion, and a long command lets others have their turns.

mod admission;
mod data;
mod step;
mod work;

use lunbox_compose::{Ask, Composite, Failure, Next, Scope, Verdict};
use lunbox_contract::{BlockKind, Status};
use lunbox_scsi::{Sense, SenseKeySpecific, opcode_name};

use crate::control::Event;
use crate::ranges::Window;
use crate::run::DeviceLoop;
use crate::serve::code;
use crate::settings::Modes;
use crate::table::{Direction, Doom, SlotIndex, Stage};

use data::Data;
pub(crate) use step::Step;
pub(crate) use work::WorkArea;

/// Most steps of one command at the same time.
pub(crate) const MAX_STEPS: usize = 8;

/// Composites that are asked in one turn: the ring must not wait for one whose handler answers at once.
const ASKED_PER_TURN: usize = 64;

/// What the loop keeps for a composite command.
#[derive(Debug)]
pub(crate) struct Composition {
    composite: Box<dyn Composite>,
    /// The range that it wants for itself.
    alone: Option<Window>,
    /// It has it, or wants none.
    has_range: bool,
    /// Bytes of work memory.
    work: u64,
    /// Its piece of the work area, once it has one.
    piece: Option<u32>,
    /// It waits for a piece.
    wants_piece: bool,
    /// GOOD was told.
    pub(crate) is_early: bool,
    /// The unit is not ready meanwhile.
    occupies: bool,
    /// It waits in `composites` to be asked.
    is_queued: bool,
    /// The first of the last steps that failed: its place and how.
    pub(crate) failure: Option<(usize, Failure)>,
}

impl Composition {
    fn new(composite: Box<dyn Composite>) -> Self {
        let alone = match composite.scope() {
            Scope::Shared => None,
            Scope::Alone { offset, length } => Some(Window::new(offset, length)),
        };
        let work = composite.work();
        Self {
            alone,
            has_range: alone.is_none(),
            work,
            piece: None,
            wants_piece: false,
            is_early: false,
            occupies: composite.occupies_unit(),
            is_queued: false,
            failure: None,
            composite,
        }
    }
}

impl DeviceLoop {
    /// A command turned out to be made of steps.
    pub(crate) fn begin_composite(
        &mut self,
        index: SlotIndex,
        composite: Box<dyn Composite>,
        direction: Direction,
        data_length: u64,
    ) {
        // What came before it is planned before it.
        self.plan_batch();
        if self.reset.is_some() {
            // A completion has found the ring reset, and this command has been forgotten.
            return;
        }
        let mut composition = Box::new(Composition::new(composite));
        let occupies = composition.occupies;
        let early = {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            slot.direction = direction;
            slot.data_length = data_length;
            // READ_LEN always says how much was filled.
            slot.exact = false;
            if let Some(window) = composition.alone {
                self.ranges.claim(index, window, slot.tag);
            }
            let early = composition.composite.is_immediate() && table.fill(index).is_ok();
            let slot = table.slot(index);
            composition.is_early = early;
            slot.composition = Some(composition);
            self.composed += 1;
            if early {
                // From here on the buffer is somebody else's.
                slot.data_length = 0;
                slot.request.data.clear();
                let open = slot.outstanding.take();
                if let Some(open) = &open {
                    self.note_end(slot, open.id(), code::GOOD, None);
                }
                open
            } else {
                None
            }
        };
        if occupies {
            self.disk.formatting(Some(0));
        }
        if let Some(outstanding) = early {
            self.background += 1;
            self.complete(outstanding, code::GOOD, None, None, None);
        }
        self.admit(index, true);
    }

    /// Asks composites whose steps have ended, oldest first.
    pub(crate) fn run_composites(&mut self) {
        for _ in 0..ASKED_PER_TURN {
            let Some(index) = self.composites.pop_front() else { break };
            if let Some(composition) = &mut self.table.borrow_mut().slot(index).composition {
                composition.is_queued = false;
            }
            self.ask(index);
        }
    }

    /// Queues a composite to be asked.
    fn enqueue(&mut self, index: SlotIndex) {
        if let Some(composition) = &mut self.table.borrow_mut().slot(index).composition
            && !std::mem::replace(&mut composition.is_queued, true)
        {
            self.composites.push_back(index);
        }
    }

    /// Asks a composite what comes next. None of its steps runs.
    fn ask(&mut self, index: SlotIndex) {
        let facts = self.disk.facts();
        let mut asks = std::mem::take(&mut self.asks);
        asks.clear();
        let (next, progress) = {
            let mut table = self.table.borrow_mut();
            let Some(mut composition) = table.slot(index).composition.take() else {
                debug_assert!(false, "only composites are queued");
                return;
            };
            let last = composition.failure.take().map_or(Ok(()), |(_, failure)| Err(failure));
            let mut data = Data {
                facts,
                table: &table,
                index,
                work: self.work.memory().zip(composition.piece),
                work_length: composition.work,
                asks: &mut asks,
                progress: None,
            };
            let next = composition.composite.next(last, &mut data);
            let progress = data.progress.filter(|_| composition.occupies);
            table.slot(index).composition = Some(composition);
            (next, progress)
        };
        if progress.is_some() {
            self.disk.formatting(progress);
        }
        match next {
            Next::Wait if !asks.is_empty() && asks.len() <= MAX_STEPS => self.start_steps(index, &asks),
            Next::Wait => {
                debug_assert!(false, "a composite waits for {} steps", asks.len());
                self.end_composite(index, Verdict::Check(Sense::INTERNAL_TARGET_FAILURE, None));
            }
            Next::End(verdict) => self.end_composite(index, verdict),
        }
        self.asks = asks;
    }

    fn start_steps(&mut self, index: SlotIndex, asks: &[Ask]) {
        // All of them from the start: the command can not end before the last has been looked at.
        self.table.borrow_mut().slot(index).running = asks.len();
        for (place, ask) in asks.iter().enumerate() {
            let over = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                // After a failure the rest would only do what is not told to anybody.
                slot.doom.is_some() || slot.has_failed()
            };
            if over {
                self.step_ended(index, place, Err(Failure::Status(Status::Busy)));
            } else if let Err(failure) = self.start_step(index, place, ask) {
                self.step_ended(index, place, Err(failure));
            }
        }
    }

    /// One step less.
    pub(crate) fn step_ended(&mut self, index: SlotIndex, place: usize, result: Result<(), Failure>) {
        let (running, doom) = {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            slot.running -= 1;
            if let (Err(failure), Some(composition)) = (result, &mut slot.composition)
                && composition.failure.is_none_or(|(first, _)| place < first)
            {
                composition.failure = Some((place, failure));
            }
            (slot.running, slot.doom)
        };
        match doom {
            _ if running > 0 => {}
            Some(doom) => self.finish_doomed(index, doom),
            None => self.enqueue(index),
        }
    }

    fn end_composite(&mut self, index: SlotIndex, verdict: Verdict) {
        let (status, sense, specific) = match verdict {
            Verdict::Good => (code::GOOD, None, None),
            Verdict::Filled(bytes) => {
                self.table.borrow_mut().slot(index).data_length = bytes;
                (code::GOOD, None, None)
            }
            Verdict::SetModes { write_cache, software_write_protect, descriptor_sense } => {
                self.set_modes(write_cache, Modes { software_write_protect, descriptor_sense });
                (code::GOOD, None, None)
            }
            Verdict::Check(sense, field) => {
                (code::CHECK_CONDITION, Some(sense), field.map(SenseKeySpecific::Field))
            }
            Verdict::Failed(Failure::Check(sense)) => (code::CHECK_CONDITION, Some(sense), None),
            Verdict::Failed(Failure::Status(Status::Good)) => {
                debug_assert!(false, "GOOD is no failure");
                (code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE), None)
            }
            Verdict::Failed(Failure::Status(status)) => (code::of(status), None, None),
        };
        if status != code::GOOD && self.table.borrow().peek(index).is_early() {
            let table = self.table.borrow();
            let name = opcode_name(table.peek(index).request.cdb.as_bytes());
            tracing::error!(
                device = self.name,
                status,
                ?sense,
                "{name}, which was answered early, has failed"
            );
        }
        self.table.borrow_mut().slot(index).specific = specific;
        self.finish(index, status, sense, None);
        if matches!(verdict, Verdict::SetModes { .. }) {
            // Not before: a completion may find the ring reset, and this command would have been forgotten.
            self.hold_parked_to_modes();
        }
    }

    /// Writes that wait were looked at under the modes before: they are to be done as the new ones say.
    fn hold_parked_to_modes(&mut self) {
        let (durable, protection) =
            (self.disk.holds_back() && !self.disk.write_cache(), self.disk.write_protection());
        let mut refused = Vec::new();
        let mut table = self.table.borrow_mut();
        for &index in &self.parked {
            let slot = table.slot(index);
            let Some(block) = slot.block.as_mut().filter(|block| block.kind == BlockKind::Write) else {
                continue;
            };
            if slot.step.is_some() {
                continue;
            }
            block.fua |= durable;
            if protection.is_some() {
                refused.push(index);
            }
        }
        drop(table);
        for index in refused {
            // A completion may have found the ring reset, and then the rest has been forgotten.
            if self.reset.is_none() {
                self.unpark(index);
                self.finish(index, code::CHECK_CONDITION, protection, None);
            }
        }
    }

    fn set_modes(&mut self, write_cache: bool, modes: Modes) {
        let before = self.disk.modes();
        let switched =
            self.disk.apply_modes(write_cache, modes.software_write_protect, modes.descriptor_sense);
        if switched {
            self.counters.write_cache.set(u64::from(write_cache));
            tracing::info!(device = self.name, on = write_cache, "an initiator switched the write cache");
        }
        if switched || before != modes {
            (self.events)(Event::ModesChanged { write_cache, modes });
        }
    }

    /// Dooms the steps of a doomed command: those that wait end now.
    pub(crate) fn doom_steps(&mut self, parent: SlotIndex) {
        let indices = self.table.borrow().indices();
        for index in indices {
            let (stage, running, tag) = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                if slot.parent() != Some(parent) || matches!(slot.stage, Stage::Free | Stage::Ending) {
                    continue;
                }
                (slot.stage, slot.running, slot.tag)
            };
            if running == 0 {
                self.unpark(index);
                self.finish_busy(index);
            } else {
                self.doom(index, Doom::Parent);
                if stage == Stage::Listed {
                    self.tell_cancelled(tag);
                }
            }
        }
        self.cancel_doomed();
    }

    /// Ends composite commands, as soon as their steps have ended: all, or those that were answered early.
    pub(crate) fn cancel_composites(&mut self, only_early: bool) {
        if self.composed == 0 {
            return;
        }
        let indices = self.table.borrow().indices();
        for index in indices {
            let (running, early) = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                let Some(composition) = &slot.composition else { continue };
                if slot.doom.is_some() || slot.stage == Stage::Ending || (only_early && !composition.is_early)
                {
                    continue;
                }
                (slot.running, composition.is_early)
            };
            if early {
                let table = self.table.borrow();
                let name = opcode_name(table.peek(index).request.cdb.as_bytes());
                tracing::warn!(
                    device = self.name,
                    "{name}, which was answered early, is cut short: the device stops; repeat it"
                );
            }
            if running == 0 {
                self.unpark(index);
                self.finish_busy(index);
            } else {
                self.doom(index, Doom::GuestLost);
                self.doom_steps(index);
            }
        }
    }

    /// A command that has a range, a piece of work memory or the unit gives them back.
    #[cold]
    pub(crate) fn release(&mut self, index: SlotIndex) {
        let mut freed = self.ranges.release(index);
        let composition = self.table.borrow_mut().slot(index).composition.take();
        if let Some(composition) = composition {
            self.composed -= 1;
            self.background -= usize::from(composition.is_early);
            self.waiting_for_work -= usize::from(composition.wants_piece);
            if composition.occupies {
                self.disk.formatting(None);
            }
            if composition.is_queued {
                self.composites.retain(|&other| other != index);
            }
            if let Some(piece) = composition.piece {
                self.work.give_back(piece);
                freed = true;
            }
        }
        self.has_freed |= freed;
    }
}
