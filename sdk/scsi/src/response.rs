//! One entrance to all parameter data.

use crate::command::Command;
use crate::logical_unit::LogicalUnit;
use crate::sense::{Sense, SenseFormat};
use crate::{capacity, inquiry, mode, vpd};

/// Answers commands that only ask what the unit is: INQUIRY, MODE SENSE, READ CAPACITY and REQUEST SENSE.
///
/// `None` for all other commands; they need the medium or the unit's state. Otherwise `out` holds the answer, cut
/// to the allocation length: what was in it is dropped, its memory is reused. On refusal it is empty.
///
/// REQUEST SENSE reports [`LogicalUnit::pending_sense`], else NO SENSE: failed commands have sent their sense data
/// with the status, nothing of it is left to ask for.
///
/// # Errors
/// `Some(Err)` is the sense data to answer with.
pub fn parameter_data(command: &Command, unit: &LogicalUnit, out: &mut Vec<u8>) -> Option<Result<(), Sense>> {
    out.clear();
    let (built, allocation) = match *command {
        Command::Inquiry { vpd: None, allocation } => {
            out.extend_from_slice(&inquiry::standard(&unit.identity));
            (Ok(()), u32::from(allocation))
        }
        Command::Inquiry { vpd: Some(code), allocation } => {
            (vpd::page(code, unit, out), u32::from(allocation))
        }
        Command::ModeSense(request) => (mode::mode_sense(&request, unit, out), u32::from(request.allocation)),
        Command::ReadCapacity10 => {
            out.extend_from_slice(&capacity::read_capacity_10(&unit.geometry));
            (Ok(()), u32::MAX)
        }
        Command::ReadCapacity16 { allocation } => {
            out.extend_from_slice(&capacity::read_capacity_16(&unit.geometry, &unit.characteristics));
            (Ok(()), allocation)
        }
        Command::RequestSense { descriptor, allocation } => {
            let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
            out.extend_from_slice(
                unit.pending_sense.unwrap_or(Sense::NO_SENSE).encode(format, None).as_bytes(),
            );
            (Ok(()), u32::from(allocation))
        }
        Command::TestUnitReady
        | Command::Read { .. }
        | Command::Write { .. }
        | Command::SynchronizeCache { .. }
        | Command::StartStopUnit { .. } => return None,
    };
    // An allocation length that the address space can not hold cuts nothing.
    out.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    Some(built)
}

#[cfg(test)]
mod tests;
