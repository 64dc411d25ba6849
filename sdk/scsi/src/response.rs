//! One entrance to all parameter data.

use crate::command::{Command, ModeSense, PageControl};
use crate::logical_unit::LogicalUnit;
use crate::sense::{FieldPointer, Sense, SenseData, SenseFormat};
use crate::{capacity, copy_results, inquiry, log_page, mode, supported, target_port, vpd};

/// Answers commands that only ask what the unit is and how it stands: INQUIRY, LOG SENSE, MODE SENSE, READ CAPACITY,
/// RECEIVE COPY RESULTS, REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, REPORT TARGET
/// PORT GROUPS and REQUEST SENSE.
///
/// `None` for all other commands; they need the medium or change the unit. Otherwise `out` holds the answer, cut to
/// the allocation length: what was in it is dropped, its memory is reused. On refusal it is empty.
///
/// REQUEST SENSE reports [`LogicalUnit::pending_sense`], else that FORMAT UNIT runs and how far it has come, else NO
/// SENSE: failed commands have sent their sense data with the status, nothing of it is left to ask for.
///
/// # Errors
/// `Some(Err)` is the sense data to answer with; [`refused_field`] tells where it points.
pub fn parameter_data(command: &Command, unit: &LogicalUnit, out: &mut Vec<u8>) -> Option<Result<(), Sense>> {
    out.clear();
    let (built, allocation) = match *command {
        Command::Inquiry { vpd: None, allocation } => {
            out.extend_from_slice(&inquiry::standard(unit));
            (Ok(()), u32::from(allocation))
        }
        Command::Inquiry { vpd: Some(code), allocation } => {
            (vpd::page(code, unit, out), u32::from(allocation))
        }
        Command::ModeSense(request) => (mode::mode_sense(&request, unit, out), u32::from(request.allocation)),
        Command::LogSense { page, subpage, parameter_pointer, allocation, .. } => {
            (log_page::log_sense(page, subpage, parameter_pointer, unit, out), allocation)
        }
        Command::ReadCapacity10 => {
            out.extend_from_slice(&capacity::read_capacity_10(&unit.geometry));
            (Ok(()), u32::MAX)
        }
        Command::ReadCapacity16 { allocation } => {
            out.extend_from_slice(&capacity::read_capacity_16(&unit.geometry, &unit.characteristics));
            (Ok(()), allocation)
        }
        Command::RequestSense { descriptor, allocation } => {
            out.extend_from_slice(request_sense(descriptor, unit).as_bytes());
            (Ok(()), u32::from(allocation))
        }
        Command::ReportSupportedOperationCodes { options, timeouts, opcode, service_action, allocation } => {
            (supported::operation_codes(options, timeouts, opcode, service_action, unit, out), allocation)
        }
        Command::ReportSupportedTaskManagementFunctions { extended, allocation } => {
            out.extend_from_slice(&supported::task_management_functions(extended));
            (Ok(()), allocation)
        }
        Command::ReportTargetPortGroups { extended, allocation } => {
            target_port::report_target_port_groups(extended, unit, out);
            (Ok(()), allocation)
        }
        Command::ReceiveCopyResults { action, allocation } => {
            (copy_results::receive_copy_results(action, unit, out), allocation)
        }
        Command::TestUnitReady
        | Command::Read { .. }
        | Command::Write { .. }
        | Command::WriteAndVerify { .. }
        | Command::Verify { .. }
        | Command::WriteSame { .. }
        | Command::CompareAndWrite { .. }
        | Command::OrWrite { .. }
        | Command::PreFetch { .. }
        | Command::Unmap { .. }
        | Command::GetLbaStatus { .. }
        | Command::FormatUnit { .. }
        | Command::ModeSelect { .. }
        | Command::SetTargetPortGroups { .. }
        | Command::ExtendedCopy { .. }
        | Command::SynchronizeCache { .. }
        | Command::StartStopUnit { .. } => return None,
    };
    // An allocation length that the address space can not hold cuts nothing.
    out.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    Some(built)
}

/// Which field of the CDB it was that [`parameter_data`] refused, for the sense data. `None` for commands that it does
/// not answer or never refuses. Only meaningful for a command that was refused by the unit as it is.
#[must_use]
pub fn refused_field(command: &Command, unit: &LogicalUnit) -> Option<FieldPointer> {
    /// PAGE CODE stands there in LOG SENSE and MODE SENSE, SUBPAGE CODE behind it.
    const PAGE_CODE: FieldPointer = FieldPointer::cdb_bit(2, 5);
    const SUBPAGE_CODE: FieldPointer = FieldPointer::cdb(3);
    Some(match *command {
        Command::Inquiry { vpd: Some(_), .. } => FieldPointer::cdb(2),
        Command::ModeSense(ModeSense { control: PageControl::Saved, .. }) => FieldPointer::cdb_bit(2, 7),
        Command::ModeSense(request) if mode::has_page(request.page, unit) => SUBPAGE_CODE,
        Command::ModeSense(_) => PAGE_CODE,
        Command::LogSense { page, subpage, .. } => match log_page::subpages(page, unit) {
            subpages if subpages.contains(&subpage) => FieldPointer::cdb(5), // PARAMETER POINTER
            subpages if subpages.is_empty() => PAGE_CODE,
            _ => SUBPAGE_CODE,
        },
        // REPORTING OPTIONS.
        Command::ReportSupportedOperationCodes { .. } => FieldPointer::cdb_bit(2, 2),
        // LIST IDENTIFIER.
        Command::ReceiveCopyResults { .. } => FieldPointer::cdb(2),
        _ => return None,
    })
}

/// What REQUEST SENSE answers.
fn request_sense(descriptor: bool, unit: &LogicalUnit) -> SenseData {
    let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    match (unit.pending_sense, unit.format_in_progress()) {
        (Some(sense), _) => sense.encode(format, None),
        (None, Some((sense, progress))) => sense.encode(format, Some(progress)),
        (None, None) => Sense::NO_SENSE.encode(format, None),
    }
}

#[cfg(test)]
mod tests;
