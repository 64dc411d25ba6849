//! CDBs of SPC: commands that every kind of device may have.

use super::fields::{Cdb, Parsed, be16, be32, unset};
use crate::command::{Command, CopyResults, ModeSense, PageControl};
use crate::sense::FieldPointer;

pub(crate) fn test_unit_ready(_: &Cdb) -> Parsed {
    Ok(Command::TestUnitReady)
}

pub(crate) fn request_sense(cdb: &Cdb) -> Parsed {
    Ok(Command::RequestSense { descriptor: cdb[1] & 0x01 != 0, allocation: cdb[4] })
}

pub(crate) fn inquiry(cdb: &Cdb) -> Parsed {
    let evpd = cdb[1] & 0x01 != 0;
    // CMDDT of SPC-2: the answer would be another kind of data than what is sent.
    unset(cdb, 1, 1)?;
    if !evpd && cdb[2] != 0 {
        return Err(FieldPointer::cdb(2));
    }
    Ok(Command::Inquiry { vpd: evpd.then_some(cdb[2]), allocation: be16(cdb, 3) })
}

pub(crate) fn mode_sense_6(cdb: &Cdb) -> Parsed {
    Ok(Command::ModeSense(ModeSense {
        ten: false,
        llbaa: false,
        dbd: cdb[1] & 0x08 != 0,
        control: page_control(cdb[2]),
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation: u16::from(cdb[4]),
    }))
}

pub(crate) fn mode_sense_10(cdb: &Cdb) -> Parsed {
    Ok(Command::ModeSense(ModeSense {
        ten: true,
        llbaa: cdb[1] & 0x10 != 0,
        dbd: cdb[1] & 0x08 != 0,
        control: page_control(cdb[2]),
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation: be16(cdb, 7),
    }))
}

fn page_control(byte: u8) -> PageControl {
    match byte >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    }
}

pub(crate) fn mode_select_6(cdb: &Cdb) -> Parsed {
    mode_select(cdb, false, u32::from(cdb[4]))
}

pub(crate) fn mode_select_10(cdb: &Cdb) -> Parsed {
    mode_select(cdb, true, u32::from(be16(cdb, 7)))
}

fn mode_select(cdb: &Cdb, ten: bool, length: u32) -> Parsed {
    unset(cdb, 1, 0)?; // SP: nothing can be saved
    unset(cdb, 1, 1)?; // RTD: VPD page 86h does not say RTD_SUP
    // PF=0: the list holds vendor specific data, of which there is none.
    if cdb[1] & 0x10 == 0 && length != 0 {
        return Err(FieldPointer::cdb_bit(1, 4));
    }
    Ok(Command::ModeSelect { ten, length })
}

pub(crate) fn log_sense(cdb: &Cdb) -> Parsed {
    unset(cdb, 1, 0)?; // SP: nothing can be saved
    // PPC of SPC-3 asks for the parameters that have changed since the last time: another kind of answer.
    unset(cdb, 1, 1)?;
    Ok(Command::LogSense {
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        control: cdb[2] >> 6,
        parameter_pointer: be16(cdb, 5),
        allocation: u32::from(be16(cdb, 7)),
    })
}

pub(crate) fn report_target_port_groups(cdb: &Cdb) -> Parsed {
    let extended = match cdb[1] >> 5 {
        0 => false,
        1 => true,
        _ => return Err(FieldPointer::cdb_bit(1, 7)),
    };
    Ok(Command::ReportTargetPortGroups { extended, allocation: be32(cdb, 6) })
}

pub(crate) fn set_target_port_groups(cdb: &Cdb) -> Parsed {
    Ok(Command::SetTargetPortGroups { length: be32(cdb, 6) })
}

pub(crate) fn report_supported_operation_codes(cdb: &Cdb) -> Parsed {
    let options = cdb[2] & 0x07;
    if options > 3 {
        return Err(FieldPointer::cdb_bit(2, 2));
    }
    Ok(Command::ReportSupportedOperationCodes {
        options,
        timeouts: cdb[2] & 0x80 != 0,
        opcode: cdb[3],
        service_action: be16(cdb, 4),
        allocation: be32(cdb, 6),
    })
}

pub(crate) fn report_supported_task_management_functions(cdb: &Cdb) -> Parsed {
    Ok(Command::ReportSupportedTaskManagementFunctions {
        extended: cdb[2] & 0x80 != 0,
        allocation: be32(cdb, 6),
    })
}

pub(crate) fn extended_copy(cdb: &Cdb) -> Parsed {
    Ok(Command::ExtendedCopy { length: be32(cdb, 10) })
}

pub(crate) fn receive_copy_status(cdb: &Cdb) -> Parsed {
    Ok(receive_copy_results(cdb, CopyResults::CopyStatus { list_id: cdb[2] }))
}

pub(crate) fn receive_copy_operating_parameters(cdb: &Cdb) -> Parsed {
    Ok(receive_copy_results(cdb, CopyResults::OperatingParameters))
}

pub(crate) fn receive_copy_failure_details(cdb: &Cdb) -> Parsed {
    Ok(receive_copy_results(cdb, CopyResults::FailedSegmentDetails { list_id: cdb[2] }))
}

fn receive_copy_results(cdb: &Cdb, action: CopyResults) -> Command {
    Command::ReceiveCopyResults { action, allocation: be32(cdb, 10) }
}
