//! The handler contract (`wit/handler.wit`, package `lunbox:handler@0.1.0`) as plain Rust types, shared by
//! hosts, by handlers written in Rust and by the native test harness. No I/O, no Wasm, no allocation except
//! where a list crosses.
//!
//! The rules of each call stand in the WIT file; here only what Rust adds.

#![forbid(unsafe_code)]

mod ability;
mod config;
mod extent;
mod op;
mod options;
mod outcome;

pub use ability::{Event, UnmapLimits};
pub use config::{ConfigError, Description, DeviceConfig, DeviceInfo, StoreInfo};
pub use extent::{EXTENT_SCRATCH_BYTES, ExtentRecord, Extents};
pub use op::{
    BufferId, MAX_OPS, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Op, OpError, OpFailure, OpFlags, OpKind,
    OpsResult, StoreId,
};
pub use options::{Field, FieldKind, Grammar, MAX_CHOICES, MAX_FIELDS, Schema, SchemaError};
pub use outcome::{Outcome, Status};

/// Version of the contract that this crate describes.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// Names one command from `submit` until the host is done with it; never used twice by one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

/// What a block command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Fill buffer 0.
    Read,
    /// Buffer 0 holds the data.
    Write,
    /// Make every write that was answered GOOD durable. Offset and length are 0.
    Flush,
}

/// A command as a block handler sees it: in range, aligned to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCommand {
    /// The command's name.
    pub tag: Tag,
    /// What is asked.
    pub kind: BlockKind,
    /// Forced unit access.
    pub fua: bool,
    /// Byte offset on the device.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A command as a CDB handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdbCommand<'a> {
    /// The command's name.
    pub tag: Tag,
    /// The CDB as it came, 6 to 260 bytes.
    pub cdb: &'a [u8],
    /// Bytes of buffer 0 that hold data from the initiator.
    pub data_out: u32,
    /// Bytes of buffer 0 to be filled for the initiator.
    pub data_in: u32,
}

/// Access to the buffers of commands in progress; the handler's only way to bytes.
pub trait Buffers {
    /// Fills `out` from a buffer, starting at byte `offset`.
    ///
    /// # Errors
    /// See [`BufferError`]; nothing was copied.
    fn take(&mut self, tag: Tag, buffer: BufferId, offset: u32, out: &mut [u8]) -> Result<(), BufferError>;

    /// Copies `data` into a buffer at byte `offset`; makes or grows a scratch buffer as needed.
    ///
    /// # Errors
    /// See [`BufferError`]; nothing was copied, except [`BufferError::Lost`], after which the buffer's
    /// contents are unknown.
    fn put(&mut self, tag: Tag, buffer: BufferId, offset: u32, data: &[u8]) -> Result<(), BufferError>;
}

/// Why bytes could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferError {
    /// The tag names no command in progress.
    UnknownTag,
    /// No such buffer, or a scratch buffer that was never filled.
    UnknownBuffer,
    /// The range lies outside of the buffer or its limit.
    OutOfRange,
    /// Data-in may only be put, data-out only be taken.
    WrongDirection,
    /// The memory has gone.
    Lost,
    /// An operation on this buffer is under way.
    InUse,
}

impl std::fmt::Display for BufferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownTag => "no command with this tag is in progress",
            Self::UnknownBuffer => "no such buffer",
            Self::OutOfRange => "range outside of the buffer",
            Self::WrongDirection => "data-in may only be put, data-out only be taken",
            Self::Lost => "the buffer's memory has gone",
            Self::InUse => "an operation on this buffer is under way",
        })
    }
}

impl std::error::Error for BufferError {}
