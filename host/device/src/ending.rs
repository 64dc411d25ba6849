//! How a loop ends: what is served before, what is flushed, what is cancelled.

use lunbox_contract::{BlockCommand, BlockKind, Tag};
use lunbox_tcmu::RingError;

use crate::run::DeviceLoop;
use crate::table::{Doom, SlotIndex, Stage};

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Serve what is there, then flush.
    Draining,
    /// Serve until this flush has ended, then take nothing more: it leaves the last flush little to do.
    Preparing(Option<OwnFlush>),
    /// Finish what was taken, then flush.
    HandingOver,
    /// The last flush runs.
    Flushing,
    /// Cancel what is there.
    Cancelling,
}

/// A flush of the host's own: its slot and the tag that the slot has as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnFlush {
    pub(crate) index: SlotIndex,
    pub(crate) tag: u64,
}

impl DeviceLoop {
    pub(crate) fn has_ended(&mut self) -> Result<bool, RingError> {
        if let Phase::Preparing(flush) = self.phase
            && !flush.is_some_and(|flush| self.runs(flush))
        {
            self.phase = Phase::HandingOver;
            // The next loop could not go on with it, and must not wait for hours.
            self.cancel_composites(true);
        }
        if matches!(self.phase, Phase::Serving | Phase::Preparing(_)) || self.table.borrow().in_use() > 0 {
            return Ok(false);
        }
        let finished = match self.phase {
            Phase::Draining => self.reset.is_none() && !self.ring.head_moved(),
            Phase::HandingOver => self.reset.is_none(),
            _ => return Ok(true),
        };
        if !finished {
            return Ok(false);
        }
        self.phase = Phase::Flushing;
        let flush = self.flush_ourselves();
        self.ring.notify()?;
        Ok(!flush.is_some_and(|flush| self.runs(flush)))
    }

    pub(crate) fn runs(&self, flush: OwnFlush) -> bool {
        let table = self.table.borrow();
        let slot = table.peek(flush.index);
        slot.tag == flush.tag && slot.stage != Stage::Free
    }

    /// A command of the host's own: what was answered GOOD survives a power cut after an orderly stop, and the
    /// handler has written what it still held back. None if there is nothing to flush, or nobody who could.
    pub(crate) fn flush_ourselves(&mut self) -> Option<OwnFlush> {
        // Also without a write cache: a handler may keep more than the bytes of writes.
        if !self.disk.holds_back() || !self.guest.serves() {
            return None;
        }
        let index = self.table.borrow_mut().take()?;
        let tag = {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            slot.stage = Stage::Parked;
            let (tag, kind) = (Tag(slot.tag), BlockKind::Flush);
            slot.block = Some(BlockCommand { tag, kind, fua: false, offset: 0, length: 0 });
            slot.tag
        };
        self.plan(index);
        Some(OwnFlush { index, tag })
    }

    /// Ends everything that has not ended: waiting commands at once, running ones when their operations have.
    pub(crate) fn cancel_all(&mut self) {
        self.cancel_composites(false);
        self.finish_access_calls();
        // One by one, as in `begin_anonymous`.
        while let Some(index) = self.parked.pop_front().or_else(|| self.anonymous.pop()) {
            self.finish_busy(index);
        }
        let indices = self.table.borrow().indices();
        for index in indices {
            let stage = self.table.borrow().peek(index).stage;
            if matches!(stage, Stage::Final | Stage::Listed) {
                self.doom(index, Doom::GuestLost);
            }
        }
        self.cancel_doomed();
    }

    /// The ring is lost or the loop ends: entries that are still open stay the kernel's to reset.
    pub(crate) fn abandon_all(&mut self) {
        let mut table = self.table.borrow_mut();
        for index in table.indices() {
            if let Some(outstanding) = table.slot(index).outstanding.take() {
                outstanding.abandon();
            }
        }
    }
}
