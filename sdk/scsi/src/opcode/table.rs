//! The rows of the table.

use super::{Class, MAX_FIXED_CDB, Need, Operation, VARIABLE};
use crate::cdb::fields::Parsed;
use crate::cdb::{fields::Cdb, medium, primary, transfer};

type Parse = fn(&Cdb) -> Parsed;

/// A row of the table for a command with the CDB length of its group. `usage` is that of the bytes between the opcode
/// and CONTROL.
const fn row<const N: usize>(opcode: u8, name: &'static str, usage: [u8; N], parse: Parse) -> Operation {
    let mut map = [0; MAX_FIXED_CDB];
    map[0] = opcode;
    let mut at = 0;
    let mut length = 2;
    while at < N {
        map[at + 1] = usage[at];
        at += 1;
        length += 1;
    }
    map[at + 1] = 0x04; // CONTROL: NACA
    Operation {
        opcode,
        service_action: None,
        name,
        class: Class::Other,
        need: Need::Nothing,
        usage: map,
        length,
        parse,
    }
}

/// A row whose command is told apart by SERVICE ACTION in byte 1.
const fn action(service_action: u16, mut row: Operation) -> Operation {
    row.service_action = Some(service_action);
    row.usage[1] |= 0x1f;
    row
}

/// A row for a 32-byte CDB of opcode 7Fh. `hints` is the usage of byte 10. The expected tags of protection information
/// are not looked at.
const fn variable(service_action: u16, name: &'static str, hints: u8, parse: Parse) -> Operation {
    let mut usage = [0; MAX_FIXED_CDB];
    usage[0] = VARIABLE;
    usage[1] = 0x04; // CONTROL: NACA
    usage[7] = 0xff; // ADDITIONAL CDB LENGTH
    usage[8] = 0xff; // SERVICE ACTION
    usage[9] = 0xff;
    usage[10] = hints;
    let mut at = 12;
    while at < 20 {
        usage[at] = 0xff; // LOGICAL BLOCK ADDRESS
        at += 1;
    }
    at = 28;
    while at < MAX_FIXED_CDB {
        usage[at] = 0xff; // TRANSFER LENGTH
        at += 1;
    }
    Operation {
        opcode: VARIABLE,
        service_action: Some(service_action),
        name,
        class: Class::Other,
        need: Need::Nothing,
        usage,
        length: 32,
        parse,
    }
}

const fn read(row: Operation) -> Operation {
    Operation { class: Class::Read, ..row }
}

const fn write(row: Operation) -> Operation {
    Operation { class: Class::Write, ..row }
}

const fn flush(row: Operation) -> Operation {
    Operation { class: Class::Flush, ..row }
}

const fn needs(need: Need, row: Operation) -> Operation {
    Operation { need, ..row }
}

const fn copies(service_action: u16, row: Operation) -> Operation {
    needs(Need::ThirdPartyCopy, action(service_action, row))
}

/// Address and length with the bits of byte 1 in front. GROUP NUMBER is not looked at.
const fn range_10(first: u8) -> [u8; 8] {
    [first, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff]
}

const fn range_12(first: u8) -> [u8; 10] {
    [first, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]
}

const fn range_16(first: u8) -> [u8; 14] {
    [first, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]
}

/// A list or answer whose length stands in bytes 6 to 9 of a 12-byte CDB.
const fn maintenance(first: u8) -> [u8; 10] {
    [first, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0]
}

/// A list or answer whose length stands in bytes 10 to 13 of a 16-byte CDB, with LIST IDENTIFIER in byte 2.
const fn copy(list_id: u8) -> [u8; 14] {
    [0, list_id, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0]
}

/// Protection field, DPO and FUA.
const HINTS: u8 = 0xf8;
/// Protection field, DPO and BYTCHK.
const CHECK: u8 = 0xf6;
/// Protection field, ANCHOR, UNMAP, and PBDATA and LBDATA of SBC-2.
const SAME: u8 = 0xfe;
/// The same and NDOB.
const SAME_NDOB: u8 = 0xff;
/// IMMED.
const IMMED: u8 = 0x02;

