use super::*;
use crate::command::{Data, ModeSense, PageControl};
use crate::logical_unit::{Geometry, Identity};
use crate::units::{BlockSize, Blocks, Bytes, Lba};

fn read(lba: u64, blocks: u64, dpo: bool, fua: bool) -> Command {
    Command::Read { lba: Lba(lba), blocks: Blocks(blocks), dpo, fua }
}

fn write(lba: u64, blocks: u64, dpo: bool, fua: bool) -> Command {
    Command::Write { lba: Lba(lba), blocks: Blocks(blocks), dpo, fua }
}

fn sync(lba: u64, blocks: u64, immed: bool) -> Command {
    Command::SynchronizeCache { lba: Lba(lba), blocks: Blocks(blocks), immed }
}

fn inquiry(vpd: Option<u8>, allocation: u16) -> Command {
    Command::Inquiry { vpd, allocation }
}

#[test]
fn commands_decode_to_their_fields() {
    let table: &[(&[u8], Command)] = &[
        (&[0x00, 0, 0, 0, 0, 0], Command::TestUnitReady),
        (&[0x03, 0, 0, 0, 252, 0], Command::RequestSense { descriptor: false, allocation: 252 }),
        (&[0x03, 1, 0, 0, 18, 0], Command::RequestSense { descriptor: true, allocation: 18 }),
        (&[0x12, 0, 0, 0, 36, 0], inquiry(None, 36)),
        (&[0x12, 0, 0, 2, 0, 0], inquiry(None, 512)),
        (&[0x12, 1, 0x83, 1, 4, 0], inquiry(Some(0x83), 260)),
        (&[0x12, 1, 0x00, 0, 0, 0], inquiry(Some(0), 0)),
        // The 6-byte forms: 21-bit address, the LUN bits of SCSI-2 are not part of it, 0 means 256.
        (&[0x08, 0x1f, 0xff, 0xff, 1, 0], read(0x1f_ffff, 1, false, false)),
        (&[0x08, 0xe0, 0, 5, 255, 0], read(5, 255, false, false)),
        (&[0x08, 0, 0, 0, 0, 0], read(0, 256, false, false)),
        (&[0x0a, 0x01, 2, 3, 0, 0], write(0x01_0203, 256, false, false)),
        (&[0x28, 0, 0x89, 0xab, 0xcd, 0xef, 0, 0x12, 0x34, 0], read(0x89ab_cdef, 0x1234, false, false)),
        (&[0x28, 0x10, 0, 0, 0, 0, 0x1f, 0, 0, 0], read(0, 0, true, false)),
        (&[0x2a, 0x08, 0, 0, 0, 7, 0, 0xff, 0xff, 0], write(7, 65535, false, true)),
        (&[0xa8, 0x18, 0, 0, 0, 1, 0x80, 0, 0, 2, 0, 0], read(1, 0x8000_0002, true, true)),
        (&[0xaa, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0], write(0xffff_ffff, 0, false, false)),
        (
            &[0x88, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff, 0, 0],
            read(0x0102_0304_0506_0708, 0xffff_ffff, false, true),
        ),
        (&[0x8a, 0x10, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0x3f, 0], write(9, 3, true, false)),
        (&[0x35, 0, 0, 0, 1, 0, 0, 0, 8, 0], sync(256, 8, false)),
        (&[0x35, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], sync(0, 0, true)),
        (&[0x91, 0x02, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], sync(1 << 32, 256, true)),
        (&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Command::ReadCapacity10),
        (
            &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
            Command::ReadCapacity16 { allocation: 32 },
        ),
        (
            &[0x1a, 0x08, 0x08, 0, 192, 0],
            Command::ModeSense(ModeSense {
                ten: false,
                llbaa: false,
                dbd: true,
                control: PageControl::Current,
                page: 0x08,
                subpage: 0,
                allocation: 192,
            }),
        ),
        (
            &[0x5a, 0x10, 0x7f, 0xff, 0, 0, 0, 0x10, 0x01, 0],
            Command::ModeSense(ModeSense {
                ten: true,
                llbaa: true,
                dbd: false,
                control: PageControl::Changeable,
                page: 0x3f,
                subpage: 0xff,
                allocation: 0x1001,
            }),
        ),
        (
            &[0x1b, 0x01, 0, 0, 0x36, 0],
            Command::StartStopUnit {
                immed: true,
                power_condition: 3,
                no_flush: true,
                loej: true,
                start: false,
            },
        ),
        (
            &[0x1b, 0, 0, 0, 0x01, 0],
            Command::StartStopUnit {
                immed: false,
                power_condition: 0,
                no_flush: false,
                loej: false,
                start: true,
            },
        ),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(cdb), Ok(*expected), "{cdb:02X?}");
        assert_eq!(invalid_field(cdb), None, "{cdb:02X?}");
    }
}

