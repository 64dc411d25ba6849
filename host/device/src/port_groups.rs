//! SET TARGET PORT GROUPS: the supervisor alone may change what configfs says of a group, and the command waits for it.

use lunbox_scsi::{Sense, SenseKey};

use crate::control::{AccessStateAnswer, Event};
use crate::run::DeviceLoop;
use crate::serve::code;
use crate::table::SlotIndex;

/// 4/67/0A: set target port groups command failed (SPC-5 table F.1).
const SET_FAILED: Sense = Sense::new(SenseKey::HardwareError, 0x67, 0x0a);

/// A SET TARGET PORT GROUPS that waits.
pub(crate) struct Call {
    call: u64,
    pub(crate) index: SlotIndex,
    group: u16,
    state: u8,
}

impl DeviceLoop {
    /// Asks the supervisor; the command waits for [`Self::end_access_call`].
    pub(crate) fn ask_access_state(&mut self, index: SlotIndex, group: u16, state: u8) {
        // A tag is never used twice, and says nothing to others.
        let call = self.table.borrow().peek(index).tag;
        self.access_calls.push(Call { call, index, group, state });
        (self.events)(Event::AccessStateWanted { call, group, state });
    }

    /// The supervisor has answered.
    pub(crate) fn end_access_call(&mut self, call: u64, answer: AccessStateAnswer) {
        let Some(place) = self.access_calls.iter().position(|waits| waits.call == call) else { return };
        let Call { index, group, state, .. } = self.access_calls.swap_remove(place);
        match answer {
            AccessStateAnswer::Set => {
                self.disk.access_state_set(group, state);
                self.finish(index, code::GOOD, None, None);
            }
            AccessStateAnswer::Unsupported => {
                let sense = Sense::INVALID_FIELD_IN_PARAMETER_LIST;
                self.finish(index, code::CHECK_CONDITION, Some(sense), None);
            }
            AccessStateAnswer::Failed => {
                self.finish(index, code::CHECK_CONDITION, Some(SET_FAILED), None);
            }
        }
    }

    /// Whoever would answer waits for us: BUSY.
    pub(crate) fn finish_access_calls(&mut self) {
        // One by one: a completion may find the ring reset, and then the rest is forgotten.
        while let Some(Call { index, .. }) = self.access_calls.pop() {
            self.finish_busy(index);
        }
    }
}