pub(super) const TABLE: &[Operation] = &[
    row(0x00, "TEST UNIT READY", [0, 0, 0, 0], primary::test_unit_ready),
    row(0x03, "REQUEST SENSE", [0x01, 0, 0, 0xff], primary::request_sense),
    needs(Need::Composites, row(0x04, "FORMAT UNIT", [0xff, 0, 0, 0x03], medium::format_unit)),
    read(row(0x08, "READ(6)", [0x1f, 0xff, 0xff, 0xff], transfer::read_6)),
    write(row(0x0a, "WRITE(6)", [0x1f, 0xff, 0xff, 0xff], transfer::write_6)),
    row(0x12, "INQUIRY", [0x03, 0xff, 0xff, 0xff], primary::inquiry),
    needs(Need::Composites, row(0x15, "MODE SELECT(6)", [0x13, 0, 0, 0xff], primary::mode_select_6)),
    row(0x1a, "MODE SENSE(6)", [0x08, 0xff, 0xff, 0xff], primary::mode_sense_6),
    row(0x1b, "START STOP UNIT", [0x01, 0, 0, 0xf7], medium::start_stop_unit),
    row(0x25, "READ CAPACITY(10)", [0x01, 0, 0, 0, 0, 0, 0, 0x01], medium::read_capacity_10),
    read(row(0x28, "READ(10)", range_10(HINTS), transfer::read_10)),
    write(row(0x2a, "WRITE(10)", range_10(HINTS), transfer::write_10)),
    needs(
        Need::Composites,
        write(row(0x2e, "WRITE AND VERIFY(10)", range_10(CHECK), transfer::write_and_verify_10)),
    ),
    needs(Need::Composites, row(0x2f, "VERIFY(10)", range_10(CHECK), transfer::verify_10)),
    needs(Need::Composites, row(0x34, "PRE-FETCH(10)", range_10(IMMED), medium::pre_fetch_10)),
    flush(row(0x35, "SYNCHRONIZE CACHE(10)", range_10(IMMED), medium::synchronize_cache_10)),
    needs(Need::Composites, write(row(0x41, "WRITE SAME(10)", range_10(SAME), medium::write_same_10))),
    needs(Need::Unmap, row(0x42, "UNMAP", [0x01, 0, 0, 0, 0, 0, 0xff, 0xff], medium::unmap)),
    row(0x4d, "LOG SENSE", [0x03, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff], primary::log_sense),
    needs(
        Need::Composites,
        row(0x55, "MODE SELECT(10)", [0x13, 0, 0, 0, 0, 0, 0xff, 0xff], primary::mode_select_10),
    ),
    row(0x5a, "MODE SENSE(10)", [0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff], primary::mode_sense_10),
    read(variable(0x0009, "READ(32)", HINTS, transfer::read_32)),
    needs(Need::Composites, variable(0x000a, "VERIFY(32)", CHECK, transfer::verify_32)),
    write(variable(0x000b, "WRITE(32)", HINTS, transfer::write_32)),
    needs(
        Need::Composites,
        write(variable(0x000c, "WRITE AND VERIFY(32)", CHECK, transfer::write_and_verify_32)),
    ),
    needs(Need::Composites, write(variable(0x000d, "WRITE SAME(32)", SAME_NDOB, medium::write_same_32))),
    copies(0x00, row(0x83, "EXTENDED COPY(LID1)", copy(0), primary::extended_copy)),
    copies(0x00, row(0x84, "RECEIVE COPY STATUS(LID1)", copy(0xff), primary::receive_copy_status)),
    copies(
        0x03,
        row(0x84, "RECEIVE COPY OPERATING PARAMETERS", copy(0), primary::receive_copy_operating_parameters),
    ),
    copies(
        0x04,
        row(0x84, "RECEIVE COPY FAILURE DETAILS(LID1)", copy(0xff), primary::receive_copy_failure_details),
    ),
    read(row(0x88, "READ(16)", range_16(HINTS), transfer::read_16)),
    needs(
        Need::CompareAndWrite,
        write(row(
            0x89,
            "COMPARE AND WRITE",
            [HINTS, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0],
            transfer::compare_and_write,
        )),
    ),
    write(row(0x8a, "WRITE(16)", range_16(HINTS), transfer::write_16)),
    needs(Need::Composites, write(row(0x8b, "ORWRITE(16)", range_16(HINTS), transfer::or_write_16))),
    needs(
        Need::Composites,
        write(row(0x8e, "WRITE AND VERIFY(16)", range_16(CHECK), transfer::write_and_verify_16)),
    ),
    needs(Need::Composites, row(0x8f, "VERIFY(16)", range_16(CHECK), transfer::verify_16)),
    needs(Need::Composites, row(0x90, "PRE-FETCH(16)", range_16(IMMED), medium::pre_fetch_16)),
    flush(row(0x91, "SYNCHRONIZE CACHE(16)", range_16(IMMED), medium::synchronize_cache_16)),
    needs(Need::Composites, write(row(0x93, "WRITE SAME(16)", range_16(SAME_NDOB), medium::write_same_16))),
    action(
        0x10,
        row(
            0x9e,
            "READ CAPACITY(16)",
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x01],
            medium::read_capacity_16,
        ),
    ),
    needs(
        Need::Composites,
        action(
            0x12,
            row(
                0x9e,
                "GET LBA STATUS(16)",
                [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                medium::get_lba_status_16,
            ),
        ),
    ),
    needs(
        Need::TargetPortGroups,
        action(
            0x0a,
            row(0xa3, "REPORT TARGET PORT GROUPS", maintenance(0xe0), primary::report_target_port_groups),
        ),
    ),
    action(
        0x0c,
        row(
            0xa3,
            "REPORT SUPPORTED OPERATION CODES",
            [0, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            primary::report_supported_operation_codes,
        ),
    ),
    action(
        0x0d,
        row(
            0xa3,
            "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
            [0, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0],
            primary::report_supported_task_management_functions,
        ),
    ),
    needs(
        Need::TargetPortGroups,
        action(0x0a, row(0xa4, "SET TARGET PORT GROUPS", maintenance(0), primary::set_target_port_groups)),
    ),
    read(row(0xa8, "READ(12)", range_12(HINTS), transfer::read_12)),
    write(row(0xaa, "WRITE(12)", range_12(HINTS), transfer::write_12)),
    needs(
        Need::Composites,
        write(row(0xae, "WRITE AND VERIFY(12)", range_12(CHECK), transfer::write_and_verify_12)),
    ),
    needs(Need::Composites, row(0xaf, "VERIFY(12)", range_12(CHECK), transfer::verify_12)),
];
