//! The table of supported commands. Decoding is driven by it, and so is what the target says about itself
//! (REPORT SUPPORTED OPERATION CODES): the two can not differ.

mod names;

use std::fmt;

use crate::cdb::parse::{self, Cdb};
use crate::command::Command;
use crate::sense::FieldPointer;

/// Longest CDB of a supported command in bytes.
pub(crate) const MAX_FIXED_CDB: usize = 16;

/// One supported command.
pub struct Operation {
    /// OPERATION CODE, byte 0 of the CDB.
    pub opcode: u8,
    /// SERVICE ACTION, for opcodes that have one.
    pub service_action: Option<u16>,
    /// The standard's name.
    pub name: &'static str,
    /// CDB usage map (SPC-5, REPORT SUPPORTED OPERATION CODES): which bits of the CDB this target looks at. Byte 0 is the opcode itself, the
    /// service action's bits are set. Of the CONTROL byte, NACA is looked at (and refused). What lies behind the
    /// CDB is 0.
    pub usage: [u8; 16],
    pub(crate) length: u8,
    pub(crate) parse: fn(&Cdb) -> Result<Command, FieldPointer>,
}

impl Operation {
    /// Length of the CDB in bytes, 6 to 16.
    #[must_use]
    pub fn cdb_length(&self) -> usize {
        usize::from(self.length)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("opcode", &self.opcode)
            .field("service_action", &self.service_action)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A row of the table. `usage` is that of the bytes between the opcode and CONTROL.
const fn row<const N: usize>(
    opcode: u8,
    name: &'static str,
    usage: [u8; N],
    parse: fn(&Cdb) -> Result<Command, FieldPointer>,
) -> Operation {
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
    Operation { opcode, service_action: None, name, usage: map, length, parse }
}

/// A row whose command is told apart by SERVICE ACTION in byte 1.
const fn action(service_action: u16, row: Operation) -> Operation {
    Operation { service_action: Some(service_action), ..row }
}

/// Protection field, DPO and FUA; then address and length.
const TRANSFER_10: [u8; 8] = [0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff];
const TRANSFER_12: [u8; 10] = [0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
const TRANSFER_16: [u8; 14] =
    [0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// Every supported command, in ascending order of opcode and service action.
pub static SUPPORTED: &[Operation] = TABLE;

const TABLE: &[Operation] = &[
    row(0x00, "TEST UNIT READY", [0, 0, 0, 0], parse::test_unit_ready),
    row(0x03, "REQUEST SENSE", [0x01, 0, 0, 0xff], parse::request_sense),
    row(0x08, "READ(6)", [0x1f, 0xff, 0xff, 0xff], parse::read_6),
    row(0x0a, "WRITE(6)", [0x1f, 0xff, 0xff, 0xff], parse::write_6),
    row(0x12, "INQUIRY", [0x03, 0xff, 0xff, 0xff], parse::inquiry),
    row(0x1a, "MODE SENSE(6)", [0x08, 0xff, 0xff, 0xff], parse::mode_sense_6),
    row(0x1b, "START STOP UNIT", [0x01, 0, 0, 0xf7], parse::start_stop_unit),
    row(0x25, "READ CAPACITY(10)", [0x01, 0, 0, 0, 0, 0, 0, 0x01], parse::read_capacity_10),
    row(0x28, "READ(10)", TRANSFER_10, parse::read_10),
    row(0x2a, "WRITE(10)", TRANSFER_10, parse::write_10),
    row(
        0x35,
        "SYNCHRONIZE CACHE(10)",
        [0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff],
        parse::synchronize_cache_10,
    ),
    row(0x5a, "MODE SENSE(10)", [0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff], parse::mode_sense_10),
    row(0x88, "READ(16)", TRANSFER_16, parse::read_16),
    row(0x8a, "WRITE(16)", TRANSFER_16, parse::write_16),
    row(
        0x91,
        "SYNCHRONIZE CACHE(16)",
        [0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        parse::synchronize_cache_16,
    ),
    action(
        0x10,
        row(
            0x9e,
            "READ CAPACITY(16)",
            [0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x01],
            parse::read_capacity_16,
        ),
    ),
    row(0xa8, "READ(12)", TRANSFER_12, parse::read_12),
    row(0xaa, "WRITE(12)", TRANSFER_12, parse::write_12),
];

/// In [`FIRST_ROW`]: no row has this opcode. Also a position that the table must never reach.
const NONE: u8 = 0xff;

/// For each opcode the position of its first row, so that the way of a READ does not search.
static FIRST_ROW: [u8; 256] = {
    let mut first = [NONE; 256];
    let mut position: u8 = 0;
    while (position as usize) < TABLE.len() {
        let opcode = TABLE[position as usize].opcode as usize;
        if first[opcode] == NONE {
            first[opcode] = position;
        }
        position += 1; // overflows at compile time, should the table ever reach NONE
    }
    first
};

/// The row for a CDB: opcode and, where the opcode has them, service action agree.
pub(crate) fn find(cdb: &[u8]) -> Option<&'static Operation> {
    let opcode = *cdb.first()?;
    // NONE lies behind the table.
    let rows = SUPPORTED.get(usize::from(FIRST_ROW[usize::from(opcode)])..)?;
    rows.iter()
        .take_while(|row| row.opcode == opcode)
        .find(|row| row.service_action.is_none() || row.service_action == service_action(cdb))
}

/// The SERVICE ACTION field: bytes 8 and 9 of a variable length CDB, else the low five bits of byte 1 (SPC-5
/// 4.2). Meaningless for opcodes without service actions; `None` if the CDB is too short.
fn service_action(cdb: &[u8]) -> Option<u16> {
    if cdb.first() == Some(&0x7f) {
        let field = cdb.get(8..10)?;
        Some(u16::from_be_bytes([field[0], field[1]]))
    } else {
        cdb.get(1).map(|byte| u16::from(byte & 0x1f))
    }
}

/// The standard's name of the command, supported or not, for logs; a description if it has none.
#[must_use]
pub fn opcode_name(cdb: &[u8]) -> &'static str {
    match find(cdb) {
        Some(row) => row.name,
        None => names::unsupported(cdb),
    }
}

#[cfg(test)]
mod tests;
