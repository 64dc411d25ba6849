//! What a composite command and whoever runs it say to each other.

use lunbox_contract::{Status, UnmapLimits};
use lunbox_scsi::{FieldPointer, Sense};

/// What is done to the medium in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Medium to buffer.
    Read,
    /// Buffer to medium.
    Write,
    /// What was written before is durable afterwards. Offset and length are 0, no buffer.
    Flush,
    /// The range is no longer needed. No buffer. Only with [`Facts::unmap`].
    Unmap,
    /// The range reads as zeros afterwards. No buffer. Only with [`Facts::write_zeroes`].
    WriteZeroes {
        /// It may become unallocated.
        may_unmap: bool,
    },
    /// The handler compares and writes by itself: the first half of the buffer is compared, the second one written.
    /// `length` is that of one half. Only with [`Facts::compare_and_write`].
    CompareAndWrite,
    /// Fills the buffer (at most `room` bytes) with what is allocated from `offset` on, as records of 24 bytes
    /// (`lunbox_contract::ExtentRecord`). Only with [`Facts::lba_status`].
    Status {
        /// Bytes of the buffer; a multiple of 24.
        room: u32,
    },
}

/// The bytes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// None.
    Nothing,
    /// The command's own data, from this byte on. Only read from it for data-out commands, only fill it for data-in.
    Data(u64),
    /// The command's work buffer ([`Composite::work`]), from this byte on.
    Work(u64),
}

/// One step. Its range must lie on the medium, and is a multiple of the block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub verb: Verb,
    /// Byte offset on the medium.
    pub offset: u64,
    /// Bytes; not 0 but for [`Verb::Flush`].
    pub length: u64,
    /// Writes and zeroes are durable when they end; reads come from the medium.
    pub fua: bool,
    /// Bytes.
    pub buffer: Where,
}

/// Why a step did not end well: what the handler would have answered an initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A status without sense data; never [`Status::Good`].
    Status(Status),
    /// CHECK CONDITION.
    Check(Sense),
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// GOOD.
    Good,
    /// As the step that failed.
    Failed(Failure),
    /// CHECK CONDITION; the pointer goes into the SENSE KEY SPECIFIC bytes.
    Check(Sense, Option<FieldPointer>),
    /// GOOD, and from now on the unit has a write cache or not (MODE SELECT).
    SetModes {
        /// WCE of the caching page.
        write_cache: bool,
        /// SWP of the control page.
        software_write_protect: bool,
        /// D_SENSE of the control page.
        descriptor_sense: bool,
    },
    /// GOOD for a data-in command that filled so many bytes of its data.
    Filled(u64),
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a composite wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It has asked for steps through [`Io::ask`]; [`Composite::next`] is to be called when all of them have ended.
    Wait,
    /// It is over.
    End(Verdict),
}

/// What others may do on the medium while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anything, as beside a plain write.
    Shared,
    /// Nothing that overlaps this range of bytes: commands before it have ended, those after it wait.
    Alone {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// What a composite needs to know of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Logical block length in bytes.
    pub block_size: u32,
    /// Bytes of the medium.
    pub size: u64,
    /// Longest transfer that the handler is asked for at once, in bytes; a multiple of the block size.
    pub max_transfer: u64,
    /// The handler can unmap.
    pub unmap: Option<UnmapLimits>,
    /// The handler can write zeros.
    pub write_zeroes: bool,
    /// The handler can compare and write.
    pub compare_and_write: bool,
    /// The handler can tell what is allocated.
    pub lba_status: bool,
    /// Writes must be asked to be durable: the handler would hold them back, and the unit has no write cache.
    pub write_through: bool,
}

/// Bytes lie outside of a buffer, or its memory was reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What a composite works with. Tests give it a disk of bytes.
pub trait Io {
    /// What the unit is.
    fn facts(&self) -> Facts;

    /// Bytes of the command's own data that the initiator sent or takes.
    fn data_length(&self) -> u64;

    /// Copies bytes out of the command's data or work buffer. Never while a step that uses them runs.
    ///
    /// # Errors
    /// [`Gone`]: end with [`DATA_GONE`].
    fn take(&mut self, from: Where, out: &mut [u8]) -> Result<(), Gone>;

    /// Copies bytes into the command's data or work buffer. Never while a step that uses them runs.
    ///
    /// # Errors
    /// As [`Io::take`].
    fn put(&mut self, to: Where, bytes: &[u8]) -> Result<(), Gone>;

    /// Asks for a step. All that are asked for in one [`Composite::next`] run at the same time, in no order.
    fn ask(&mut self, ask: Ask);

    /// Says how much is done, for REQUEST SENSE and the NOT READY of other commands: of 65536 parts.
    fn progress(&mut self, parts: u16);
}

/// How a command ends whose bytes can not be had any more: the initiator repeats it.
pub const DATA_GONE: Verdict = Verdict::Failed(Failure::Status(Status::Busy));

/// A command that is made of steps.
pub trait Composite: std::fmt::Debug {
    /// What others may do meanwhile. Asked once, before the first [`Composite::next`].
    fn scope(&self) -> Scope {
        Scope::Shared
    }

    /// Bytes of work buffer that it needs, at most [`crate::MAX_WORK`]. Asked once, before the first
    /// [`Composite::next`].
    fn work(&self) -> u64 {
        0
    }

    /// GOOD is told before it is done (IMMED); how it really ends is only logged. Asked once.
    fn is_immediate(&self) -> bool {
        false
    }

    /// While it runs, other commands but INQUIRY, REPORT LUNS and REQUEST SENSE end with 2/04/04 (FORMAT UNIT). Asked
    /// once.
    fn occupies_unit(&self) -> bool {
        false
    }

    /// Decides what comes next. `last` is how the steps ended that it asked for the last time: the failure of the one
    /// that stands first, if any. `Ok` in the first call.
    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next;
}

/// Largest work buffer of a command in bytes.
pub const MAX_WORK: u64 = 1 << 20;
