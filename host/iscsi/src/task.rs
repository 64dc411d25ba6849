//! What is known of one SCSI command between its PDU and its status.

use std::time::Instant;

use lunbox_scsi::Sense;

use crate::lun::CommandId;
use crate::pdu::header::Lun;
use crate::pdu::request::Cdb;
use crate::slab::Key;
use crate::target_core::stand_in::StandIn;
use crate::target_core::transfer::{Refused, Transfer};

/// Most R2Ts that are outstanding for one command.
pub(crate) const MAX_BURSTS: usize = 16;

/// Who does a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doer {
    /// The LUN with this number.
    Lun(usize),
    /// Nobody: the target answers.
    StandIn(StandIn),
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Commands numbered before it are missing.
    Early,
    /// Data is on its way.
    Collecting,
    /// It returns data, and its connection has to send other data first.
    Throttled,
    /// Its data is there; the LUN has no room.
    Waiting,
    /// The LUN has it.
    Running(CommandId),
}

/// A sequence of Data-Out PDUs: unsolicited, or the answer to an R2T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    /// Target Transfer Tag; none if unsolicited.
    pub(crate) tag: Option<u32>,
    /// Buffer offset of the next byte.
    pub(crate) next: u32,
    /// Buffer offset behind the last byte.
    pub(crate) end: u32,
    /// DataSN of the next PDU.
    pub(crate) data_sn: u32,
}

/// The data of a write as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Bytes that the device is to get. What comes beyond them is thrown away.
    pub(crate) wanted: u32,
    /// Buffer offset of the first byte that nobody has asked for and that will not come by itself.
    pub(crate) requested: u32,
    /// Sequences that have begun and not ended.
    pub(crate) bursts: Vec<Burst>,
    /// The data itself, as far as it has come.
    pub(crate) buffer: Vec<u8>,
    /// Why the command has to fail when its data has come.
    pub(crate) spoiled: Option<Sense>,
    /// Bytes that are counted against the memory for writes.
    pub(crate) charged: u64,
    /// It waits in its session's line for memory.
    pub(crate) in_line: bool,
    /// When it was last asked for data.
    pub(crate) asked: Option<Instant>,
}

impl Incoming {
    /// Puts data into its place; what lies beyond `wanted` is thrown away.
    pub(crate) fn store(&mut self, offset: u32, data: &[u8]) {
        let room = usize::try_from(self.wanted.saturating_sub(offset)).unwrap_or(usize::MAX);
        let data = &data[..data.len().min(room)];
        let Ok(offset) = usize::try_from(offset) else { return };
        if data.is_empty() {
            return;
        }
        if offset > self.buffer.len() {
            // The answer to a later R2T came first.
            self.buffer.resize(offset, 0);
        }
        let overlap = data.len().min(self.buffer.len() - offset);
        let (there, new) = data.split_at(overlap);
        self.buffer[offset..offset + overlap].copy_from_slice(there);
        self.buffer.extend_from_slice(new);
    }

    /// All that will ever come has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.bursts.is_empty() && (self.requested >= self.wanted || self.spoiled.is_some())
    }

    /// Ready for the next command, keeping the memory.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.bursts.clear();
        (self.wanted, self.requested) = (0, 0);
        (self.spoiled, self.charged) = (None, 0);
        (self.in_line, self.asked) = (false, None);
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) session: Key,
    pub(crate) connection: Key,
    pub(crate) tag: u32,
    pub(crate) lun: Lun,
    pub(crate) doer: Doer,
    pub(crate) cdb: Cdb,
    /// It has a number of its own.
    pub(crate) numbered: bool,
    /// It takes a place in the command window: numbered, and its turn has come.
    pub(crate) counted: bool,
    pub(crate) cmd_sn: u32,
    /// Expected Data Transfer Length.
    pub(crate) expected: u32,
    /// The initiator has room for what is read.
    pub(crate) takes_data: bool,
    /// Bidirectional: the expected length of the part that is read.
    pub(crate) bidi_expected: Option<u32>,
    pub(crate) plan: Result<Transfer, Refused>,
    pub(crate) stage: Stage,
    /// Nobody waits for its answer.
    pub(crate) aborted: bool,
    /// What waits until it has ended: functions, logouts, logins.
    pub(crate) waiters: Vec<Key>,
    pub(crate) began: Instant,
    pub(crate) incoming: Incoming,
    /// Bytes of the connection's output that are kept free for what it returns.
    pub(crate) reserved: u32,
    /// R2Ts that were sent: the next one's R2TSN.
    pub(crate) r2ts: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_put_into_place_in_any_order_and_cut_at_the_end() {
        let mut incoming = Incoming { wanted: 10, ..Incoming::default() };
        incoming.store(4, b"efgh");
        incoming.store(0, b"abcd");
        incoming.store(8, b"ijklm");
        incoming.store(12, b"nothing");
        assert_eq!(incoming.buffer, b"abcdefghij");
        incoming.store(6, b"GH");
        assert_eq!(incoming.buffer, b"abcdefGHij");
    }

    #[test]
    fn is_complete_when_nothing_more_is_asked_for_or_on_its_way() {
        let burst = Burst { tag: Some(1), next: 0, end: 512, data_sn: 0 };
        let mut incoming = Incoming { wanted: 512, ..Incoming::default() };
        assert!(!incoming.is_complete());
        incoming.requested = 512;
        incoming.bursts.push(burst);
        assert!(!incoming.is_complete());
        incoming.bursts.clear();
        assert!(incoming.is_complete());
    }

    #[test]
    fn spoiled_data_is_not_waited_for_beyond_what_is_on_its_way() {
        let mut incoming = Incoming { wanted: 512, ..Incoming::default() };
        incoming.spoiled = Some(Sense::NO_SENSE);
        assert!(incoming.is_complete());
    }
}
