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
    /// What of the range is allocated to buffer, as [`ExtentRecord`](crate::ExtentRecord)s. The length is that of the
    /// range; the list ends with the buffer at the latest.
    Extents,
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
    /// Zeroes: the range may become unallocated.
    pub may_unmap: bool,
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

impl Op {
    const fn new(kind: OpKind, store: StoreId, store_offset: u64, length: u64) -> Self {
        Self {
            kind,
            store,
            store_offset,
            buffer: BufferId::DATA,
            buffer_offset: 0,
            length,
            flags: OpFlags { barrier: false, zero_at_eof: false, durable: false, may_unmap: false },
        }
    }

    /// Reads `length` bytes at `store_offset` into the command's own buffer from its byte 0 on.
    #[must_use]
    pub const fn read(store: StoreId, store_offset: u64, length: u64) -> Self {
        Self::new(OpKind::Read, store, store_offset, length)
    }

    /// Writes `length` bytes of the command's own buffer, from its byte 0 on, to `store_offset`.
    #[must_use]
    pub const fn write(store: StoreId, store_offset: u64, length: u64) -> Self {
        Self::new(OpKind::Write, store, store_offset, length)
    }

    /// Makes all earlier completed writes to `store` durable.
    #[must_use]
    pub const fn flush(store: StoreId) -> Self {
        Self::new(OpKind::Flush, store, 0, 0)
    }

    /// Gives up the contents of `length` bytes at `store_offset`.
    #[must_use]
    pub const fn discard(store: StoreId, store_offset: u64, length: u64) -> Self {
        Self::new(OpKind::Discard, store, store_offset, length)
    }

    /// Makes `length` bytes at `store_offset` read as zeros.
    #[must_use]
    pub const fn write_zeroes(store: StoreId, store_offset: u64, length: u64) -> Self {
        Self::new(OpKind::WriteZeroes, store, store_offset, length)
    }

    /// Lists what of `length` bytes at `store_offset` is allocated in the command's own buffer, from its byte 0 on.
    #[must_use]
    pub const fn extents(store: StoreId, store_offset: u64, length: u64) -> Self {
        Self::new(OpKind::Extents, store, store_offset, length)
    }

    /// The same with another place for the bytes: `buffer` from byte `buffer_offset` on.
    #[must_use]
    pub const fn in_buffer(mut self, buffer: BufferId, buffer_offset: u32) -> Self {
        self.buffer = buffer;
        self.buffer_offset = buffer_offset;
        self
    }

    /// The same as a barrier ([`OpFlags::barrier`]).
    #[must_use]
    pub const fn barrier(mut self) -> Self {
        self.flags.barrier = true;
        self
    }

    /// The same, zero-filled beyond the end of the store ([`OpFlags::zero_at_eof`]); for reads.
    #[must_use]
    pub const fn zero_at_eof(mut self) -> Self {
        self.flags.zero_at_eof = true;
        self
    }

    /// The same, durable when it ends if `durable` is set ([`OpFlags::durable`]); for writes, discards and zeroes.
    #[must_use]
    pub const fn durable(mut self, durable: bool) -> Self {
        self.flags.durable = durable;
        self
    }

    /// The same, free to give the space back if `may_unmap` is set ([`OpFlags::may_unmap`]); for zeroes.
    #[must_use]
    pub const fn may_unmap(mut self, may_unmap: bool) -> Self {
        self.flags.may_unmap = may_unmap;
        self
    }
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
