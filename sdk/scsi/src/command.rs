//! What a CDB says, as a value. Each command is specified in the clause of its name: in SBC-4 if it moves data
//! or concerns the medium, else in SPC-5.

use crate::units::{BlockSize, Blocks, Bytes, Lba};

/// A decoded command.
///
/// Ranges are not checked against the medium: [`Geometry::check_range`](crate::Geometry::check_range) does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE.
    RequestSense {
        /// DESC: descriptor format is wanted, else fixed.
        descriptor: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation: u8,
    },
    /// INQUIRY.
    Inquiry {
        /// The vital product data page that is wanted; `None` for the standard data (EVPD=0).
        vpd: Option<u8>,
        /// ALLOCATION LENGTH in bytes.
        allocation: u16,
    },
    /// READ (6), (10), (12), (16).
    Read {
        /// First block.
        lba: Lba,
        /// How many; 0 transfers nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// Forced unit access: from the medium, not from a volatile cache that is newer.
        fua: bool,
    },
    /// WRITE (6), (10), (12), (16).
    Write {
        /// First block.
        lba: Lba,
        /// How many; 0 transfers nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// Forced unit access: durable before the status is sent.
        fua: bool,
    },
    /// SYNCHRONIZE CACHE (10), (16).
    SynchronizeCache {
        /// First block.
        lba: Lba,
        /// How many; 0 means to the end of the medium.
        blocks: Blocks,
        /// IMMED: the status may be sent as soon as the CDB has been checked.
        immed: bool,
    },
    /// READ CAPACITY (10).
    ReadCapacity10,
    /// READ CAPACITY (16).
    ReadCapacity16 {
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
    /// MODE SENSE (6), (10).
    ModeSense(ModeSense),
    /// START STOP UNIT.
    StartStopUnit {
        /// IMMED: the status may be sent as soon as the CDB has been checked.
        immed: bool,
        /// POWER CONDITION, 0h to Fh; 0h means that `start` and `loej` count.
        power_condition: u8,
        /// NO_FLUSH: caches need not be written before the unit stops.
        no_flush: bool,
        /// LOEJ: load or eject the medium.
        loej: bool,
        /// START: make ready, else stop.
        start: bool,
    },
}

/// The fields of MODE SENSE (6) and (10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSense {
    /// MODE SENSE (10): long mode parameter header. Else (6).
    pub ten: bool,
    /// LLBAA: the long block descriptor is accepted. Never set for MODE SENSE (6).
    pub llbaa: bool,
    /// DBD: no block descriptor.
    pub dbd: bool,
    /// PC: which values.
    pub control: PageControl,
    /// PAGE CODE, 00h to 3Fh; 3Fh means all.
    pub page: u8,
    /// SUBPAGE CODE; FFh means all.
    pub subpage: u8,
    /// ALLOCATION LENGTH in bytes; at most 255 for MODE SENSE (6).
    pub allocation: u16,
}

/// PC, the page control field of MODE SENSE (SPC-5, MODE SENSE (6)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageControl {
    /// 00b: the values in force.
    Current,
    /// 01b: a mask of the bits that MODE SELECT may change.
    Changeable,
    /// 10b: the values after power on.
    Default,
    /// 11b: the values that survive a power cycle.
    Saved,
}

/// Which way data goes, and how much the CDB asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// No data.
    None,
    /// To the initiator. For parameter data this is the allocation length, an upper limit.
    In(Bytes),
    /// From the initiator.
    Out(Bytes),
}

impl Command {
    /// Which way data goes, and how much.
    ///
    /// A transfer that exceeds 64 bits saturates, so that it fits no buffer; decoded commands have at most 2³²
    /// blocks and never do.
    #[must_use]
    pub fn direction(&self, block_size: BlockSize) -> Data {
        let transfer = |blocks| block_size.bytes(blocks).unwrap_or(Bytes(u64::MAX));
        match *self {
            Self::TestUnitReady | Self::SynchronizeCache { .. } | Self::StartStopUnit { .. } => Data::None,
            Self::RequestSense { allocation, .. } => Data::some_in(u64::from(allocation)),
            Self::Inquiry { allocation, .. } => Data::some_in(u64::from(allocation)),
            Self::ModeSense(ModeSense { allocation, .. }) => Data::some_in(u64::from(allocation)),
            Self::ReadCapacity16 { allocation } => Data::some_in(u64::from(allocation)),
            // The command has no allocation length: always these 8 bytes.
            Self::ReadCapacity10 => Data::In(Bytes(8)),
            Self::Read { blocks, .. } => Data::some_in(transfer(blocks).0),
            Self::Write { blocks: Blocks(0), .. } => Data::None,
            Self::Write { blocks, .. } => Data::Out(transfer(blocks)),
        }
    }
}

impl Data {
    /// Data-in, unless there is none.
    const fn some_in(bytes: u64) -> Self {
        if bytes == 0 { Self::None } else { Self::In(Bytes(bytes)) }
    }
}