#[test]
fn unsupported_field_values_are_refused_and_pointed_at() {
    let table: &[(&[u8], FieldPointer)] = &[
        // RDPROTECT, WRPROTECT
        (&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0], FieldPointer::cdb_bit(1, 7)),
        (&[0x2a, 0xe0, 0, 0, 0, 0, 0, 0, 1, 0], FieldPointer::cdb_bit(1, 7)),
        (&[0xa8, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], FieldPointer::cdb_bit(1, 7)),
        (&[0xaa, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], FieldPointer::cdb_bit(1, 7)),
        (&[0x88, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], FieldPointer::cdb_bit(1, 7)),
        (&[0x8a, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], FieldPointer::cdb_bit(1, 7)),
        // INQUIRY: CMDDT; a page code without EVPD
        (&[0x12, 0x02, 0, 0, 36, 0], FieldPointer::cdb_bit(1, 1)),
        (&[0x12, 0x03, 0, 0, 36, 0], FieldPointer::cdb_bit(1, 1)),
        (&[0x12, 0, 0x80, 0, 36, 0], FieldPointer::cdb(2)),
        // READ CAPACITY: RELADR, PMI
        (&[0x25, 1, 0, 0, 0, 0, 0, 0, 0, 0], FieldPointer::cdb_bit(1, 0)),
        (&[0x25, 0, 0, 0, 0, 0, 0, 0, 1, 0], FieldPointer::cdb_bit(8, 0)),
        (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 1, 0], FieldPointer::cdb_bit(14, 0)),
    ];
    for (cdb, field) in table {
        assert_eq!(decode(cdb), Err(Sense::INVALID_FIELD_IN_CDB), "{cdb:02X?}");
        assert_eq!(invalid_field(cdb), Some(*field), "{cdb:02X?}");
    }
}

#[test]
fn naca_is_refused_in_the_control_byte_of_every_command() {
    for (row, (name, mut cdb)) in opcode::SUPPORTED.iter().zip(opcode::dictionary()) {
        assert_eq!(row.name, name);
        assert!(decode(&cdb).is_ok(), "{}", row.name);
        let last = if row.opcode == VARIABLE { 1 } else { cdb.len() - 1 };
        cdb[last] = 0x04;
        assert_eq!(decode(&cdb), Err(Sense::INVALID_FIELD_IN_CDB), "{}", row.name);
        let at = u16::try_from(last).unwrap();
        assert_eq!(invalid_field(&cdb), Some(FieldPointer::cdb_bit(at, 2)), "{}", row.name);
        // The other bits of CONTROL are vendor specific, obsolete or reserved.
        cdb[last] = 0xfb;
        assert!(decode(&cdb).is_ok(), "{}", row.name);
    }
}

