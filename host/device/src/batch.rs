//! Commands that arrive together are planned together: one call into the handler for all of them shares the price of
//! the call. A fault in it loses them all, so a handler that has failed is asked one by one until it is trusted
//! again: then only the command that it fails on is answered BUSY.

use std::time::Instant;

use lunbox_contract::{BlockCommand, Outcome, Tag};
use lunbox_engine::Fault;

use crate::run::DeviceLoop;
use crate::table::SlotIndex;

/// Most commands in one call: enough to make the price of the call small, few enough not to keep the first waiting.
pub(crate) const MOST: usize = 32;

/// Commands that wait for the end of a drain; empty outside of it.
#[derive(Default)]
pub(crate) struct Batch {
    slots: Vec<SlotIndex>,
    /// Kept for their memory.
    commands: Vec<BlockCommand>,
    outcomes: Vec<Outcome>,
}

impl Batch {
    pub(crate) fn push(&mut self, index: SlotIndex) {
        self.slots.push(index);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= MOST
    }

    /// The ring was reset: the commands are forgotten.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }
}

impl DeviceLoop {
    /// Plans what has gathered.
    pub(crate) fn plan_batch(&mut self) {
        if self.batch.slots.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if batch.slots.len() > 1 && self.ranges.is_idle() && self.guest.is_trusted() {
            self.plan_together(&mut batch);
        } else {
            for index in batch.slots.drain(..) {
                // A completion may have found the ring reset, and then the rest has been forgotten.
                if self.reset.is_none() {
                    self.plan(index);
                }
            }
        }
        batch.slots.clear();
        self.batch = batch;
    }

    fn plan_together(&mut self, batch: &mut Batch) {
        batch.commands.clear();
        batch.outcomes.clear();
        {
            let mut table = self.table.borrow_mut();
            let mut now = None;
            batch.commands.extend(batch.slots.iter().filter_map(|&index| {
                let slot = table.slot(index);
                if slot.taken.is_some() {
                    slot.handed = Some(*now.get_or_insert_with(Instant::now));
                }
                slot.block
            }));
        }
        debug_assert_eq!(batch.commands.len(), batch.slots.len(), "only block commands are gathered");
        let Some(handler) = self.guest.instance() else { return };
        match handler.submit_blocks(&batch.commands, &mut batch.outcomes) {
            Ok(()) => {
                for ((&index, command), outcome) in
                    batch.slots.iter().zip(&batch.commands).zip(batch.outcomes.drain(..))
                {
                    self.apply_of_batch(index, command.tag, outcome);
                }
            }
            Err(fault) => self.batch_failed_handler(&batch.slots, &fault),
        }
    }

    fn apply_of_batch(&mut self, index: SlotIndex, tag: Tag, outcome: Outcome) {
        if self.reset.is_some() {
            // Forgotten by now; the handler must not wait for its end.
            if matches!(outcome, Outcome::More(_)) {
                self.tell_cancelled(tag.0);
            }
            return;
        }
        // An outcome before this one may have been the end of the instance. A last operation needs it no more.
        if self.guest.serves() || matches!(outcome, Outcome::Io(_) | Outcome::Done(_) | Outcome::Check(_)) {
            self.guest.planned();
            self.apply(index, outcome);
        } else {
            self.counters.busy.add(1);
            self.finish_busy(index);
        }
    }

    fn batch_failed_handler(&mut self, slots: &[SlotIndex], fault: &Fault) {
        self.handler_failed(fault);
        for &index in slots {
            if self.reset.is_none() {
                self.counters.busy.add(1);
                self.finish_busy(index);
            }
        }
    }
}
