//! The commands of SBC beyond READ and WRITE, and those that go with a list.

use super::*;
use crate::command::{ByteCheck, CopyResults, Data};
use crate::units::{BlockSize, Blocks, Bytes, Lba};

/// A CDB of zeros with some bytes set.
fn cdb<const N: usize>(opcode: u8, bytes: &[(usize, u8)]) -> [u8; N] {
    let mut cdb = [0; N];
    cdb[0] = opcode;
    for &(at, byte) in bytes {
        cdb[at] = byte;
    }
    cdb
}

/// A 32-byte CDB for 0x0102030405060708 and 0x0a0b0c0d blocks.
fn long(service_action: u8, first: u8) -> [u8; 32] {
    let mut cdb = cdb(0x7f, &[(6, 0x3f), (7, 24), (9, service_action), (10, first)]);
    cdb[12..20].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    cdb[20..28].fill(0xee); // expected tags
    cdb[28..32].copy_from_slice(&[0x0a, 0x0b, 0x0c, 0x0d]);
    cdb
}

const LONG_LBA: Lba = Lba(0x0102_0304_0506_0708);
const LONG_BLOCKS: Blocks = Blocks(0x0a0b_0c0d);

#[test]
fn the_32_byte_forms() {
    let (lba, blocks) = (LONG_LBA, LONG_BLOCKS);
    let table = [
        (long(0x09, 0x18), Command::Read { lba, blocks, dpo: true, fua: true }),
        (long(0x0b, 0x08), Command::Write { lba, blocks, dpo: false, fua: true }),
        (long(0x0a, 0x16), Command::Verify { lba, blocks, dpo: true, check: ByteCheck::OneBlock }),
        (long(0x0c, 0x02), Command::WriteAndVerify { lba, blocks, dpo: false, check: ByteCheck::Whole }),
        (long(0x0d, 0x09), Command::WriteSame { lba, blocks, unmap: true, ndob: true }),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(&cdb), Ok(expected), "{cdb:02X?}");
        assert_eq!(decode(&cdb[..31]), Err(Sense::INVALID_FIELD_IN_CDB), "cut short");
    }
    for (action, bits, bit) in [
        (0x09, 0x20, 7),
        (0x0b, 0x80, 7),
        (0x0a, 0x40, 7),
        (0x0a, 0x04, 2),
        (0x0c, 0x20, 7),
        (0x0c, 0x06, 2),
        (0x0d, 0x20, 7),
        (0x0d, 0x18, 4),
    ] {
        let cdb = long(action, bits);
        assert_eq!(decode(&cdb), Err(Sense::INVALID_FIELD_IN_CDB), "{action:02X} {bits:02X}");
        assert_eq!(invalid_field(&cdb), Some(FieldPointer::cdb_bit(10, bit)), "{action:02X} {bits:02X}");
    }
}

#[test]
fn byte_checks() {
    let (lba, blocks) = (Lba(5), Blocks(3));
    for (opcode, length, count_at) in [(0x2f, 10, 8), (0xaf, 12, 9), (0x8f, 16, 13)] {
        let lba_at = if length == 16 { 9 } else { 5 };
        let verify = |first| {
            let cdb: [u8; 16] = cdb(opcode, &[(1, first), (lba_at, 5), (count_at, 3)]);
            (decode(&cdb[..length]), invalid_field(&cdb[..length]))
        };
        for (first, dpo, check) in [
            (0x00, false, ByteCheck::Medium),
            (0x02, false, ByteCheck::Whole),
            (0x16, true, ByteCheck::OneBlock),
        ] {
            assert_eq!(verify(first).0, Ok(Command::Verify { lba, blocks, dpo, check }), "{opcode:02X}");
        }
        let refused = |bit| (Err(Sense::INVALID_FIELD_IN_CDB), Some(FieldPointer::cdb_bit(1, bit)));
        assert_eq!(verify(0x04), refused(2));
        assert_eq!(verify(0x22), refused(7));
    }
    for (opcode, length, count_at) in [(0x2e, 10, 8), (0xae, 12, 9), (0x8e, 16, 13)] {
        let lba_at = if length == 16 { 9 } else { 5 };
        let write = |first| {
            let cdb: [u8; 16] = cdb(opcode, &[(1, first), (lba_at, 5), (count_at, 3)]);
            (decode(&cdb[..length]), invalid_field(&cdb[..length]))
        };
        for (first, dpo, check) in [(0x10, true, ByteCheck::Medium), (0x02, false, ByteCheck::Whole)] {
            assert_eq!(write(first).0, Ok(Command::WriteAndVerify { lba, blocks, dpo, check }));
        }
        let refused = |bit| (Err(Sense::INVALID_FIELD_IN_CDB), Some(FieldPointer::cdb_bit(1, bit)));
        for (first, bit) in [(0x04, 2), (0x06, 2), (0x80, 7)] {
            assert_eq!(write(first), refused(bit), "{opcode:02X} {first:02X}");
        }
    }
}

