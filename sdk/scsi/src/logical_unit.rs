//! What a logical unit says about itself. The builders of INQUIRY, VPD, mode and capacity data take it all from
//! here, so that two pages never contradict each other.

use std::fmt;

use crate::sense::Sense;
use crate::units::{BlockSize, Blocks, Bytes, Lba};

/// Everything that INQUIRY, VPD, MODE SENSE, READ CAPACITY and REQUEST SENSE tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalUnit {
    /// Who it is.
    pub identity: Identity,
    /// How large it is.
    pub geometry: Geometry,
    /// What it can do.
    pub characteristics: Characteristics,
    /// What REQUEST SENSE reports, for instance a unit attention. The owner clears it when it has been reported.
    pub pending_sense: Option<Sense>,
}

impl LogicalUnit {
    /// A unit that can read and write durably, and nothing else: [`Characteristics::default`].
    #[must_use]
    pub fn new(identity: Identity, geometry: Geometry) -> Self {
        Self { identity, geometry, characteristics: Characteristics::default(), pending_sense: None }
    }
}

/// Who the unit is. Bytes that are not printable ASCII (20h to 7Eh) are shown as `?`; what is too long is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, up to 8 characters.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, up to 16 characters.
    pub product: String,
    /// PRODUCT REVISION LEVEL, up to 4 characters.
    pub revision: String,
    /// Unit serial number: unique and the same for ever. The NAA name is made of its hexadecimal digits.
    pub serial: String,
}

impl Identity {
    /// The identity that LUNs of tcmu-runner have, so that initiators recognise them after a migration.
    #[must_use]
    pub fn tcmu(serial: &str) -> Self {
        Self {
            vendor: "LIO-ORG".to_owned(),
            product: "TCMU device".to_owned(),
            revision: "0002".to_owned(),
            serial: serial.to_owned(),
        }
    }
}

/// Size of the medium: at least one whole block, at most 64 bits of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    block_size: BlockSize,
    capacity: Blocks,
    physical: BlockSize,
}

impl Geometry {
    /// A medium of `size` bytes whose physical blocks are its logical blocks.
    ///
    /// # Errors
    /// [`GeometryError::Empty`] and [`GeometryError::PartialBlock`].
    pub fn new(size: Bytes, block_size: BlockSize) -> Result<Self, GeometryError> {
        match block_size.blocks(size) {
            Some(Blocks(0)) => Err(GeometryError::Empty),
            Some(capacity) => Ok(Self { block_size, capacity, physical: block_size }),
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
        Ok(Self { physical, ..self })
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
        }
    }
}

impl std::error::Error for GeometryError {}

/// What the unit can do. The default is the least: reads and durable writes of any length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Characteristics {
    /// Writes are refused (WP in the mode parameter header).
    pub write_protected: bool,
    /// Writes may be volatile until SYNCHRONIZE CACHE (WCE in the caching mode page).
    pub write_cache: bool,
    /// DPO and FUA are honoured (DPOFUA in the mode parameter header).
    pub dpo_fua: bool,
    /// Sense data is sent in descriptor format (D_SENSE in the control mode page): INFORMATION above 32 bits
    /// fits.
    pub descriptor_sense: bool,
    /// No seek penalty (MEDIUM ROTATION RATE = 1 in VPD B1).
    pub solid_state: bool,
    /// MAXIMUM TRANSFER LENGTH of VPD B0; 0 states no limit. Shown as 2³²−1 if larger.
    pub max_transfer: Blocks,
    /// OPTIMAL TRANSFER LENGTH of VPD B0; 0 states none.
    pub optimal_transfer: Blocks,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY of VPD B0; 0 states none.
    pub optimal_granularity: u16,
    /// MAXIMUM COMPARE AND WRITE LENGTH of VPD B0 in blocks; 0 if there is no COMPARE AND WRITE.
    pub max_compare_and_write: u8,
    /// MAXIMUM WRITE SAME LENGTH of VPD B0; 0 states no limit, or that there is no WRITE SAME.
    pub max_write_same: Blocks,
    /// Logical block provisioning management; `None` if there is no UNMAP.
    pub unmap: Option<Unmap>,
}

/// Logical block provisioning management (SBC-4 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// MAXIMUM UNMAP LBA COUNT of VPD B0: blocks of one UNMAP command, all descriptors together; not 0.
    pub max_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT of VPD B0; not 0.
    pub max_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY of VPD B0 in blocks; 0 states none.
    pub granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT of VPD B0: first LBA that is on the granularity, below 2³¹; `None` if not
    /// known.
    pub alignment: Option<u32>,
    /// Unmapped blocks read as zeros (LBPRZ).
    pub reads_zeroes: bool,
    /// Which WRITE SAME commands honour their UNMAP bit.
    pub write_same: WriteSame,
    /// How blocks are backed.
    pub provisioning: Provisioning,
}

/// Which WRITE SAME commands unmap (LBPWS and LBPWS10 in VPD B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSame {
    /// None: only UNMAP does.
    None,
    /// WRITE SAME (16).
    Sixteen,
    /// WRITE SAME (10) and (16).
    TenAndSixteen,
}

/// PROVISIONING TYPE of VPD B2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// 0: not reported.
    NotReported,
    /// 1: resource provisioned; writes never fail for lack of space.
    Resource,
    /// 2: thin provisioned; writes may end with 7/27/07.
    Thin,
}

#[cfg(test)]
mod tests;
