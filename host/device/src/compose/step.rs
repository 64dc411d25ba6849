//! One step of a composite command: a slot without a ring entry, on the way of a plain command.

use lunbox_compose::{Ask, Facts, Failure, Verb, Where};
use lunbox_contract::{BlockCommand, BlockKind, Outcome, Status, Tag};
use lunbox_engine::{Fault, Handler};
use lunbox_memory::Extent;
use lunbox_scsi::Sense;

use super::work::place;
use crate::run::DeviceLoop;
use crate::serve::code;
use crate::table::{Direction, SlotIndex, Stage};

/// What makes a slot a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Whose it is.
    pub(crate) parent: SlotIndex,
    /// The parent's tag: a step has its parent's place in the queue for a range.
    ticket: u64,
    /// Its number among those that run together.
    place: usize,
    verb: Verb,
    /// Its buffer lies in the work area; else, if it has one, in the ring.
    pub(crate) in_work: bool,
}

/// Bytes of buffer that a step uses, and which way they go.
const fn buffer(ask: &Ask) -> (u64, Direction) {
    match ask.verb {
        Verb::Read => (ask.length, Direction::ToInitiator),
        Verb::Write => (ask.length, Direction::FromInitiator),
        Verb::CompareAndWrite => (ask.length.saturating_mul(2), Direction::FromInitiator),
        Verb::Status { room } => (room as u64, Direction::ToInitiator),
        Verb::Flush | Verb::Unmap | Verb::WriteZeroes { .. } => (0, Direction::None),
    }
}

/// Checks what a composite asks for. Its range was checked against the CDB; the unit may have shrunk since.
fn check(ask: &Ask, facts: &Facts) -> Result<(), Failure> {
    let internal = Err(Failure::Check(Sense::INTERNAL_TARGET_FAILURE));
    let able = match ask.verb {
        Verb::Read | Verb::Write | Verb::Flush => true,
        Verb::Unmap => facts.unmap.is_some(),
        Verb::WriteZeroes { .. } => facts.write_zeroes,
        Verb::CompareAndWrite => facts.compare_and_write,
        Verb::Status { .. } => facts.lba_status,
    };
    let empty = ask.length == 0 && ask.verb != Verb::Flush;
    // A new instance of the handler may be able to do less than the one that the composite began with.
    debug_assert!(!empty, "{ask:?}");
    if !able || empty {
        return internal;
    }
    if ask.offset.checked_add(ask.length).is_none_or(|end| end > facts.size) {
        return Err(Failure::Check(Sense::LBA_OUT_OF_RANGE));
    }
    Ok(())
}

impl DeviceLoop {
    /// Starts a step, or says why it can not.
    pub(super) fn start_step(
        &mut self,
        parent: SlotIndex,
        place_in_list: usize,
        ask: &Ask,
    ) -> Result<(), Failure> {
        check(ask, &self.disk.facts())?;
        let internal = Failure::Check(Sense::INTERNAL_TARGET_FAILURE);
        let (bytes, direction) = buffer(ask);
        let index = {
            let mut table = self.table.borrow_mut();
            let in_work = matches!(ask.buffer, Where::Work(_));
            let step = Step {
                parent,
                ticket: table.peek(parent).tag,
                place: place_in_list,
                verb: ask.verb,
                in_work,
            };
            let index = table.take_for(step).ok_or(Failure::Status(Status::Busy))?;
            let mut extents = std::mem::take(&mut table.slot(index).request.data);
            let fits = extents_of(table.peek(parent), ask.buffer, bytes, direction, &mut extents);
            let background = table.peek(parent).is_early();
            let slot = table.slot(index);
            slot.request.data = extents;
            if !fits {
                debug_assert!(fits, "{ask:?} is outside of its buffer");
                table.give_back(index);
                return Err(internal);
            }
            slot.stage = Stage::Parked;
            slot.direction = direction;
            slot.data_length = bytes;
            slot.exact = true;
            let kind = match ask.verb {
                Verb::Read | Verb::Status { .. } => BlockKind::Read,
                Verb::Flush => BlockKind::Flush,
                // What the handler is asked is the step's verb; this says what the blocks are used for.
                Verb::Write | Verb::Unmap | Verb::WriteZeroes { .. } | Verb::CompareAndWrite => {
                    BlockKind::Write
                }
            };
            let (tag, fua) = (Tag(slot.tag), ask.fua);
            slot.block = Some(BlockCommand { tag, kind, fua, offset: ask.offset, length: ask.length });
            self.background += usize::from(background);
            index
        };
        self.plan_step(index);
        Ok(())
    }

    /// Asks the handler, or waits until it can be asked.
    pub(super) fn plan_step(&mut self, index: SlotIndex) {
        let (command, step, window, early, over) = {
            let table = self.table.borrow();
            let slot = table.peek(index);
            let (Some(command), Some(step)) = (slot.block, slot.step) else { return };
            let parent = table.peek(step.parent);
            (command, step, slot.window(), parent.is_early(), parent.has_failed())
        };
        if over {
            return self.finish_busy(index);
        }
        if window.is_some_and(|window| self.ranges.blocks(window, step.ticket, step.parent)) {
            self.parked.push_back(index);
            return;
        }
        if let Some(handler) = self.guest.instance() {
            let outcome = submit(handler, &command, step.verb);
            self.decide(index, outcome);
        } else if self.is_down_for_long() && !early {
            self.counters.busy.add(1);
            self.finish_busy(index);
        } else {
            // Nobody waits for an answer to a command that was answered early.
            self.parked.push_back(index);
        }
    }