#[test]
fn ranges_and_flags() {
    let (lba, blocks) = (Lba(0x0203), Blocks(0x0405));
    let ten =
        |opcode, first| -> [u8; 10] { cdb(opcode, &[(1, first), (4, 2), (5, 3), (6, 0x1f), (7, 4), (8, 5)]) };
    let sixteen = |opcode, first| -> [u8; 16] {
        cdb(opcode, &[(1, first), (8, 2), (9, 3), (12, 4), (13, 5), (14, 0x1f)])
    };
    let same = |unmap, ndob| Command::WriteSame { lba, blocks, unmap, ndob };
    let fetch = |immed| Command::PreFetch { lba, blocks, immed };
    let table: &[(&[u8], Command)] = &[
        // Bit 0 of WRITE SAME (10) is not NDOB.
        (&ten(0x41, 0x01), same(false, false)),
        (&ten(0x41, 0x08), same(true, false)),
        (&sixteen(0x93, 0x01), same(false, true)),
        (&sixteen(0x93, 0x08), same(true, false)),
        (&ten(0x34, 0x00), fetch(false)),
        (&ten(0x34, 0x02), fetch(true)),
        (&sixteen(0x90, 0x02), fetch(true)),
        (&sixteen(0x8b, 0x08), Command::OrWrite { lba, blocks, dpo: false, fua: true }),
        (&sixteen(0x8b, 0x10), Command::OrWrite { lba, blocks, dpo: true, fua: false }),
        // NUMBER OF LOGICAL BLOCKS is byte 13 only.
        (&sixteen(0x89, 0x18), Command::CompareAndWrite { lba, blocks: Blocks(5), dpo: true, fua: true }),
        (&sixteen(0x89, 0x00), Command::CompareAndWrite { lba, blocks: Blocks(5), dpo: false, fua: false }),
        (&cdb::<10>(0x42, &[(7, 0x12), (8, 0x34)]), Command::Unmap { length: 0x1234 }),
        (
            &cdb::<16>(0x9e, &[(1, 0x12), (2, 1), (9, 2), (10, 3), (13, 4)]),
            Command::GetLbaStatus { lba: Lba(0x0100_0000_0000_0002), allocation: 0x0300_0004 },
        ),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(cdb), Ok(*expected), "{cdb:02X?}");
    }
}

