//! What is known of one session: the numbering of its commands (RFC 7143 4.2.2.1), its tasks and unit attentions.

use std::collections::{HashMap, VecDeque};

use crate::pdu::header::Bhs;
use crate::pdu::request::TaskManagement;
use crate::pdu::response::SequenceNumbers;
use crate::slab::Key;
use crate::target_core::attention::Attention;

/// How many commands an initiator may have sent and not been answered.
pub(crate) const WINDOW: u32 = 128;

/// Immediate commands and task management functions beside the window.
pub(crate) const IMMEDIATE_TASKS: u32 = 64;

/// `a - b` of serial numbers (RFC 1982): positive if `a` comes after `b`.
pub(crate) const fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// When a numbered PDU is to be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now: it is outside of the numbering, or the next one.
    Now,
    /// When those before it have come.
    Early,
    /// Never: it has been received before, or it is beyond the window.
    Never,
}

/// What came before its turn.
#[derive(Debug)]
pub(crate) enum Held {
    /// A SCSI command; its task exists and may collect data.
    Command(Key),
    /// Another PDU.
    Pdu(Box<HeldPdu>),
    /// A command that was aborted before it came.
    Void,
}

/// A PDU that came before its turn.
#[derive(Debug)]
pub(crate) struct HeldPdu {
    pub(crate) connection: Key,
    pub(crate) bhs: Bhs,
    pub(crate) data: Vec<u8>,
}

/// The numbering of a session's commands.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// ExpCmdSN.
    expected: u32,
    /// Numbered tasks that have not ended.
    active: u32,
    /// At most as many as the window is wide.
    held: Vec<(u32, Held)>,
}

impl Numbering {
    pub(crate) const fn new(first: u32) -> Self {
        Self { expected: first, active: 0, held: Vec::new() }
    }

    pub(crate) const fn expected(&self) -> u32 {
        self.expected
    }

    /// MaxCmdSN. It never goes back: a command that is counted as active has taken a number.
    pub(crate) const fn max(&self) -> u32 {
        self.expected.wrapping_add(WINDOW - self.active).wrapping_sub(1)
    }

    pub(crate) fn turn(&self, immediate: bool, number: u32) -> Turn {
        if immediate || number == self.expected {
            // A window that is shut lets nothing in that counts.
            return if immediate || distance(number, self.max()) <= 0 { Turn::Now } else { Turn::Never };
        }
        let beyond = distance(number, self.expected) < 0 || distance(number, self.max()) > 0;
        if beyond || self.is_held(number) { Turn::Never } else { Turn::Early }
    }

    fn is_held(&self, number: u32) -> bool {
        self.held.iter().any(|&(held, _)| held == number)
    }

    /// The PDU with the expected number is acted on.
    pub(crate) const fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
    }

    /// Keeps what came early.
    pub(crate) fn hold(&mut self, number: u32, what: Held) {
        self.held.push((number, what));
    }

    /// What came early and is next now; the numbering advances over it.
    pub(crate) fn next_held(&mut self) -> Option<Held> {
        let at = self.held.iter().position(|&(number, _)| number == self.expected)?;
        let (_, held) = self.held.swap_remove(at);
        self.advance();
        Some(held)
    }

    /// Whether a number stands for something that has not come: then it is taken for come and aborted.
    pub(crate) fn void(&mut self, number: u32, before: u32) -> bool {
        let missing = distance(number, self.expected) >= 0
            && distance(number, before) < 0
            && distance(number, self.max()) <= 0
            && !self.is_held(number);
        if missing {
            self.hold(number, Held::Void);
        }
        missing
    }

    pub(crate) const fn task_began(&mut self) {
        self.active += 1;
    }

    pub(crate) const fn task_ended(&mut self) {
        self.active = self.active.saturating_sub(1);
    }
}

/// What login settled for all connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionParameters {
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    pub(crate) max_burst: u32,
    pub(crate) first_burst: u32,
    pub(crate) max_outstanding_r2t: usize,
    pub(crate) max_connections: usize,
}

/// A task management function that waits until the commands numbered before it have come.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) connection: Key,
    pub(crate) request: TaskManagement,
}

pub(crate) struct Session {
    pub(crate) initiator: String,
    pub(crate) isid: [u8; 6],
    pub(crate) tsih: u16,
    pub(crate) discovery: bool,
    pub(crate) parameters: SessionParameters,
    pub(crate) connections: Vec<Key>,
    pub(crate) numbering: Numbering,
    /// Tasks by Initiator Task Tag.
    pub(crate) tasks: HashMap<u32, Key>,
    /// Immediate commands and functions that have not ended.
    pub(crate) immediate: u32,
    pub(crate) deferred: Vec<Deferred>,
    /// Functions whose answers wait for commands to end.
    pub(crate) functions: usize,
    /// One for each LUN.
    pub(crate) attention: Vec<Attention>,
    /// Bytes of its writes that are counted against the memory for writes. While it is 0 none of them waits in line.
    pub(crate) charged: u64,
    /// Writes that wait for memory, first come, first served.
    pub(crate) short_of_memory: VecDeque<Key>,
    /// It is in the line of sessions that wait for memory.
    pub(crate) in_line: bool,
}

impl Session {
    /// The numbers for a PDU with this StatSN.
    pub(crate) const fn numbers(&self, stat_sn: u32) -> SequenceNumbers {
        SequenceNumbers { stat_sn, exp_cmd_sn: self.numbering.expected(), max_cmd_sn: self.numbering.max() }
    }
}

#[cfg(test)]
mod tests;
