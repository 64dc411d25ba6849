//! What the daemon did wrong.

use std::fmt;

use crate::kernel::CommandId;

/// The command that used a data block last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUser {
    /// Its id at that time.
    pub id: CommandId,
    /// Byte 0 of its CDB.
    pub opcode: u8,
}

impl fmt::Display for LastUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {} (opcode {:02x})", self.id.0, self.opcode)
    }
}

/// A breach of the ring's protocol or of the rules for buffers. Block numbers count from the start of the data
/// area, offsets are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A data block was written while no command owned it.
    #[error(
        "data block {block} was written at byte {offset} after {last_user} had given it back: await the store before completing"
    )]
    LateWrite {
        /// Which block.
        block: u32,
        /// First changed byte in the block.
        offset: u32,
        /// Whose buffer it was.
        last_user: LastUser,
    },
    /// A data-in command ended with part of its buffer as it had been before.
    #[error(
        "command {} was completed with byte {offset} of its data-in buffer never written: fill it or report READ_LEN",
        id.0
    )]
    Unfilled {
        /// Which command.
        id: CommandId,
        /// First such byte in the data that the initiator got.
        offset: u32,
    },
    /// A data-in command returned the pattern of a freed buffer: some store read a buffer after its command
    /// had been completed.
    #[error(
        "command {} returned at byte {offset} what stood in data block {block} after {last_user} had given it back: a store read the buffer too late",
        id.0
    )]
    LateRead {
        /// Which command returned it.
        id: CommandId,
        /// Where in its data, in bytes.
        offset: u32,
        /// The freed block.
        block: u32,
        /// Whose buffer it was, as far as that block has not been used since.
        last_user: LastUser,
    },
    /// The daemon wrote behind the end of a vector.
    #[error("data block {block} was written at byte {offset}, behind the last vector of command {}", id.0)]
    BeyondVector {
        /// Whose vector.
        id: CommandId,
        /// Which block.
        block: u32,
        /// First such byte in the block.
        offset: u32,
    },
    /// A completion named an id that is not outstanding; the device is broken.
    #[error("completion of id {}, which is not outstanding: completed twice, or left over from before a reset", id.0)]
    UnknownCommand {
        /// Which id.
        id: CommandId,
    },
    /// A completion named a command that had been completed with KEEP_BUF; the device is broken.
    #[error("completion of id {}, which was already completed with KEEP_BUF", id.0)]
    CompletedKept {
        /// Which id.
        id: CommandId,
    },
    /// Completions came in another order than the commands although the mailbox does not offer that.
    #[error("id {} was completed where id {} was due, without the out-of-order feature", completed.0, due.0)]
    OutOfOrder {
        /// The id in the entry.
        completed: CommandId,
        /// The id that was queued there.
        due: CommandId,
    },
    /// The tail points between entries or behind the head; the device is broken.
    #[error("cmd_tail is {tail}, which is not the start of an entry between the last tail and the head")]
    TailAstray {
        /// What the daemon stored.
        tail: u32,
    },
    /// Length or operation of an entry was changed; the device is broken.
    #[error("the entry at ring offset {offset} has len_op {found:#x} instead of {expected:#x}")]
    EntryOverwritten {
        /// Where in the ring.
        offset: u32,
        /// What is there.
        found: u32,
        /// What was queued.
        expected: u32,
    },
    /// A field of the mailbox that belongs to the kernel was changed.
    #[error("the daemon changed {field} in the mailbox from {expected:#x} to {found:#x}")]
    MailboxOverwritten {
        /// Name in `struct tcmu_mailbox`.
        field: &'static str,
        /// What is there.
        found: u32,
        /// What should be.
        expected: u32,
    },
}

/// All violations since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were found; the first 256.
    pub violations: Vec<Violation>,
    /// How many more there were.
    pub dropped: u64,
}

impl Report {
    const KEPT: usize = 256;

    pub(crate) fn add(&mut self, violation: Violation) {
        if self.violations.len() < Self::KEPT {
            self.violations.push(violation);
        } else {
            self.dropped += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the daemon broke the rules of the ring:")?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if self.dropped > 0 {
            write!(f, "\n  and {} more", self.dropped)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