    /// The way out of a step: its slot is given back, and its command told.
    pub(crate) fn finish_step(&mut self, index: SlotIndex, status: u8, sense: Option<Sense>) {
        let Some(step) = self.table.borrow().peek(index).step else { return };
        let mut result = match (status, sense) {
            (code::GOOD, _) => Ok(()),
            (code::CHECK_CONDITION, Some(sense)) => Err(Failure::Check(sense)),
            (code::CHECK_CONDITION, None) => Err(Failure::Check(Sense::INTERNAL_TARGET_FAILURE)),
            (status, _) => Err(Failure::Status(code::status(status))),
        };
        let length;
        {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            slot.stage = Stage::Ending;
            slot.filled |= slot.covered && result.is_ok();
            // A part that a read left out reads as zeros, as in a plain command.
            if result.is_ok() && table.fill(index).is_err() {
                result = Err(Failure::Status(Status::Busy));
            }
            length = table.peek(index).block.map_or(0, |block| block.length);
            assert_eq!(
                table.slot(index).running,
                0,
                "a step ends while store operations refer to its buffer"
            );
            self.background -= usize::from(table.peek(step.parent).is_early());
        }
        let takes_room = matches!(step.verb, Verb::Write | Verb::WriteZeroes { .. } | Verb::CompareAndWrite);
        let wants_space = result.is_ok() && takes_room && self.disk.written(length);
        self.forget(index);
        if wants_space {
            self.ask_space();
        }
        self.step_ended(step.parent, step.place, result);
    }
}

fn submit(handler: &mut dyn Handler, command: &BlockCommand, verb: Verb) -> Result<Outcome, Fault> {
    let &BlockCommand { tag, offset, length, fua, .. } = command;
    match verb {
        Verb::Read | Verb::Write | Verb::Flush => handler.submit_block(command),
        Verb::Unmap => handler.unmap(tag, offset, length),
        Verb::WriteZeroes { may_unmap } => handler.write_zeroes(tag, offset, length, may_unmap, fua),
        Verb::CompareAndWrite => handler.compare_and_write(tag, offset, length, fua),
        Verb::Status { .. } => handler.lba_status(tag, offset, length),
    }
}

/// The pieces of memory of a step's buffer. False if the buffer is not that long, or the bytes go the wrong way.
fn extents_of(
    parent: &crate::table::Slot,
    buffer: Where,
    length: u64,
    direction: Direction,
    out: &mut Vec<Extent>,
) -> bool {
    out.clear();
    if direction == Direction::None {
        return true;
    }
    match buffer {
        Where::Nothing => false,
        Where::Work(offset) => {
            let Some(composition) = &parent.composition else { return false };
            let Some(piece) = composition.piece else { return false };
            out.push(Extent { offset: place(piece) + offset, length });
            offset.checked_add(length).is_some_and(|end| end <= composition.work)
        }
        Where::Data(offset) => {
            parent.direction == direction
                && offset.checked_add(length).is_some_and(|end| end <= parent.data_length)
                && window(&parent.request.data, offset, length, out)
        }
    }
}

/// The `length` bytes from `offset` of a scattered buffer.
fn window(extents: &[Extent], offset: u64, length: u64, out: &mut Vec<Extent>) -> bool {
    let (mut skip, mut left) = (offset, length);
    for extent in extents {
        if skip >= extent.length {
            skip -= extent.length;
            continue;
        }
        let step = (extent.length - skip).min(left);
        if step > 0 {
            out.push(Extent { offset: extent.offset + skip, length: step });
        }
        (skip, left) = (0, left - step);
        if left == 0 {
            break;
        }
    }
    left == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_of_a_scattered_buffer_has_exactly_its_bytes(
            lengths in prop::collection::vec(0u64..9, 0..6),
            offset in 0u64..40,
            length in 0u64..40,
        ) {
            let mut extents = Vec::new();
            let mut bytes = Vec::new();
            for (number, length) in (0u64..).zip(lengths) {
                extents.push(Extent { offset: number * 100, length });
                bytes.extend((0..length).map(|at| number * 100 + at));
            }
            let mut out = vec![Extent { offset: 7, length: 7 }];
            out.clear();
            let whole = window(&extents, offset, length, &mut out);
            let wanted: Vec<u64> =
                bytes.iter().copied().skip(usize::try_from(offset).unwrap()).take(usize::try_from(length).unwrap()).collect();
            let got: Vec<u64> = out.iter().flat_map(|extent| extent.offset..extent.offset + extent.length).collect();
            prop_assert_eq!(whole, wanted.len() as u64 == length);
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn what_does_not_lie_on_the_medium_is_refused_before_the_handler_sees_it() {
        let facts = Facts {
            block_size: 512,
            size: 1024,
            max_transfer: 512,
            unmap: None,
            write_zeroes: false,
            compare_and_write: false,
            lba_status: false,
            write_through: false,
        };
        let ask =
            |offset, length| Ask { verb: Verb::Read, offset, length, fua: false, buffer: Where::Work(0) };
        assert_eq!(check(&ask(512, 512), &facts), Ok(()));
        for (offset, length) in [(1024, 512), (512, 1024), (u64::MAX, 512)] {
            let out_of_range = Err(Failure::Check(Sense::LBA_OUT_OF_RANGE));
            assert_eq!(check(&ask(offset, length), &facts), out_of_range);
        }
    }
}