#[test]
fn lists_and_reports() {
    let table: &[(&[u8], Command)] = &[
        (&cdb::<6>(0x04, &[]), Command::FormatUnit { format_data: false, long_list: false }),
        (&cdb::<6>(0x04, &[(1, 0x20)]), Command::FormatUnit { format_data: false, long_list: false }),
        (&cdb::<6>(0x04, &[(1, 0x18)]), Command::FormatUnit { format_data: true, long_list: false }),
        (
            &cdb::<6>(0x04, &[(1, 0x30), (2, 0xff)]),
            Command::FormatUnit { format_data: true, long_list: true },
        ),
        (&cdb::<6>(0x15, &[(1, 0x10), (4, 24)]), Command::ModeSelect { ten: false, length: 24 }),
        (&cdb::<6>(0x15, &[]), Command::ModeSelect { ten: false, length: 0 }),
        (&cdb::<10>(0x55, &[(1, 0x10), (7, 1), (8, 2)]), Command::ModeSelect { ten: true, length: 258 }),
        (
            &cdb::<10>(0x4d, &[(2, 0x4c), (3, 0xff), (5, 1), (6, 2), (7, 3), (8, 4)]),
            Command::LogSense {
                page: 0x0c,
                subpage: 0xff,
                control: 1,
                parameter_pointer: 0x0102,
                allocation: 0x0304,
            },
        ),
        (
            &cdb::<12>(0xa3, &[(1, 0x0c), (2, 0x83), (3, 0x9e), (4, 1), (5, 0x12), (6, 2), (9, 3)]),
            Command::ReportSupportedOperationCodes {
                options: 3,
                timeouts: true,
                opcode: 0x9e,
                service_action: 0x0112,
                allocation: 0x0200_0003,
            },
        ),
        (
            &cdb::<12>(0xa3, &[(1, 0x0d), (2, 0x80), (9, 16)]),
            Command::ReportSupportedTaskManagementFunctions { extended: true, allocation: 16 },
        ),
        (
            &cdb::<12>(0xa3, &[(1, 0x2a), (8, 1)]),
            Command::ReportTargetPortGroups { extended: true, allocation: 256 },
        ),
        (
            &cdb::<12>(0xa3, &[(1, 0x0a), (9, 4)]),
            Command::ReportTargetPortGroups { extended: false, allocation: 4 },
        ),
        (&cdb::<12>(0xa4, &[(1, 0x0a), (9, 8)]), Command::SetTargetPortGroups { length: 8 }),
        (&cdb::<16>(0x83, &[(10, 1), (13, 2)]), Command::ExtendedCopy { length: 0x0100_0002 }),
        (
            &cdb::<16>(0x84, &[(2, 7), (13, 12)]),
            Command::ReceiveCopyResults { action: CopyResults::CopyStatus { list_id: 7 }, allocation: 12 },
        ),
        (
            &cdb::<16>(0x84, &[(1, 3), (2, 7), (12, 1)]),
            Command::ReceiveCopyResults { action: CopyResults::OperatingParameters, allocation: 256 },
        ),
        (
            &cdb::<16>(0x84, &[(1, 4), (2, 9), (13, 60)]),
            Command::ReceiveCopyResults {
                action: CopyResults::FailedSegmentDetails { list_id: 9 },
                allocation: 60,
            },
        ),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(cdb), Ok(*expected), "{cdb:02X?}");
    }
}

