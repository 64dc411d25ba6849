//! What goes over the ring, as values: a copied-out command, a task management notice, a response.

use std::ops::Deref;

use lunbox_memory::Extent;

/// Bytes of the longest CDB (variable length, SPC-4 4.3.3: 8 + at most 252).
pub const CDB_MAX: usize = 260;
/// Bytes of sense data that an entry carries (TCMU_SENSE_BUFFERSIZE).
pub const SENSE_SIZE: usize = 96;

/// The bytes of a command descriptor block. The ring knows no SCSI: up to 7 bytes of padding may follow the
/// command's own, whose length follows from the operation code.
#[derive(Clone, Copy, Debug)]
pub struct Cdb {
    bytes: [u8; CDB_MAX],
    length: usize,
}

impl Default for Cdb {
    fn default() -> Self {
        Self { bytes: [0; CDB_MAX], length: 0 }
    }
}

impl Cdb {
    /// The bytes that the entry held, padding included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Room for the first `length` bytes, at most [`CDB_MAX`], to be filled by the caller.
    pub(crate) fn refill(&mut self, length: usize) -> &mut [u8] {
        self.length = length.min(CDB_MAX);
        &mut self.bytes[..self.length]
    }
}

impl Deref for Cdb {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// A copied-out entry. Make one and reuse it: once its vectors have grown, taking a command allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Command descriptor block of a command.
    pub cdb: Cdb,
    /// The command's buffer: ranges of the mapping, all inside of the data area. For data-out it holds the
    /// data, for data-in it is to be filled; the ring does not say which.
    pub data: Vec<Extent>,
    /// Second buffer (data-in) of a bidirectional command; empty otherwise.
    pub bidi: Vec<Extent>,
    /// Ids of the commands that a task management notice names. Some may be completed already.
    pub aborted: Vec<u16>,
}

impl Request {
    pub(crate) fn clear(&mut self) {
        self.cdb.length = 0;
        self.data.clear();
        self.bidi.clear();
        self.aborted.clear();
    }
}

/// A notice that the initiator side aborted commands; their ids are in [`Request::aborted`]. The kernel has
/// answered the initiator already and expects no completion of the notice itself, but every command that it
/// names must still be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagement {
    /// What was asked for.
    pub function: TmrFunction,
}

/// Task management functions (enum tcmu_tmr_type, include/uapi/linux/target_core_user.h; SAM-5 clause 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TmrFunction {
    /// ABORT TASK.
    AbortTask,
    /// ABORT TASK SET.
    AbortTaskSet,
    /// CLEAR ACA.
    ClearAca,
    /// CLEAR TASK SET.
    ClearTaskSet,
    /// LOGICAL UNIT RESET.
    LunReset,
    /// Warm reset of the target.
    TargetWarmReset,
    /// Cold reset of the target.
    TargetColdReset,
    /// Commands were aborted by PERSISTENT RESERVE OUT with PREEMPT AND ABORT.
    LunResetPro,
    /// Unknown to the kernel (0) or to this crate.
    Other(u8),
}

impl From<u8> for TmrFunction {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::AbortTask,
            2 => Self::AbortTaskSet,
            3 => Self::ClearAca,
            4 => Self::ClearTaskSet,
            5 => Self::LunReset,
            6 => Self::TargetWarmReset,
            7 => Self::TargetColdReset,
            128 => Self::LunResetPro,
            other => Self::Other(other),
        }
    }
}

/// How a command ended. The default is status 0 (GOOD) and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// SCSI status byte (SAM-5 5.3).
    pub status: u8,
    /// Sense data, of which the first [`SENSE_SIZE`] bytes cross the ring; the rest of the entry's sense field
    /// becomes zero. The kernel looks at it only with CHECK CONDITION.
    pub sense: Option<&'a [u8]>,
    /// Bytes of data-in that are valid. Does nothing where [`crate::Features::read_len`] is not offered: fill
    /// the rest of the buffer then, it may hold an earlier command's data.
    pub read_len: Option<u32>,
    /// The buffer is still in use: the kernel answers the initiator but hands the buffer to no other command
    /// until the id is written to the device's `action/free_kept_buf`. Needs [`crate::Features::keep_buf`].
    pub keep_buf: bool,
}
