//! When a composite command begins: when it has its work memory and its range.
//!
//! Memory is given out in order of arrival, and a range is claimed on arrival. So whoever waits, waits for commands that
//! came earlier or that run, and two never wait for each other.

use crate::ranges::Window;
use crate::run::DeviceLoop;
use crate::table::{SlotIndex, Stage};

impl DeviceLoop {
    /// Lets a composite command begin, or wait for what it needs. `arrives`: for the first time.
    pub(crate) fn admit(&mut self, index: SlotIndex, arrives: bool) {
        let has_work = self.has_work(index, arrives);
        if has_work && self.has_range(index) {
            let filled = {
                let mut table = self.table.borrow_mut();
                table.slot(index).stage = Stage::Composed;
                table.fill(index).is_ok()
            };
            if filled {
                self.note_handed(index);
                self.enqueue(index);
            } else {
                self.finish_busy(index);
            }
        } else {
            self.parked.push_back(index);
        }
    }

    /// It needs no work memory, or has some by now.
    fn has_work(&mut self, index: SlotIndex, arrives: bool) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(composition) = &mut table.slot(index).composition else { return true };
        if composition.work == 0 || composition.piece.is_some() {
            return true;
        }
        if !arrives || self.waiting_for_work == 0 {
            composition.piece = self.work.take(&mut self.executor);
        }
        let waits = composition.piece.is_none();
        if composition.wants_piece != waits {
            composition.wants_piece = waits;
            if waits {
                self.waiting_for_work += 1;
            } else {
                self.waiting_for_work -= 1;
            }
        }
        drop(table);
        if let Some(memory) = self.work.memory() {
            self.table.borrow_mut().set_work(memory);
        }
        !waits
    }

    /// It wants no range for itself, or has it by now.
    fn has_range(&mut self, index: SlotIndex) -> bool {
        let (window, ticket) = {
            let table = self.table.borrow();
            let slot = table.peek(index);
            match &slot.composition {
                Some(composition) if !composition.has_range => (composition.alone, slot.tag),
                _ => return true,
            }
        };
        if let Some(window) = window {
            if self.ranges.blocks(window, ticket, index) || self.is_touched(window) {
                return false;
            }
            self.ranges.seize(index);
        }
        if let Some(composition) = &mut self.table.borrow_mut().slot(index).composition {
            composition.has_range = true;
        }
        true
    }

    /// A command or a step in the window is under way.
    fn is_touched(&self, window: Window) -> bool {
        let table = self.table.borrow();
        table.indices().any(|index| {
            let slot = table.peek(index);
            matches!(slot.stage, Stage::Final | Stage::Listed)
                && slot.window().is_some_and(|other| other.overlaps(window))
        })
    }

    /// What waits for memory, a range or the handler tries again.
    pub(crate) fn retry(&mut self, index: SlotIndex) {
        let (composite, step) = {
            let table = self.table.borrow();
            let slot = table.peek(index);
            (slot.composition.is_some(), slot.step.is_some())
        };
        if composite {
            self.admit(index, false);
        } else if step {
            self.plan_step(index);
        } else {
            self.plan(index);
        }
    }
}
