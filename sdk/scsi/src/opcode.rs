//! The table of supported commands. Decoding is driven by it, and so is what the target says about itself
//! (REPORT SUPPORTED OPERATION CODES), how commands are counted and what fuzzers start from: they can not differ.

mod names;
mod table;

use std::fmt;

use crate::cdb::fields::{Cdb, Parsed};
use crate::logical_unit::LogicalUnit;
use table::TABLE;

/// Longest CDB of a supported command in bytes.
pub const MAX_FIXED_CDB: usize = 32;

/// OPERATION CODE of variable length CDBs (SPC-5, variable type data structures).
pub(crate) const VARIABLE: u8 = 0x7f;

/// What kind of work a command is, for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// READ.
    Read,
    /// What puts the initiator's data on the medium: WRITE, WRITE AND VERIFY, WRITE SAME, COMPARE AND WRITE, ORWRITE.
    Write,
    /// SYNCHRONIZE CACHE.
    Flush,
    /// Everything else.
    #[default]
    Other,
}

/// What a unit must have for a command to be supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: every unit supports it.
    Nothing,
    /// Logical block provisioning management.
    Unmap,
    /// A MAXIMUM COMPARE AND WRITE LENGTH.
    CompareAndWrite,
    /// Target port groups.
    TargetPortGroups,
    /// A target that runs commands of several steps.
    Composites,
    /// A target that copies.
    ThirdPartyCopy,
}

/// One supported command.
pub struct Operation {
    /// OPERATION CODE, byte 0 of the CDB.
    pub opcode: u8,
    /// SERVICE ACTION, for opcodes that have one.
    pub service_action: Option<u16>,
    /// The standard's name.
    pub name: &'static str,
    /// What kind of work it is.
    pub class: Class,
    /// Byte 0 is the opcode itself. Else a bit is set if this target looks at it, those of the service action too. Of
    /// the CONTROL byte, NACA is looked at (and refused). What lies behind the CDB is 0.
    pub(crate) usage: Cdb,
    pub(crate) need: Need,
    pub(crate) length: u8,
    pub(crate) parse: fn(&Cdb) -> Parsed,
}

impl Operation {
    /// Length of the CDB in bytes, 6 to 32.
    #[must_use]
    pub fn cdb_length(&self) -> usize {
        usize::from(self.length)
    }

    /// CDB USAGE DATA (SPC-5, REPORT SUPPORTED OPERATION CODES, one command): operation code and service action stand
    /// where the CDB has them; of the other bits those are set that this target looks at. The first
    /// [`Operation::cdb_length`] bytes count, the others are 0.
    #[must_use]
    pub fn cdb_usage_data(&self) -> [u8; MAX_FIXED_CDB] {
        let mut data = self.usage;
        self.place_service_action(&mut data);
        data
    }

    /// Where the CONTROL byte stands: last, or in byte 1 of a variable length CDB.
    pub(crate) const fn control(&self) -> u8 {
        if self.opcode == VARIABLE { 1 } else { self.length - 1 }
    }

    /// Writes the service action over its field, for opcodes that have one.
    fn place_service_action(&self, cdb: &mut Cdb) {
        let Some(action) = self.service_action else { return };
        let [high, low] = action.to_be_bytes();
        if self.opcode == VARIABLE {
            (cdb[8], cdb[9]) = (high, low);
        } else {
            cdb[1] = (cdb[1] & 0xe0) | (low & 0x1f);
        }
    }

    /// The shortest that can be said with this command: all fields 0.
    fn blank(&self) -> Cdb {
        let mut cdb = [0; MAX_FIXED_CDB];
        cdb[0] = self.opcode;
        if self.opcode == VARIABLE {
            cdb[7] = self.length - 8;
        }
        self.place_service_action(&mut cdb);
        cdb
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

/// Every supported command, in ascending order of opcode and service action.
pub static SUPPORTED: &[Operation] = TABLE;

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

/// For each opcode its class, for those whose service actions are all of one class.
static CLASS: [Class; 256] = {
    let mut class = [Class::Other; 256];
    let mut position = 0;
    while position < TABLE.len() {
        class[TABLE[position].opcode as usize] = TABLE[position].class;
        position += 1;
    }
    class
};

/// The row for a CDB: opcode and, where the opcode has them, service action agree. `None` if no unit supports the
/// command: 5/20/00. A particular unit may not support it either: [`is_supported`].
#[must_use]
pub fn find(cdb: &[u8]) -> Option<&'static Operation> {
    let opcode = *cdb.first()?;
    // NONE lies behind the table.
    let rows = SUPPORTED.get(usize::from(FIRST_ROW[usize::from(opcode)])..)?;
    rows.iter()
        .take_while(|row| row.opcode == opcode)
        .find(|row| row.service_action.is_none() || row.service_action == service_action(cdb))
}

/// Whether the unit supports the command; else it ends with 5/20/00 and is not reported as supported.
#[must_use]
pub fn is_supported(operation: &Operation, unit: &LogicalUnit) -> bool {
    match operation.need {
        Need::Nothing => true,
        Need::Unmap => unit.characteristics.unmap.is_some(),
        Need::CompareAndWrite => unit.characteristics.max_compare_and_write != 0,
        Need::TargetPortGroups => !unit.groups.is_empty(),
        Need::Composites => unit.characteristics.composites,
        Need::ThirdPartyCopy => unit.characteristics.third_party_copy,
    }
}

/// What kind of work a CDB asks for, also where it is refused.
#[must_use]
pub fn class(cdb: &[u8]) -> Class {
    match cdb.first() {
        None => Class::Other,
        Some(&VARIABLE) => find(cdb).map_or(Class::Other, |row| row.class),
        Some(&opcode) => CLASS[usize::from(opcode)],
    }
}

/// For each supported command its name and a CDB with all fields 0, for fuzzers to start from.
#[must_use]
pub fn dictionary() -> Vec<(&'static str, Vec<u8>)> {
    SUPPORTED.iter().map(|row| (row.name, row.blank()[..row.cdb_length()].to_vec())).collect()
}

/// The SERVICE ACTION field: bytes 8 and 9 of a variable length CDB, else the low five bits of byte 1 (SPC-5
/// 4.2). Meaningless for opcodes without service actions; `None` if the CDB is too short.
fn service_action(cdb: &[u8]) -> Option<u16> {
    if cdb.first() == Some(&VARIABLE) {
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
