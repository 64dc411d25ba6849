//! RECEIVE COPY RESULTS parameter data (SPC-4 6.24, the commands with a list identifier of one byte).

use crate::command::CopyResults;
use crate::logical_unit::{Geometry, LogicalUnit};
use crate::sense::Sense;
use crate::units::Bytes;

/// MAXIMUM CSCD DESCRIPTOR COUNT of an EXTENDED COPY.
pub const MAX_CSCD_DESCRIPTORS: u16 = 2;
/// MAXIMUM SEGMENT DESCRIPTOR COUNT of an EXTENDED COPY.
pub const MAX_SEGMENT_DESCRIPTORS: u16 = 1;
/// MAXIMUM DESCRIPTOR LIST LENGTH of an EXTENDED COPY in bytes: CSCD and segment descriptors together.
pub const MAX_DESCRIPTOR_LIST_LENGTH: u32 = 1024;

/// What became of an EXTENDED COPY that has a list identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRecord {
    /// LIST IDENTIFIER.
    pub list_id: u8,
    /// How it stands.
    pub outcome: CopyOutcome,
    /// SEGMENTS PROCESSED.
    pub segments: u16,
    /// What was written.
    pub transferred: Bytes,
}

/// COPY COMMAND STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyOutcome {
    /// 00h: it runs.
    InProgress = 0x00,
    /// 01h: it ended without errors.
    Completed = 0x01,
    /// 02h: it ended with errors.
    Failed = 0x02,
}

/// Most blocks of a segment: its descriptor counts them in 16 bits.
const MAX_SEGMENT_BLOCKS: u64 = 0xffff;

/// The descriptors that EXTENDED COPY understands: segments from block device to block device (02h) and
/// identification descriptor CSCDs (E4h).
const IMPLEMENTED_DESCRIPTORS: [u8; 2] = [0x02, 0xe4];

/// Appends the parameter data of RECEIVE COPY RESULTS. The caller cuts to the allocation length.
///
/// # Errors
/// The sense data to answer with, 5/24/00, if there is no copy with this list identifier; `out` is left as it was.
/// That is so for all FAILED SEGMENT DETAILS: a failed copy sends them as its sense data, and holds none back.
pub fn receive_copy_results(action: CopyResults, unit: &LogicalUnit, out: &mut Vec<u8>) -> Result<(), Sense> {
    match action {
        CopyResults::OperatingParameters => {
            out.extend_from_slice(&operating_parameters(&unit.geometry));
            Ok(())
        }
        CopyResults::CopyStatus { list_id } => {
            let found = unit.copies.iter().rev().find(|copy| copy.list_id == list_id);
            out.extend_from_slice(&copy_status(found.ok_or(Sense::INVALID_FIELD_IN_CDB)?));
            Ok(())
        }
        CopyResults::FailedSegmentDetails { .. } => Err(Sense::INVALID_FIELD_IN_CDB),
    }
}

/// What an EXTENDED COPY may ask for. One runs at a time for each unit, since it holds all other commands of its
/// range off; that limits nothing that an initiator could see.
fn operating_parameters(geometry: &Geometry) -> [u8; 46] {
    let block = geometry.block_size();
    let mut data = [0; 46];
    data[3] = 42; // AVAILABLE DATA: all that follows
    data[4] = 0x01; // SNLID: a copy need not have a list identifier
    data[8..10].copy_from_slice(&MAX_CSCD_DESCRIPTORS.to_be_bytes());
    data[10..12].copy_from_slice(&MAX_SEGMENT_DESCRIPTORS.to_be_bytes());
    data[12..16].copy_from_slice(&MAX_DESCRIPTOR_LIST_LENGTH.to_be_bytes());
    // MAXIMUM SEGMENT LENGTH in bytes.
    let longest = u64::from(block.get()) * MAX_SEGMENT_BLOCKS;
    data[16..20].copy_from_slice(&u32::try_from(longest).unwrap_or(u32::MAX).to_be_bytes());
    // No inline data, no held data, no stream devices.
    data[34..36].copy_from_slice(&1_u16.to_be_bytes()); // TOTAL CONCURRENT COPIES
    data[36] = 1; // MAXIMUM CONCURRENT COPIES
    // DATA SEGMENT GRANULARITY, as a power of two. Inline and held data have none.
    data[37] = u8::try_from(block.get().trailing_zeros()).expect("a block size has at most 24 bits");
    data[43] = 2; // IMPLEMENTED DESCRIPTOR LIST LENGTH
    data[44..].copy_from_slice(&IMPLEMENTED_DESCRIPTORS);
    data
}

