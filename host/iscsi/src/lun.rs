//! What the target needs of a logical unit. [`RingLun`](crate::RingLun) is the one that serves a TCM-User ring;
//! tests and examples bring their own.

use std::os::fd::BorrowedFd;

pub use lunbox_emulator::{CommandId, Data, TaskManagement};
use lunbox_scsi::BlockSize;

/// A logical unit, driven by the server's thread alone. No method may block.
pub trait LogicalUnit {
    /// Length of a logical block. It tells how much data a CDB asks for.
    fn block_size(&self) -> BlockSize;

    /// Most bytes of data that one command can carry. Longer ones end with 5/24/00 and never get here.
    fn max_data(&self) -> u32;

    /// Begins a command. `token` comes back with its end; it is unique among the commands that run. The unit
    /// takes a copy of `cdb` (1 to 260 bytes) and `data`. It need not look at the command before
    /// [`Self::flush_signal`].
    ///
    /// The id names the command for [`Self::abort`] until it has been collected.
    ///
    /// # Errors
    /// [`Refusal`]; the unit keeps nothing of the command.
    fn start(&mut self, token: u64, cdb: &[u8], data: Data<'_>) -> Result<CommandId, Refusal>;

    /// Tells whoever serves the unit that commands were begun: once for all of a round.
    ///
    /// # Errors
    /// The errno of waking it. The commands stay where they are.
    fn flush_signal(&mut self) -> nix::Result<()>;

    /// Becomes readable, edge-triggered, when there is something to collect. Always the same descriptor.
    fn doorbell(&self) -> BorrowedFd<'_>;

    /// Calls `ended` for each command that has ended since the last call, in the order of their ends.
    fn collect(&mut self, ended: &mut dyn FnMut(Ended<'_>));

    /// Tells the unit that nobody waits for the answers of these commands any more. A hint: each of them still
    /// ends once, whenever the unit is done with its data. A unit that is not told so, does not support it.
    ///
    /// # Errors
    /// [`Refusal::Full`] if there is no room to say it; it is not said again.
    fn abort(&mut self, kind: TaskManagement, commands: &[CommandId]) -> Result<(), Refusal>;
}

/// Why a command was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room until another command ends. The target tries again then.
    #[error("the logical unit has no room: collect what has ended and try again")]
    Full,
    /// The unit takes no commands for now: BUSY.
    #[error("the logical unit is blocked: unblock it, or send the command again later")]
    Blocked,
    /// The unit has failed: CHECK CONDITION 2/08/00.
    #[error("the logical unit is broken: look into its log for the reason")]
    Broken,
    /// More data than [`LogicalUnit::max_data`]: CHECK CONDITION 5/24/00.
    #[error("the command has more data than the logical unit can carry: split it")]
    TooBig,
}

/// How a command ended, with its data lent for the time of a callback.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// What [`LogicalUnit::start`] was given.
    pub token: u64,
    /// SCSI status (SAM-5 5.3.1).
    pub status: u8,
    /// Sense data for CHECK CONDITION; may be followed by zeros. Otherwise without meaning.
    pub sense: &'a [u8],
    /// What the command returned, never more than it asked for. With CHECK CONDITION usually nothing; with any other
    /// status but GOOD it has no meaning.
    pub data_in: &'a [u8],
}
