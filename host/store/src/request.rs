//! What an executor is asked and what it answers.

use lunbox_memory::Extent;

use crate::StoreError;

/// Names an operation for its submitter. The executor hands it back and gives no meaning to it; tokens should
/// be unique among operations in flight, since [`crate::Executor::cancel`] goes by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A store of one executor, as [`crate::Executor::add`] numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIndex(pub(crate) u32);

/// Memory of one executor, as [`crate::Executor::register`] numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub(crate) u32);

/// What an operation does to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Store to target.
    Read {
        /// What lies beyond the end of the store is zero-filled instead of being
        /// [`StoreError::EndOfStore`].
        zero_at_eof: bool,
    },
    /// Target to store. A regular file grows; other stores answer [`StoreError::EndOfStore`].
    Write {
        /// On stable storage when the operation ends.
        durable: bool,
    },
    /// Every write that ended before becomes durable. Offset, length and target mean nothing.
    Flush,
    /// The range no longer needs its contents. What it reads as afterwards: [`crate::Store::discard_zeroes`].
    /// Block devices discard the whole logical blocks inside of the range.
    Discard {
        /// On stable storage when the operation ends.
        durable: bool,
    },
    /// The range reads as zeros afterwards; a regular file grows as by a write.
    WriteZeroes {
        /// On stable storage when the operation ends.
        durable: bool,
        /// The space of the range may be given back.
        may_unmap: bool,
    },
}

impl Kind {
    /// Whether a read-only store refuses it.
    pub(crate) fn modifies(self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Flush)
    }

    /// Whether it moves bytes from or to a target.
    pub(crate) fn transfers(self) -> bool {
        matches!(self, Self::Read { .. } | Self::Write { .. })
    }
}

/// Where the bytes of a read go to, or those of a write come from.
#[derive(Debug)]
pub enum Target<'a> {
    /// A scattered buffer in registered memory.
    Region {
        /// Which memory.
        region: RegionId,
        /// Its pieces, in order.
        extents: &'a [Extent],
        /// Bytes at the front of the buffer that the operation leaves out.
        skip: u64,
    },
    /// A buffer that the executor owns until the operation has ended; it comes back in [`Done::buffer`],
    /// also after a failure.
    Owned {
        /// The buffer: at least `skip` and the request's length long.
        buffer: Vec<u8>,
        /// Bytes at its front that the operation leaves out.
        skip: usize,
    },
    /// No bytes: flush, discard, zeroes.
    Nothing,
}

/// One operation on one store.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where.
    pub store: StoreIndex,
    /// What.
    pub kind: Kind,
    /// Byte offset in the store. Offset and length together stay below 2^63.
    pub offset: u64,
    /// Bytes. An operation of no bytes ends well and does nothing.
    pub length: u64,
    /// From or to where.
    pub target: Target<'a>,
}

/// The end of an operation: nothing refers to its target any longer.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// The submitter's name for it.
    pub token: Token,
    /// Bytes of the request (zero-filled ones count; 0 for a flush), or why it failed. A failed operation may
    /// have been done in part.
    pub result: Result<u64, StoreError>,
    /// The buffer of [`Target::Owned`].
    pub buffer: Option<Vec<u8>>,
}
