//! Commands that end otherwise than planned: aborted by the initiator, lost with their handler, or by a reset of the
//! ring. None is completed before its operations have ended.

use lunbox_contract::Tag;
use lunbox_scsi::Sense;

use crate::plan;
use crate::run::{DeviceLoop, Reset};
use crate::serve::code;
use crate::table::{Doom, SlotIndex, Stage};

impl DeviceLoop {
    /// Asks the operations of doomed commands to end early, in one pass.
    pub(crate) fn cancel_doomed(&mut self) {
        let mut table = self.table.borrow_mut();
        self.executor.cancel_if(|token| {
            let slot = table.peek(plan::from_token(token).0);
            slot.doom.is_some() && !slot.cancelling
        });
        for index in table.indices() {
            let slot = table.slot(index);
            slot.cancelling = slot.doom.is_some();
        }
    }

    /// Ends a command as soon as its operations have ended. Whoever dooms calls [`Self::cancel_doomed`] afterwards.
    pub(crate) fn doom(&mut self, index: SlotIndex, doom: Doom) {
        let mut table = self.table.borrow_mut();
        let slot = table.slot(index);
        if slot.doom.is_some() || slot.running == 0 {
            return;
        }
        slot.doom = Some(doom);
        if std::mem::take(&mut slot.is_reset) {
            self.counters.aborting.subtract(1);
        }
        if doom.is_foreign() {
            self.counters.aborting.add(1);
        }
        if slot.stage == Stage::Listed {
            self.orphans += 1;
            slot.orphan = true;
        }
        if let Some(window) = slot.window() {
            self.ranges.hold(index, window);
        }
    }

    pub(crate) fn finish_doomed(&mut self, index: SlotIndex, doom: Doom) {
        {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            if std::mem::take(&mut slot.orphan) {
                self.orphans -= 1;
            }
        }
        if doom.is_foreign() {
            self.counters.aborting.subtract(1);
        }
        match doom {
            Doom::GuestLost | Doom::Parent => self.finish_busy(index),
            Doom::Aborted => self.finish(index, code::TASK_ABORTED, None, None),
            Doom::InvalidPlan => {
                self.finish(index, code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE), None);
            }
            Doom::RingReset => self.forget(index),
        }
    }

    /// An initiator gave up on commands: they end now if nothing of them runs, else when it has ended. With `goes_on`
    /// (the unit is reset) a plain command of which something runs is not cut short: the kernel's loopback fabric seems to
    /// tell GOOD of commands that a reset ended (fio read zeros), so that one that had not been done would be a lost write. Whoever asked for the reset waits for what runs in any case.
    pub(crate) fn abort(&mut self, ids: &[u16], goes_on: bool) {
        let indices = self.table.borrow().indices();
        for index in indices {
            let (stage, running, tag, composite) = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                let named = slot.outstanding.as_ref().is_some_and(|open| ids.contains(&open.id()));
                if !named || slot.doom.is_some() {
                    continue;
                }
                (slot.stage, slot.running, slot.tag, slot.composition.is_some())
            };
            self.counters.aborts.add(1);
            if running == 0 {
                self.unpark(index);
                self.finish(index, code::TASK_ABORTED, None, None);
            } else if goes_on && !composite {
                self.let_go_on(index);
            } else {
                self.doom(index, Doom::Aborted);
                if composite {
                    self.doom_steps(index);
                    continue;
                }
                self.cancel_doomed();
                if stage == Stage::Listed {
                    self.tell_cancelled(tag);
                }
            }
        }
    }

    /// A command that was aborted runs to its end. What comes after it waits for its blocks.
    fn let_go_on(&mut self, index: SlotIndex) {
        let mut table = self.table.borrow_mut();
        let slot = table.slot(index);
        if std::mem::replace(&mut slot.is_reset, true) {
            return;
        }
        self.counters.aborting.add(1);
        if let Some(window) = slot.window() {
            self.ranges.hold(index, window);
        }
    }

    pub(crate) fn tell_cancelled(&mut self, tag: u64) {
        if let Some(handler) = self.guest.instance()
            && let Err(fault) = handler.cancel(Tag(tag))
        {
            self.handler_failed(&fault);
        }
    }

    pub(crate) fn unpark(&mut self, index: SlotIndex) {
        self.parked.retain(|&other| other != index);
        self.anonymous.retain(|&other| other != index);
        self.access_calls.retain(|waits| waits.index != index);
    }

    /// The kernel has ended every command of the ring by itself: forget them, await their operations. `touched`:
    /// something may have been written into a buffer since the reset.
    pub(crate) fn begin_reset(&mut self, touched: bool) {
        if self.reset.is_some() {
            return;
        }
        self.counters.resets.add(1);
        tracing::warn!(device = self.name, "the ring was reset; waiting for operations in flight");
        let mut hazard = touched;
        self.batch.clear();
        let indices = self.table.borrow().indices();
        for index in indices {
            let (stage, running, tag, doomed, open, composite) = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                // Steps end with their commands, and a command that was answered early goes on: it has no buffer.
                if matches!(slot.stage, Stage::Free | Stage::Ending) || slot.step.is_some() || slot.is_early()
                {
                    continue;
                }
                let (doomed, open) = (slot.doom.is_some(), slot.outstanding.is_some());
                (slot.stage, slot.running, slot.tag, doomed, open, slot.composition.is_some())
            };
            if running == 0 {
                if !open {
                    tracing::warn!(
                        device = self.name,
                        "a flush that was answered early is lost to the reset"
                    );
                }
                self.unpark(index);
                self.forget(index);
                continue;
            }
            if !open {
                // A flush that was answered early: touches no buffer and goes on.
                continue;
            }
            hazard = true;
            if doomed {
                let before = self.table.borrow_mut().slot(index).doom.replace(Doom::RingReset);
                if !before.is_some_and(Doom::is_foreign) {
                    self.counters.aborting.add(1);
                }
            } else {
                self.doom(index, Doom::RingReset);
                if composite {
                    self.doom_steps(index);
                } else if stage == Stage::Listed {
                    self.tell_cancelled(tag);
                }
            }
        }
        self.cancel_doomed();
        self.reset = Some(Reset { hazard });
    }
}
