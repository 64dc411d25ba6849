//! What comes back for a command.

use crate::abi::SENSE_BYTES;
use crate::kernel::CommandId;

/// Who ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The daemon, through the ring.
    Daemon,
    /// The kernel: expired, or outstanding when the ring was reset.
    Kernel,
}

/// An ended command, with its data lent for the time of a callback.
#[derive(Clone, Copy, Debug)]
pub struct CompletionRef<'a> {
    /// Its id in the ring. Unless `kept`, the id is free again and may already name another command.
    pub id: CommandId,
    /// [`crate::CommandSpec::token`] of the command.
    pub token: u64,
    /// SCSI status (SAM-5 5.3.1).
    pub status: u8,
    /// Sense data; zeros unless the status is CHECK CONDITION. Passed on as the daemon wrote it, as the kernel
    /// does.
    pub sense: &'a [u8; SENSE_BYTES],
    /// Bytes for the initiator: as many as asked for, fewer with READ_LEN, none with CHECK CONDITION unless
    /// READ_LEN came with it.
    pub data_in: &'a [u8],
    /// Bytes that READ_LEN took off what was asked for; 0 otherwise.
    pub residual: u32,
    /// READ_LEN was given and counted, so that `residual` is reported to the initiator.
    pub read_len: bool,
    /// The daemon kept the buffer and the id: [`crate::Kernel::free_kept_buf`] frees them.
    pub kept: bool,
    /// A page of the buffer had gone when the data was fetched; `data_in` holds zeros in its place.
    pub vanished: bool,
    /// Who ended it.
    pub by: By,
}

/// An ended command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// As [`CompletionRef::id`].
    pub id: CommandId,
    /// As [`CompletionRef::token`].
    pub token: u64,
    /// As [`CompletionRef::status`].
    pub status: u8,
    /// As [`CompletionRef::sense`].
    pub sense: [u8; SENSE_BYTES],
    /// As [`CompletionRef::data_in`].
    pub data_in: Vec<u8>,
    /// As [`CompletionRef::residual`].
    pub residual: u32,
    /// As [`CompletionRef::read_len`].
    pub read_len: bool,
    /// As [`CompletionRef::kept`].
    pub kept: bool,
    /// As [`CompletionRef::vanished`].
    pub vanished: bool,
    /// As [`CompletionRef::by`].
    pub by: By,
}

impl From<CompletionRef<'_>> for Completion {
    fn from(from: CompletionRef<'_>) -> Self {
        Self {
            id: from.id,
            token: from.token,
            status: from.status,
            sense: *from.sense,
            data_in: from.data_in.to_vec(),
            residual: from.residual,
            read_len: from.read_len,
            kept: from.kept,
            vanished: from.vanished,
            by: from.by,
        }
    }
}
