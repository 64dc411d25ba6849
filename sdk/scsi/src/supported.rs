//! Parameter data of REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-5 6.36,
//! 6.37). The first follows the table that drives decoding, so that it is true by construction.

mod elsewhere;

use crate::logical_unit::LogicalUnit;
use crate::opcode::{self, MAX_FIXED_CDB, SUPPORTED};
use crate::sense::Sense;

/// A supported command, whoever answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    opcode: u8,
    service_action: Option<u16>,
    length: u8,
    /// CDB USAGE DATA; the first `length` bytes count.
    usage: [u8; MAX_FIXED_CDB],
}

/// Whether a command is supported.
enum Support {
    /// 001b.
    Not,
    /// 011b.
    AsInTheStandard(Entry),
}

/// REPORTING OPTIONS 000b: everything.
const ALL: u8 = 0;
/// 001b: one command without service action.
const OPERATION_CODE: u8 = 1;
/// 010b: one command with service action.
const SERVICE_ACTION: u8 = 2;

/// Appends the parameter data of REPORT SUPPORTED OPERATION CODES. `options` is REPORTING OPTIONS, 0 to 3; with 0,
/// `operation_code` and `action` count for nothing, with 1 `action` does. With `timeouts` (RCTD) each supported
/// command has a timeouts descriptor, which indicates no times: how long a command takes is its store's business. The
/// caller cuts to the allocation length.
///
/// # Errors
/// The sense data to answer with, 5/24/00, if `options` does not exist or asks with service action for a command that
/// has none or the other way round; `out` is left as it was.
pub fn operation_codes(
    options: u8,
    timeouts: bool,
    operation_code: u8,
    action: u16,
    unit: &LogicalUnit,
    out: &mut Vec<u8>,
) -> Result<(), Sense> {
    if options == ALL {
        all_commands(timeouts, unit, out);
        return Ok(());
    }
    let has_actions = known(operation_code).map(|row| row.service_action.is_some()).next();
    let wanted = match (options, has_actions) {
        (OPERATION_CODE, Some(true)) | (SERVICE_ACTION, Some(false)) | (4.., _) => {
            return Err(Sense::INVALID_FIELD_IN_CDB);
        }
        (_, Some(true)) => Some(action),
        // 011b takes service action 0 for none.
        (OPERATION_CODE, _) | (_, Some(false)) if options == OPERATION_CODE || action == 0 => None,
        _ => {
            one_command(timeouts, &Support::Not, out);
            return Ok(());
        }
    };
    let found = entries(unit).find(|row| (row.opcode, row.service_action) == (operation_code, wanted));
    one_command(timeouts, &found.map_or(Support::Not, Support::AsInTheStandard), out);
    Ok(())
}

/// Every command that the unit supports.
fn entries(unit: &LogicalUnit) -> impl Iterator<Item = Entry> {
    let own = SUPPORTED.iter().filter(|row| opcode::is_supported(row, unit)).map(own_entry);
    own.chain(elsewhere::entries(unit))
}

/// The commands with this operation code that any unit supports.
fn known(operation_code: u8) -> impl Iterator<Item = Entry> {
    let all = SUPPORTED.iter().map(own_entry).chain(elsewhere::all());
    all.filter(move |row| row.opcode == operation_code)
}

fn own_entry(row: &opcode::Operation) -> Entry {
    Entry {
        opcode: row.opcode,
        service_action: row.service_action,
        length: u8::try_from(row.cdb_length()).expect("the longest CDB has MAX_FIXED_CDB bytes"),
        usage: row.cdb_usage_data(),
    }
}

/// Bytes of a command timeouts descriptor.
const TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn all_commands(timeouts: bool, unit: &LogicalUnit, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for row in entries(unit) {
        let [high, low] = row.service_action.unwrap_or(0).to_be_bytes();
        let ctdp = if timeouts { 0x02 } else { 0 };
        let servactv = u8::from(row.service_action.is_some());
        out.extend_from_slice(&[row.opcode, 0, high, low, 0, ctdp | servactv, 0, row.length]);
        if timeouts {
            out.extend_from_slice(&TIMEOUTS);
        }
    }
    // COMMAND DATA LENGTH.
    let length = u32::try_from(out.len() - start - 4).expect("there are fewer than 300 commands");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn one_command(timeouts: bool, support: &Support, out: &mut Vec<u8>) {
    match support {
        Support::Not => out.extend_from_slice(&[0, 0b001, 0, 0]),
        Support::AsInTheStandard(row) => {
            let ctdp = if timeouts { 0x80 } else { 0 };
            out.extend_from_slice(&[0, ctdp | 0b011, 0, row.length]);
            out.extend_from_slice(&row.usage[..usize::from(row.length)]);
            if timeouts {
                out.extend_from_slice(&TIMEOUTS);
            }
        }
    }
}

/// Builds the parameter data of REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: ABORT TASK and LOGICAL UNIT RESET, which
/// is what the kernel's target core carries out for each fabric. With `extended` (REPD) it tells that no times are
/// indicated. The caller cuts to the allocation length.
#[must_use]
pub fn task_management_functions(extended: bool) -> Vec<u8> {
    const ATS: u8 = 0x80;
    const LURS: u8 = 0x08;
    let mut data = vec![ATS | LURS, 0, 0, 0];
    if extended {
        data[3] = 12; // what follows
        data.resize(16, 0);
    }
    data
}

#[cfg(test)]
mod tests;
