//! Operations on stores and their results.

/// Most operations in one [`crate::Outcome::More`].
pub const MAX_OPS: usize = 64;

/// Scratch buffers of one command are numbered 1 to this.
pub const MAX_SCRATCH_BUFFERS: u32 = 15;

/// Largest scratch buffer in bytes.
pub const MAX_SCRATCH_BYTES: u32 = 1 << 20;

/// Index of a granted store: position in `DeviceConfig::stores`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub u32);

/// A buffer of a command: 0 is its data buffer, 1 to [`MAX_SCRATCH_BUFFERS`] are scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u32);

impl BufferId {
    /// The command's own data buffer.
    pub const DATA: Self = Self(0);
}

/// What an operation does to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Store to buffer.
    Read,
    /// Buffer to store.
    Write,
    /// All earlier completed writes become durable.
    Flush,
    /// The range no longer needs its contents.
    Discard,
    /// The range reads as zeros afterwards.
    WriteZeroes,
}

/// Flags of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpFlags {
    /// Everything before it in the list has ended before it starts; it ends before anything after it starts.
    pub barrier: bool,
    /// Reads: what lies beyond the end of the store is zero-filled.
    pub zero_at_eof: bool,
    /// Writes, discards, zeroes: durable when the operation ends.
    pub durable: bool,
}

/// One operation on one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What it does.
    pub kind: OpKind,
    /// Where.
    pub store: StoreId,
    /// Byte offset in the store.
    pub store_offset: u64,
    /// From or to which buffer.
    pub buffer: BufferId,
    /// Byte offset in the buffer.
    pub buffer_offset: u32,
    /// Bytes.
    pub length: u64,
    /// How.
    pub flags: OpFlags,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpError {
    /// The medium or the path to it.
    Io,
    /// No space left to allocate.
    NoSpace,
    /// The store can not be written.
    ReadOnly,
    /// Beyond the end of the store.
    EndOfStore,
    /// No answer in time.
    TimedOut,
    /// Cancelled by abort or teardown.
    Cancelled,
    /// The store can not do this.
    Unsupported,
    /// The operation itself was not valid.
    Invalid,
    /// The command's data buffer has gone.
    BufferLost,
}

/// The first failure of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpFailure {
    /// Position in the list.
    pub index: u32,
    /// Why.
    pub error: OpError,
}

/// The sum of a list of operations, when all of them have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpsResult {
    /// Of the failed operations the one that stands first in the list.
    pub first_error: Option<OpFailure>,
    /// Bytes that reads and writes moved.
    pub bytes: u64,
}
