//! From the bytes of a CDB to a [`Command`].

pub(crate) mod fields;
pub(crate) mod medium;
pub(crate) mod primary;
pub(crate) mod transfer;

use crate::command::Command;
use crate::logical_unit::LogicalUnit;
use crate::opcode::{self, MAX_FIXED_CDB, VARIABLE};
use crate::sense::{FieldPointer, Sense};

/// NACA in the CONTROL byte (SAM-5 5.2).
const NACA: u8 = 0x04;

/// Length in bytes of the CDB that starts `bytes`, by its group code (SPC-5 4.2.5.1) or, for opcode 7Fh, by its
/// ADDITIONAL CDB LENGTH.
///
/// `None` for reserved and vendor specific groups, for an empty slice, and for 7Fh in fewer than 8 bytes: nobody
/// can know a length, the command ends with 5/20/00. The result may exceed `bytes.len()`.
#[must_use]
pub fn cdb_length(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        0x00..=0x1f => Some(6),
        0x20..=0x5f => Some(10),
        0x7f => Some(8 + usize::from(*bytes.get(7)?)),
        0x80..=0x9f => Some(16),
        0xa0..=0xbf => Some(12),
        0x60..=0x7e | 0xc0..=0xff => None,
    }
}

/// Why a CDB is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// No entry in the table of opcodes.
    Opcode,
    /// A field has a value that this target does not support.
    Field(FieldPointer),
    /// Fewer bytes than the opcode calls for.
    Truncated,
}

/// Decodes a CDB. Bytes behind its end are ignored, so padding does no harm.
///
/// # Errors
/// The sense data to answer with: 5/20/00 for opcodes and service actions that are not in
/// [`opcode::SUPPORTED`], 5/24/00 for unsupported field values (protection information, NACA, …) and for CDBs
/// that are cut short. [`invalid_field`] tells which field.
pub fn decode(cdb: &[u8]) -> Result<Command, Sense> {
    check(cdb).map_err(|refusal| match refusal {
        Refusal::Opcode => Sense::INVALID_COMMAND_OPERATION_CODE,
        Refusal::Field(_) | Refusal::Truncated => Sense::INVALID_FIELD_IN_CDB,
    })
}

/// As [`decode`] for one unit: what it does not support is refused too, so that a command that comes out is one that
/// [`parameter_data`](crate::parameter_data) answers or that the unit's characteristics promise to do.
///
/// # Errors
/// As [`decode`], and 5/20/00 for commands that [`opcode::is_supported`] denies.
pub fn decode_for(unit: &LogicalUnit, cdb: &[u8]) -> Result<Command, Sense> {
    match opcode::find(cdb) {
        Some(operation) if opcode::is_supported(operation, unit) => decode(cdb),
        _ => Err(Sense::INVALID_COMMAND_OPERATION_CODE),
    }
}

/// Which field made [`decode`] refuse this CDB, for the SENSE KEY SPECIFIC bytes; `None` if no single field did.
///
/// Decodes again: refusals are rare, and the way of good commands stays free of it.
#[must_use]
pub fn invalid_field(cdb: &[u8]) -> Option<FieldPointer> {
    match check(cdb) {
        Err(Refusal::Field(field)) => Some(field),
        _ => None,
    }
}

// Inlined into `decode`, a command is not copied from one result into another: a READ is decoded in half the time.
#[inline]
fn check(cdb: &[u8]) -> Result<Command, Refusal> {
    let operation = opcode::find(cdb).ok_or(Refusal::Opcode)?;
    let length = operation.cdb_length();
    // ADDITIONAL CDB LENGTH says how many bytes there are: a wrong one is to blame, not the bytes that it leaves out.
    if operation.opcode == VARIABLE && cdb_length(cdb) != Some(length) {
        return Err(Refusal::Field(FieldPointer::cdb(7)));
    }
    let cdb = cdb.get(..length).ok_or(Refusal::Truncated)?;
    // An array of known length: the parsers index it with constants, which the compiler checks.
    let mut fixed = [0; MAX_FIXED_CDB];
    fixed[..length].copy_from_slice(cdb);
    let control = operation.control();
    if fixed[usize::from(control)] & NACA != 0 {
        // INQUIRY says NORMACA=0, so ACA can not be had.
        return Err(Refusal::Field(FieldPointer::cdb_bit(u16::from(control), 2)));
    }
    (operation.parse)(&fixed).map_err(Refusal::Field)
}

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