/// How a copy stands. TRANSFER COUNT is in bytes, or in the smallest of the larger units that holds it.
fn copy_status(copy: &CopyRecord) -> [u8; 12] {
    let mut data = [0; 12];
    data[3] = 8; // AVAILABLE DATA: all that follows
    data[4] = copy.outcome as u8; // HDD=0: no data is held and then dropped
    data[5..7].copy_from_slice(&copy.segments.to_be_bytes());
    // TRANSFER COUNT UNITS: 00h bytes, then each 1024 times more.
    let (mut units, mut count) = (0, copy.transferred.0);
    while count > u64::from(u32::MAX) {
        count >>= 10;
        units += 1;
    }
    data[7] = units;
    data[8..].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical_unit::Identity;
    use crate::units::BlockSize;

    fn unit(block_size: BlockSize) -> LogicalUnit {
        LogicalUnit::new(Identity::tcmu("x"), Geometry::new(Bytes(1 << 30), block_size).unwrap())
    }

    fn build(action: CopyResults, unit: &LogicalUnit) -> Result<Vec<u8>, Sense> {
        let mut out = Vec::new();
        match receive_copy_results(action, unit, &mut out) {
            Ok(()) => {
                let length = u32::from_be_bytes([out[0], out[1], out[2], out[3]]);
                assert_eq!(out.len(), 4 + usize::try_from(length).unwrap(), "AVAILABLE DATA");
                Ok(out)
            }
            Err(sense) => {
                assert_eq!(out, [], "a refusal appends nothing");
                Err(sense)
            }
        }
    }

    #[test]
    fn operating_parameters_to_the_byte() {
        let mut expected = vec![0, 0, 0, 42, 0x01, 0, 0, 0, 0, 2, 0, 1, 0, 0, 4, 0, 0x01, 0xff, 0xfe, 0x00];
        expected.resize(34, 0);
        expected.extend_from_slice(&[0, 1, 1, 9, 0, 0, 0, 0, 0, 2, 0x02, 0xe4]);
        assert_eq!(build(CopyResults::OperatingParameters, &unit(BlockSize::B512)), Ok(expected.clone()));

        expected[16..20].copy_from_slice(&[0x0f, 0xff, 0xf0, 0x00]);
        expected[37] = 12;
        assert_eq!(build(CopyResults::OperatingParameters, &unit(BlockSize::B4096)), Ok(expected));

        // 2¹⁶ − 1 blocks of the largest size have more than 32 bits.
        let largest =
            build(CopyResults::OperatingParameters, &unit(BlockSize::new(1 << 23).unwrap())).unwrap();
        assert_eq!(largest[16..20], [0xff; 4]);
        assert_eq!(largest[37], 23);
    }

    #[test]
    fn the_status_of_the_last_copy_with_the_identifier() {
        let mut own = unit(BlockSize::B512);
        let copy = |list_id, outcome, transferred| CopyRecord {
            list_id,
            outcome,
            segments: 1,
            transferred: Bytes(transferred),
        };
        own.copies = vec![
            copy(1, CopyOutcome::Failed, 512),
            copy(2, CopyOutcome::InProgress, 0),
            copy(1, CopyOutcome::Completed, 0x1234_5678),
            copy(3, CopyOutcome::Completed, 1 << 32),
            copy(4, CopyOutcome::Failed, u64::MAX),
        ];
        for (list_id, expected) in [
            (1, [0, 0, 0, 8, 1, 0, 1, 0, 0x12, 0x34, 0x56, 0x78]),
            (2, [0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0]),
            (3, [0, 0, 0, 8, 1, 0, 1, 1, 0, 0x40, 0, 0]),
            (4, [0, 0, 0, 8, 2, 0, 1, 4, 0, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(build(CopyResults::CopyStatus { list_id }, &own), Ok(expected.to_vec()));
        }
        for action in
            [CopyResults::CopyStatus { list_id: 5 }, CopyResults::FailedSegmentDetails { list_id: 1 }]
        {
            assert_eq!(build(action, &own), Err(Sense::INVALID_FIELD_IN_CDB));
        }
    }
}
