//! How large the medium is, and how its logical blocks lie on the physical ones.

use std::fmt;

use crate::sense::Sense;
use crate::units::{BlockSize, Blocks, Bytes, Lba};

/// Size of the medium: at least one whole block, at most 64 bits of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    block_size: BlockSize,
    capacity: Blocks,
    physical: BlockSize,
    /// Below the number of logical blocks in a physical one, which has at most 14 bits.
    lowest_aligned: u16,
}

impl Geometry {
    /// A medium of `size` bytes whose physical blocks are its logical blocks.
    ///
    /// # Errors
    /// [`GeometryError::Empty`] and [`GeometryError::PartialBlock`].
    pub fn new(size: Bytes, block_size: BlockSize) -> Result<Self, GeometryError> {
        match block_size.blocks(size) {
            Some(Blocks(0)) => Err(GeometryError::Empty),
            Some(capacity) => Ok(Self { block_size, capacity, physical: block_size, lowest_aligned: 0 }),
            None => Err(GeometryError::PartialBlock { size, block_size }),
        }
    }

    /// The same with larger physical blocks: writes of whole ones are cheaper (512e disks).
    ///
    /// # Errors
    /// [`GeometryError::PhysicalBelowLogical`].
    pub fn with_physical_block(self, physical: BlockSize) -> Result<Self, GeometryError> {
        if physical < self.block_size {
            return Err(GeometryError::PhysicalBelowLogical { physical, logical: self.block_size });
        }
        Ok(Self { physical, lowest_aligned: 0, ..self })
    }

    /// The same with `lba` as the first block that starts a physical one, for stores that do not.
    ///
    /// # Errors
    /// [`GeometryError::AlignmentBeyondPhysical`].
    pub fn with_lowest_aligned(self, lba: Lba) -> Result<Self, GeometryError> {
        let limit = 1 << self.physical_exponent();
        match u16::try_from(lba.0) {
            Ok(lowest_aligned) if lba.0 < limit => Ok(Self { lowest_aligned, ..self }),
            _ => Err(GeometryError::AlignmentBeyondPhysical { lba, limit: Blocks(limit) }),
        }
    }

    /// Physical block length.
    #[must_use]
    pub const fn physical_block(&self) -> BlockSize {
        self.physical
    }

    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, of 14 bits.
    #[must_use]
    pub(crate) const fn lowest_aligned(&self) -> u16 {
        self.lowest_aligned
    }

    /// Logical block length.
    #[must_use]
    pub const fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> Bytes {
        self.block_size.bytes(self.capacity).expect("the capacity was made from a size in bytes")
    }

    /// Number of logical blocks, at least 1.
    #[must_use]
    pub const fn capacity(&self) -> Blocks {
        self.capacity
    }

    /// Address of the last logical block.
    #[must_use]
    pub const fn last_lba(&self) -> Lba {
        // Not 0 by construction.
        Lba(self.capacity.0 - 1)
    }

    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, 0 to 14.
    #[must_use]
    pub(crate) fn physical_exponent(&self) -> u8 {
        let exponent = self.physical.get().trailing_zeros() - self.block_size.get().trailing_zeros();
        u8::try_from(exponent).expect("both sizes have 10 to 24 bits")
    }

    /// Checks that `blocks` from `lba` on lie on the medium. No blocks directly behind the last one do.
    ///
    /// # Errors
    /// The sense data to answer with: 5/21/00.
    pub fn check_range(&self, lba: Lba, blocks: Blocks) -> Result<(), Sense> {
        match lba.checked_add(blocks) {
            Some(end) if end.0 <= self.capacity.0 => Ok(()),
            _ => Err(Sense::LBA_OUT_OF_RANGE),
        }
    }
}

/// Why a size is refused; for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// Not one block.
    Empty,
    /// The size is not a whole number of blocks.
    PartialBlock {
        /// What was asked for.
        size: Bytes,
        /// What it should be a multiple of.
        block_size: BlockSize,
    },
    /// Physical blocks can not be smaller than logical ones.
    PhysicalBelowLogical {
        /// What was asked for.
        physical: BlockSize,
        /// What it must not be below.
        logical: BlockSize,
    },
    /// The first physical block that starts with a logical one starts within the first physical block.
    AlignmentBeyondPhysical {
        /// What was asked for.
        lba: Lba,
        /// What it must be below.
        limit: Blocks,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("size: 0 bytes; give the device at least one block"),
            Self::PartialBlock { size, block_size } => write!(
                f,
                "size: {size} bytes is not a multiple of the block size {block_size}; use {} or a smaller block size",
                size.0 - size.0 % u64::from(block_size.get())
            ),
            Self::PhysicalBelowLogical { physical, logical } => write!(
                f,
                "physical block size: {physical} is below the logical block size {logical}; use {logical} or more"
            ),
            Self::AlignmentBeyondPhysical { lba, limit } => write!(
                f,
                "lowest aligned block: {lba} is not within the first physical block; use a number below {limit}"
            ),
        }
    }
}

impl std::error::Error for GeometryError {}