#[test]
fn unknown_opcodes_and_service_actions() {
    let mut variable = [0; 260];
    (variable[0], variable[7], variable[8], variable[9]) = (0x7f, 252, 0x88, 0x01);
    let get_stream_status = [0x9e, 0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let third_party_copy = [0x83, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let reserved = [0x60; 16];
    let vendor = [0xc0; 16];
    let refused =
        [&[][..], &[0x48; 10], &[0x7f], &variable, &get_stream_status, &third_party_copy, &reserved, &vendor];
    for cdb in refused {
        assert_eq!(decode(cdb), Err(Sense::INVALID_COMMAND_OPERATION_CODE), "{cdb:02X?}");
        assert_eq!(invalid_field(cdb), None);
    }
}

#[test]
fn a_variable_length_cdb_has_the_length_of_its_command() {
    let mut cdb = [0; 40];
    (cdb[0], cdb[9]) = (0x7f, 0x09);
    for length in (0..=0xff).filter(|&length| length != 24) {
        cdb[7] = length;
        assert_eq!(decode(&cdb), Err(Sense::INVALID_FIELD_IN_CDB), "{length}");
        assert_eq!(invalid_field(&cdb), Some(FieldPointer::cdb(7)), "{length}");
    }
    // As long as it says.
    cdb[7] = 2;
    assert_eq!(invalid_field(&cdb[..10]), Some(FieldPointer::cdb(7)));
    cdb[7] = 24;
    assert_eq!(decode(&cdb), Ok(read(0, 0, false, false)));
}

#[test]
fn a_cdb_cut_short_is_refused_without_pointing_anywhere() {
    let full = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for length in 1..full.len() {
        assert_eq!(decode(&full[..length]), Err(Sense::INVALID_FIELD_IN_CDB), "{length} bytes");
        assert_eq!(invalid_field(&full[..length]), None);
    }
}

#[test]
fn lengths_by_group() {
    let table: &[(&[u8], Option<usize>)] = &[
        (&[0x00], Some(6)),
        (&[0x1f], Some(6)),
        (&[0x20], Some(10)),
        (&[0x5f], Some(10)),
        (&[0x60], None),
        (&[0x7e], None),
        (&[0x80], Some(16)),
        (&[0x9f], Some(16)),
        (&[0xa0], Some(12)),
        (&[0xbf], Some(12)),
        (&[0xc0], None),
        (&[0xff], None),
        (&[], None),
        (&[0x7f, 0, 0, 0, 0, 0, 0], None),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0], Some(8)),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0x18], Some(32)),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0xfc], Some(260)),
    ];
    for &(bytes, length) in table {
        assert_eq!(cdb_length(bytes), length, "{bytes:02X?}");
    }
}

#[test]
fn directions() {
    let size = BlockSize::B4096;
    let table: &[(&[u8], Data)] = &[
        (&[0x00, 0, 0, 0, 0, 0], Data::None),
        (&[0x03, 0, 0, 0, 18, 0], Data::In(Bytes(18))),
        (&[0x12, 0, 0, 0, 36, 0], Data::In(Bytes(36))),
        (&[0x12, 0, 0, 0, 0, 0], Data::None),
        (&[0x1a, 0, 0x3f, 0, 4, 0], Data::In(Bytes(4))),
        (&[0x1b, 0, 0, 0, 1, 0], Data::None),
        (&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(Bytes(8))),
        (&[0x08, 0, 0, 0, 0, 0], Data::In(Bytes(256 * 4096))),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0], Data::In(Bytes(8192))),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None),
        (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0], Data::Out(Bytes(8192))),
        (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None),
        (&[0x35, 0, 0, 0, 0, 0, 0, 0, 2, 0], Data::None),
        (
            &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
            Data::Out(Bytes(0xffff_ffff * 4096)),
        ),
        (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], Data::In(Bytes(32))),
    ];
    for (cdb, expected) in table {
        assert_eq!(decode(cdb).unwrap().direction(size), *expected, "{cdb:02X?}");
    }
    let impossible = Command::Read { lba: Lba(0), blocks: Blocks(u64::MAX), dpo: false, fua: false };
    assert_eq!(impossible.direction(size), Data::In(Bytes(u64::MAX)));
}

#[test]
fn a_unit_refuses_what_it_does_not_support() {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    let mut unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    let verify = [0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    // With a field that is refused on every unit: the command is not there in the first place.
    let protected = [0x2f, 0x20, 0, 0, 0, 0, 0, 0, 1, 0];
    for cdb in [&verify, &protected, &[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0xc1; 10]] {
        assert_eq!(decode_for(&unit, cdb), Err(Sense::INVALID_COMMAND_OPERATION_CODE), "{cdb:02X?}");
    }
    assert_eq!(decode_for(&unit, &[0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0]), Ok(read(7, 1, false, false)));
    assert_eq!(decode_for(&unit, &[0x28, 0x20, 0, 0, 0, 7, 0, 0, 1, 0]), Err(Sense::INVALID_FIELD_IN_CDB));
    unit.characteristics.composites = true;
    assert_eq!(decode_for(&unit, &verify), decode(&verify));
    assert_eq!(decode_for(&unit, &protected), Err(Sense::INVALID_FIELD_IN_CDB));
}