#[test]
fn what_no_unit_supports_is_refused_and_pointed_at() {
    let bit = FieldPointer::cdb_bit;
    let table: &[(&[u8], FieldPointer)] = &[
        // FORMAT UNIT: FMTPINFO; CMPLST without a list; DEFECT LIST FORMAT; FFMT
        (&cdb::<6>(0x04, &[(1, 0x50)]), bit(1, 7)),
        (&cdb::<6>(0x04, &[(1, 0x08)]), bit(1, 3)),
        (&cdb::<6>(0x04, &[(1, 0x13)]), bit(1, 2)),
        (&cdb::<6>(0x04, &[(4, 0x01)]), bit(4, 1)),
        // MODE SELECT: SP, RTD, a list without PF
        (&cdb::<6>(0x15, &[(1, 0x11)]), bit(1, 0)),
        (&cdb::<10>(0x55, &[(1, 0x12)]), bit(1, 1)),
        (&cdb::<6>(0x15, &[(4, 12)]), bit(1, 4)),
        // LOG SENSE: SP, PPC
        (&cdb::<10>(0x4d, &[(1, 0x01)]), bit(1, 0)),
        (&cdb::<10>(0x4d, &[(1, 0x02)]), bit(1, 1)),
        // REPORTING OPTIONS; PARAMETER DATA FORMAT; REPORT TYPE
        (&cdb::<12>(0xa3, &[(1, 0x0c), (2, 0x04)]), bit(2, 2)),
        (&cdb::<12>(0xa3, &[(1, 0x4a)]), bit(1, 7)),
        (&cdb::<16>(0x9e, &[(1, 0x12), (14, 1)]), FieldPointer::cdb(14)),
        // UNMAP and WRITE SAME: ANCHOR; WRPROTECT, PBDATA, LBDATA
        (&cdb::<10>(0x42, &[(1, 0x01)]), bit(1, 0)),
        (&cdb::<10>(0x41, &[(1, 0x18)]), bit(1, 4)),
        (&cdb::<16>(0x93, &[(1, 0x10)]), bit(1, 4)),
        (&cdb::<10>(0x41, &[(1, 0x20)]), bit(1, 7)),
        (&cdb::<10>(0x41, &[(1, 0x04)]), bit(1, 2)),
        (&cdb::<16>(0x93, &[(1, 0x02)]), bit(1, 1)),
        // COMPARE AND WRITE, ORWRITE: protection
        (&cdb::<16>(0x89, &[(1, 0x20)]), bit(1, 7)),
        (&cdb::<16>(0x8b, &[(1, 0xe0)]), bit(1, 7)),
    ];
    for (cdb, field) in table {
        assert_eq!(decode(cdb), Err(Sense::INVALID_FIELD_IN_CDB), "{cdb:02X?}");
        assert_eq!(invalid_field(cdb), Some(*field), "{cdb:02X?}");
    }
}

#[test]
fn directions() {
    let size = BlockSize::B512;
    let three = |opcode, first| cdb::<16>(opcode, &[(1, first), (13, 3)]);
    let table: &[(&[u8], Data)] = &[
        (&three(0x8f, 0), Data::None),
        (&three(0x8f, 0x02), Data::Out(Bytes(1536))),
        (&three(0x8f, 0x06), Data::Out(Bytes(512))),
        (&cdb::<16>(0x8f, &[(1, 0x06)]), Data::None),
        (&three(0x8e, 0), Data::Out(Bytes(1536))),
        (&cdb::<16>(0x8e, &[]), Data::None),
        (&three(0x93, 0), Data::Out(Bytes(512))),
        (&three(0x93, 0x01), Data::None),
        (&three(0x89, 0), Data::Out(Bytes(3072))),
        (&cdb::<16>(0x89, &[]), Data::None),
        (&three(0x8b, 0), Data::Out(Bytes(1536))),
        (&three(0x90, 0), Data::None),
        (&cdb::<10>(0x42, &[(8, 24)]), Data::Out(Bytes(24))),
        (&cdb::<10>(0x42, &[]), Data::None),
        (&cdb::<6>(0x04, &[]), Data::None),
        (&cdb::<6>(0x04, &[(1, 0x10)]), Data::Out(Bytes(4))),
        (&cdb::<6>(0x04, &[(1, 0x30)]), Data::Out(Bytes(8))),
        (&cdb::<10>(0x4d, &[(8, 4)]), Data::In(Bytes(4))),
        (&cdb::<12>(0xa4, &[(1, 0x0a), (9, 8)]), Data::Out(Bytes(8))),
        (&cdb::<16>(0x83, &[(13, 16)]), Data::Out(Bytes(16))),
        (&cdb::<16>(0x84, &[(1, 3), (13, 16)]), Data::In(Bytes(16))),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(cdb).unwrap().direction(size), *expected, "{cdb:02X?}");
    }
    let most = Command::CompareAndWrite { lba: Lba(0), blocks: Blocks(u64::MAX), dpo: false, fua: false };
    assert_eq!(most.direction(size), Data::Out(Bytes(u64::MAX)));
}
