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
        /// The space of the range may be given back. Else it stays allocated where it is; holes stay holes.
        may_unmap: bool,
    },
    /// What of the range takes up space, as records of 24 bytes, little-endian: offset in the store (u64), length (u64),
    /// state (u32: 0 if it does, 1 if not), 0 (u32). As many as fit into what the target has behind its `skip`, whatever
    /// the length of the range, then one of length 0 if it fits. The list may end before the range does, but has one
    /// record at least. Stores that do not know say that they hold it all.
    Extents,
    /// How much space the store uses and may still take, as [`Space`] in the target's first 16 bytes. The offset is 0 and
    /// the length 16. Regular files only; others answer [`StoreError::Unsupported`].
    Space,
}

/// Space of a regular file and of its file system, in bytes; the answer to [`Kind::Space`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What the file takes up; holes do not count.
    pub used: u64,
    /// What its file system has left for it. Others take of it, too.
    pub available: u64,
}

impl Space {
    /// Bytes of it in a buffer.
    pub const BYTES: usize = 16;

    /// As it stands in a buffer: used and available, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.used.to_le_bytes());
        bytes[8..].copy_from_slice(&self.available.to_le_bytes());
        bytes
    }

    /// From a buffer; `None` if it is shorter than [`Self::BYTES`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (used, rest) = bytes.split_first_chunk::<8>()?;
        let (available, _) = rest.split_first_chunk::<8>()?;
        Some(Self { used: u64::from_le_bytes(*used), available: u64::from_le_bytes(*available) })
    }
}

impl Kind {
    /// Whether a read-only store refuses it.
    pub(crate) fn modifies(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Discard { .. } | Self::WriteZeroes { .. })
    }

    /// What it wants of a target for a request of `length` bytes.
    pub(crate) fn wants(self, length: u64) -> Wanted {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::Space => Wanted::Bytes(length),
            Self::Extents => Wanted::Everything,
            Self::Flush | Self::Discard { .. } | Self::WriteZeroes { .. } => Wanted::Nothing,
        }
    }
}

/// What an operation wants of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing; it is only kept.
    Nothing,
    /// So many bytes behind its skip.
    Bytes(u64),
    /// All that is behind its skip.
    Everything,
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
    /// Bytes of the request (zero-filled ones count; 0 for a flush; for [`Kind::Extents`] those of its records), or why
    /// it failed. A failed operation may
    /// have been done in part.
    pub result: Result<u64, StoreError>,
    /// The buffer of [`Target::Owned`].
    pub buffer: Option<Vec<u8>>,
}
