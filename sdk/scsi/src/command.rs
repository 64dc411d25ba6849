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
    /// READ (6), (10), (12), (16), (32).
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
    /// WRITE (6), (10), (12), (16), (32).
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
    /// WRITE AND VERIFY (10), (12), (16), (32).
    WriteAndVerify {
        /// First block.
        lba: Lba,
        /// How many; 0 transfers nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// What the blocks are compared with after they were written; never [`ByteCheck::OneBlock`].
        check: ByteCheck,
    },
    /// VERIFY (10), (12), (16), (32).
    Verify {
        /// First block.
        lba: Lba,
        /// How many; 0 verifies nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// What the blocks are compared with.
        check: ByteCheck,
    },
    /// WRITE SAME (10), (16), (32). ANCHOR is refused, since nothing here anchors blocks (ANC_SUP=0).
    WriteSame {
        /// First block.
        lba: Lba,
        /// How many; 0 means to the end of the medium for units whose VPD page B0h does not say WSNZ.
        blocks: Blocks,
        /// UNMAP: the blocks may be unmapped if they then read as what was sent.
        unmap: bool,
        /// NDOB: no data is sent, a block of zeros is meant. Never set for the 10-byte form.
        ndob: bool,
    },
    /// COMPARE AND WRITE. The data is what is compared, then as much that is written.
    CompareAndWrite {
        /// First block.
        lba: Lba,
        /// How many, at most 255; 0 compares and writes nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// Forced unit access: compared with the medium, and durable before the status is sent.
        fua: bool,
    },
    /// ORWRITE (16).
    OrWrite {
        /// First block.
        lba: Lba,
        /// How many; 0 transfers nothing and is no error.
        blocks: Blocks,
        /// The data is unlikely to be wanted again: need not be kept in a cache.
        dpo: bool,
        /// Forced unit access: durable before the status is sent.
        fua: bool,
    },
    /// PRE-FETCH (10), (16).
    PreFetch {
        /// First block.
        lba: Lba,
        /// How many; 0 means to the end of the medium.
        blocks: Blocks,
        /// IMMED: the status may be sent as soon as the CDB has been checked.
        immed: bool,
    },
    /// UNMAP. ANCHOR is refused, since nothing here anchors blocks (ANC_SUP=0).
    Unmap {
        /// PARAMETER LIST LENGTH in bytes, at most 65535; see [`list::unmap`](crate::list::unmap).
        length: u32,
    },
    /// GET LBA STATUS (16), for all kinds of blocks (REPORT TYPE 00h).
    GetLbaStatus {
        /// First block that is asked for.
        lba: Lba,
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
    /// FORMAT UNIT, without protection information, without a defect list format and not fast.
    FormatUnit {
        /// FMTDATA: there is a parameter list; see [`list::format`](crate::list::format).
        format_data: bool,
        /// LONGLIST: its header is the long one.
        long_list: bool,
    },
    /// MODE SELECT (6), (10), with PF=1 if there is a parameter list. SP and RTD are refused: nothing is saved, and
    /// VPD page 86h does not say RTD_SUP.
    ModeSelect {
        /// MODE SELECT (10): long mode parameter header. Else (6).
        ten: bool,
        /// PARAMETER LIST LENGTH in bytes, at most 65535; see [`list::mode_select`](crate::list::mode_select).
        length: u32,
    },
    /// LOG SENSE. SP is refused: nothing is saved.
    LogSense {
        /// PAGE CODE, 00h to 3Fh.
        page: u8,
        /// SUBPAGE CODE.
        subpage: u8,
        /// PC, 0 to 3: threshold, cumulative, default threshold, default cumulative values.
        control: u8,
        /// PARAMETER POINTER: the first parameter code that is wanted.
        parameter_pointer: u16,
        /// ALLOCATION LENGTH in bytes, at most 65535.
        allocation: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES.
    ReportSupportedOperationCodes {
        /// REPORTING OPTIONS, 0 to 3.
        options: u8,
        /// RCTD: command timeouts descriptors are wanted.
        timeouts: bool,
        /// REQUESTED OPERATION CODE; meaningless with options 0.
        opcode: u8,
        /// REQUESTED SERVICE ACTION; meaningless with options 0 and 1.
        service_action: u16,
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
    ReportSupportedTaskManagementFunctions {
        /// REPD: the extended parameter data is wanted.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
    /// REPORT TARGET PORT GROUPS.
    ReportTargetPortGroups {
        /// PARAMETER DATA FORMAT 001b: extended header; else 000b, length only.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
    /// SET TARGET PORT GROUPS.
    SetTargetPortGroups {
        /// PARAMETER LIST LENGTH in bytes; see [`list::target_port_groups`](crate::list::target_port_groups).
        length: u32,
    },
    /// EXTENDED COPY (LID1).
    ExtendedCopy {
        /// PARAMETER LIST LENGTH in bytes; see [`list::extended_copy`](crate::list::extended_copy).
        length: u32,
    },
    /// RECEIVE COPY RESULTS: the service actions that belong to EXTENDED COPY (LID1).
    ReceiveCopyResults {
        /// Which results.
        action: CopyResults,
        /// ALLOCATION LENGTH in bytes.
        allocation: u32,
    },
}

/// BYTCHK of VERIFY and WRITE AND VERIFY (SBC-4, VERIFY (10)). 10b is reserved and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteCheck {
    /// 00b: nothing is sent to compare with; the blocks must be readable.
    Medium,
    /// 01b: each block is compared with one that was sent.
    Whole,
    /// 11b: one block is sent, each block of the medium is compared with it.
    OneBlock,
}

/// The service actions of RECEIVE COPY RESULTS (SPC-4 6.18 to 6.20; RECEIVE COPY STATUS (LID1) and its like in
/// SPC-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyResults {
    /// 00h, COPY STATUS.
    CopyStatus {
        /// LIST IDENTIFIER of the copy.
        list_id: u8,
    },
    /// 03h, OPERATING PARAMETERS.
    OperatingParameters,
    /// 04h, FAILED SEGMENT DETAILS.
    FailedSegmentDetails {
        /// LIST IDENTIFIER of the copy.
        list_id: u8,
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
    /// Which way data goes, and how much. FORMAT UNIT does not say how long its parameter list is: the answer is
    /// the least, its header.
    ///
    /// A transfer that exceeds 64 bits saturates, so that it fits no buffer; decoded commands have at most 2³²
    /// blocks and never do.
    #[must_use]
    pub fn direction(&self, block_size: BlockSize) -> Data {
        let transfer = |blocks| block_size.bytes(blocks).unwrap_or(Bytes(u64::MAX));
        match *self {
            Self::TestUnitReady
            | Self::SynchronizeCache { .. }
            | Self::StartStopUnit { .. }
            | Self::PreFetch { .. } => Data::None,
            Self::RequestSense { allocation, .. } => Data::some_in(u64::from(allocation)),
            Self::Inquiry { allocation, .. } => Data::some_in(u64::from(allocation)),
            Self::ModeSense(ModeSense { allocation, .. }) => Data::some_in(u64::from(allocation)),
            Self::ReadCapacity16 { allocation }
            | Self::GetLbaStatus { allocation, .. }
            | Self::LogSense { allocation, .. }
            | Self::ReportSupportedOperationCodes { allocation, .. }
            | Self::ReportSupportedTaskManagementFunctions { allocation, .. }
            | Self::ReportTargetPortGroups { allocation, .. }
            | Self::ReceiveCopyResults { allocation, .. } => Data::some_in(u64::from(allocation)),
            // The command has no allocation length: always these 8 bytes.
            Self::ReadCapacity10 => Data::In(Bytes(8)),
            Self::Read { blocks, .. } => Data::some_in(transfer(blocks).0),
            Self::Write { blocks, .. }
            | Self::WriteAndVerify { blocks, .. }
            | Self::OrWrite { blocks, .. }
            | Self::Verify { blocks, check: ByteCheck::Whole, .. } => Data::some_out(transfer(blocks).0),
            Self::Verify { check: ByteCheck::Medium, .. }
            | Self::Verify { blocks: Blocks(0), .. }
            | Self::WriteSame { ndob: true, .. }
            | Self::FormatUnit { format_data: false, .. } => Data::None,
            Self::Verify { check: ByteCheck::OneBlock, .. } | Self::WriteSame { ndob: false, .. } => {
                Data::Out(transfer(Blocks(1)))
            }
            Self::CompareAndWrite { blocks, .. } => Data::some_out(transfer(blocks).0.saturating_mul(2)),
            Self::FormatUnit { format_data: true, long_list } => {
                Data::Out(Bytes(if long_list { 8 } else { 4 }))
            }
            Self::Unmap { length }
            | Self::ModeSelect { length, .. }
            | Self::SetTargetPortGroups { length }
            | Self::ExtendedCopy { length } => Data::some_out(u64::from(length)),
        }
    }
}

impl Data {
    /// Data-in, unless there is none.
    const fn some_in(bytes: u64) -> Self {
        if bytes == 0 { Self::None } else { Self::In(Bytes(bytes)) }
    }

    /// Data-out, unless there is none.
    const fn some_out(bytes: u64) -> Self {
        if bytes == 0 { Self::None } else { Self::Out(Bytes(bytes)) }
    }
}
