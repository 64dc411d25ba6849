//! What can go wrong that is not an answer to the initiator.

use lunbox_sdk::{
    ConfigError, ExtentRecord, MAX_OPS, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Op, SchemaError,
};

/// Why a harness could not do what the test asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handler broke the contract.
    #[error("the handler broke the contract: {0}")]
    Violation(#[from] Violation),
    /// The test asked for something that a host never does.
    #[error("the test asked for what no host does: {0}")]
    Misuse(String),
}

/// Why a handler did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// `configure` refused.
    #[error("the handler refused its configuration: {0}")]
    Refused(ConfigError),
    /// The handler broke the contract.
    #[error("the handler broke the contract: {0}")]
    Violation(#[from] Violation),
    /// The test granted what no host grants.
    #[error("the test asked for what no host does: {0}")]
    Misuse(String),
}

/// A rule of `wit/handler.wit` that the handler broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A malformed subtype.
    #[error("description.subtype {0:?} must be 1 to 32 characters of a-z, 0-9 and `_`")]
    Subtype(String),
    /// An option schema that no host takes.
    #[error("options.declare: {0}")]
    Schema(SchemaError),
    /// A device size that no device can have.
    #[error("device-info.size {size} must be a multiple of the block size {block_size}, and not 0")]
    DeviceSize {
        /// What `configure` answered, in bytes.
        size: u64,
        /// Bytes.
        block_size: u32,
    },
    /// `more` without operations or with too many.
    #[error("more: a list of {0} operations; allowed are 1 to {MAX_OPS}")]
    OpCount(usize),
    /// Only `cdb.submit` may pass a command on.
    #[error("not-handled is allowed only as the first answer to cdb.submit")]
    NotHandled,
    /// An operation on a store that was not granted.
    #[error("op {index}: store {} does not exist; granted are {granted}", op.store.0)]
    UnknownStore {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
        /// Number of granted stores.
        granted: usize,
    },
    /// An operation on a buffer that no command can have.
    #[error("op {index}: buffer {} does not exist; use 0 to {MAX_SCRATCH_BUFFERS}", op.buffer.0)]
    UnknownBuffer {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A write out of a scratch buffer that nothing ever filled.
    #[error("op {index}: scratch buffer {} was never filled", op.buffer.0)]
    EmptyBuffer {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A length of 0.
    #[error("op {index}: length 0 is allowed for flush only")]
    ZeroLength {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A range outside of the buffer.
    #[error(
        "op {index}: {} bytes from byte {} on do not fit into buffer {}, which holds {available} (scratch \
         buffers: {MAX_SCRATCH_BYTES} at the most)", op.length, op.buffer_offset, op.buffer.0
    )]
    BufferRange {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
        /// Bytes that the buffer holds or may hold.
        available: u64,
    },
    /// A range that wraps around the end of 64-bit offsets.
    #[error("op {index}: store-offset {} + length {} exceeds 64 bits", op.store_offset, op.length)]
    StoreRange {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A read into data from the initiator, or a write out of data for it.
    #[error("op {index}: buffer 0 is not for this direction: reads fill data-in, writes take data-out")]
    Direction {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A change to a store that can not be written.
    #[error("op {index}: store {} is read-only", op.store.0)]
    ReadOnlyStore {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
    },
    /// A flag that has no meaning for the kind of operation.
    #[error("op {index}: flag {flag} has no meaning for {:?}", op.kind)]
    Flag {
        /// Position in the list.
        index: usize,
        /// The operation.
        op: Op,
        /// The flag's name in the contract.
        flag: &'static str,
    },
    /// A write was answered GOOD too early.
    #[error(
        "answered good although a write to store {store} is not durable: {reason} asks for `durable` or a flush"
    )]
    NotDurable {
        /// The store.
        store: u32,
        /// What asked for durability.
        reason: &'static str,
    },
    /// A physical block size that no device can have.
    #[error(
        "device-info.physical-block-size {physical} must be 0 or a power of two, from the block size {block_size} to 32768 \
         times it"
    )]
    PhysicalBlockSize {
        /// What `configure` answered, in bytes.
        physical: u32,
        /// Bytes.
        block_size: u32,
    },
    /// A list of extents that does not begin where it was asked for, has a gap or an overlap, or is empty (length 0).
    #[error(
        "lba-status: the record {0:?} does not begin where the one before it ends, or at the offset asked for"
    )]
    ExtentList(ExtentRecord),
    /// A saved state beyond the limit.
    #[error("state.save: {0} bytes; at most 16 MiB are allowed")]
    StateSize(usize),
}
