//! How much room the stores of a thin unit have left, for its soft threshold.
//!
//! Asked for once in a while, never on the way of a command: the question is a slot of the table without a ring entry,
//! with one operation for each store.

use lunbox_contract::{BufferId, MAX_SCRATCH_BUFFERS, Op, StoreId};
use lunbox_store::{Kind, Request, Space, Target};

use crate::disk::Disk;
use crate::plan;
use crate::run::DeviceLoop;
use crate::table::{Slot, Stage};

/// Bytes of an answer.
const ANSWER: usize = 16;
/// What an answer holds that did not come.
const NOTHING: u8 = 0xff;

impl DeviceLoop {
    /// Asks all stores, unless that is under way.
    pub(crate) fn ask_space(&mut self) {
        if self.asks_space {
            return;
        }
        if self.stores.is_empty() {
            // A question to nobody would never be answered.
            self.disk.set_space_unknown();
            return;
        }
        let mut table = self.table.borrow_mut();
        let Some(index) = table.take() else { return };
        self.asks_space = true;
        // Each store has a scratch buffer of the slot; nobody has so many stores.
        let stores = self.stores.iter().take(MAX_SCRATCH_BUFFERS as usize);
        let slot = table.slot(index);
        slot.stage = Stage::Final;
        slot.begin_list();
        slot.asks_space = true;
        for (place, &store) in stores.enumerate() {
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            // What counts of it is its buffer, where the answer is kept.
            slot.ops.push(Op { buffer: BufferId(number + 1), ..Op::flush(StoreId(number)) });
            let target = Target::Owned { buffer: vec![NOTHING; ANSWER], skip: 0 };
            let request = Request { store, kind: Kind::Space, offset: 0, length: ANSWER as u64, target };
            self.executor.submit(plan::token(index, place), request);
        }
        (slot.started, slot.running) = (slot.ops.len(), slot.ops.len());
    }
}

/// All stores have answered: what is used of them together, and the least that one has left.
pub(crate) fn note(disk: &mut Disk, slot: &mut Slot) {
    let mut whole: Option<Space> = None;
    for op in std::mem::take(&mut slot.ops) {
        let answer = slot.take_scratch(op.buffer).filter(|bytes| *bytes != [NOTHING; ANSWER]);
        let Some(space) = answer.and_then(|bytes| Space::from_bytes(&bytes)) else { continue };
        whole = Some(whole.map_or(space, |sum| Space {
            used: sum.used.saturating_add(space.used),
            available: sum.available.min(space.available),
        }));
    }
    match whole {
        Some(space) => disk.set_space(space.used, space.available),
        None => disk.set_space_unknown(),
    }
}
