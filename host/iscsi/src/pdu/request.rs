//! What initiators send (RFC 7143 clause 11), read from a [`Frame`] and checked for what one PDU alone can get wrong.
//!
//! Reserved bits are ignored, as clause 11 asks of receivers. Checks that need a session (numbers, tags, lengths
//! against negotiated ones) are the session's.

use super::ahs::{self, BIDI_READ_LENGTH, EXTENDED_CDB};
use super::codes::{InitiatorOpcode, LogoutReason, RejectReason, SnackKind, TaskAttribute, TaskFunction};
use super::frame::Frame;
use super::header::{Bhs, Lun, RESERVED_TAG};
use thiserror::Error;

/// Longest CDB (SPC-4 clause 4.2.3, variable length CDBs).
pub const CDB_MAX: usize = 260;

/// Bytes of the CDB that stand in the basic header.
const CDB_IN_HEADER: usize = 16;

/// A PDU that its sender got wrong. It is answered with a Reject that carries `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what} (reject reason {:#04x})", reason.code())]
pub struct Malformed {
    /// What the Reject says.
    pub reason: RejectReason,
    /// For the log: the field and what is wrong with it.
    pub what: &'static str,
}

const fn invalid(what: &'static str) -> Malformed {
    Malformed { reason: RejectReason::InvalidPduField, what }
}

/// A PDU of an initiator.
// Taken apart at once where it was made: boxing the commands would cost an allocation on the hot path.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A ping, or the answer to one.
    NopOut(NopOut<'a>),
    /// A SCSI command.
    ScsiCommand(ScsiCommand<'a>),
    /// A task management function.
    TaskManagement(TaskManagement),
    /// A login request.
    Login(LoginRequest<'a>),
    /// A text request.
    Text(TextRequest<'a>),
    /// Data of a write.
    DataOut(DataOut<'a>),
    /// A logout.
    Logout(LogoutRequest),
    /// A request to send something again.
    Snack(Snack),
}

/// NOP-Out (RFC 7143 clause 11.18).
#[derive(Clone, Copy, Debug)]
pub struct NopOut<'a> {
    /// The PDU is outside of the command numbering.
    pub immediate: bool,
    /// Of the target's ping that is answered, else anything.
    pub lun: Lun,
    /// `None` if no answer is wanted.
    pub initiator_task_tag: Option<u32>,
    /// `Some` if this answers the target's ping with that tag.
    pub target_transfer_tag: Option<u32>,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// To be echoed.
    pub data: &'a [u8],
}

/// SCSI Command (RFC 7143 clause 11.3).
#[derive(Clone, Copy, Debug)]
pub struct ScsiCommand<'a> {
    /// The PDU is outside of the command numbering.
    pub immediate: bool,
    /// F: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R: the command reads.
    pub read: bool,
    /// W: the command writes. Without it there are no data and `is_final` is set.
    pub write: bool,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator Task Tag; never [`RESERVED_TAG`].
    pub initiator_task_tag: u32,
    /// Expected Data Transfer Length in bytes: of the write for a bidirectional command. 0 if neither R nor W.
    pub expected_length: u32,
    /// Expected length of the read part in bytes; `Some` if and only if both R and W are set.
    pub bidi_read_length: Option<u32>,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// The CDB: 16 bytes, or more with an additional header segment.
    pub cdb: Cdb,
    /// Immediate data; at most `expected_length` bytes.
    pub data: &'a [u8],
}

/// A CDB of up to [`CDB_MAX`] bytes, inline.
#[derive(Clone, Copy)]
pub struct Cdb {
    bytes: [u8; CDB_MAX],
    length: usize,
}

impl Cdb {
    /// `None` if `bytes` is longer than [`CDB_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut cdb = Self { bytes: [0; CDB_MAX], length: bytes.len() };
        cdb.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(cdb)
    }

    /// The bytes. A CDB shorter than 16 bytes is padded to 16: iSCSI does not transmit its length.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, more: &[u8]) -> Option<()> {
        let end = self.length + more.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(more);
        self.length = end;
        Some(())
    }
}

impl std::fmt::Debug for Cdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cdb({:02x?})", self.as_slice())
    }
}

/// Task Management Function Request (RFC 7143 clause 11.5).
#[derive(Clone, Copy, Debug)]
pub struct TaskManagement {
    /// The PDU is outside of the command numbering.
    pub immediate: bool,
    /// The function; `Err` with its number if the standard has no such function (answer: not supported).
    pub function: Result<TaskFunction, u8>,
    /// Logical unit of the functions that work on one.
    pub lun: Lun,
    /// Initiator Task Tag of the function itself.
    pub initiator_task_tag: u32,
    /// Initiator Task Tag of the task to abort or reassign.
    pub referenced_task_tag: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// RefCmdSN: number of the task to abort.
    pub ref_cmd_sn: u32,
    /// ExpDataSN, for TASK REASSIGN.
    pub exp_data_sn: u32,
}

/// Login Request (RFC 7143 clause 11.12). Its contents are judged by [`crate::login::Login`], since mistakes in them
/// are answered by login responses.
#[derive(Clone, Copy, Debug)]
pub struct LoginRequest<'a> {
    /// I: always set by a correct initiator.
    pub immediate: bool,
    /// T: the initiator is ready to go to `next_stage`.
    pub transit: bool,
    /// C: the text goes on in the next request.
    pub continues: bool,
    /// CSG, 0 to 3.
    pub current_stage: u8,
    /// NSG, 0 to 3; without a meaning unless `transit`.
    pub next_stage: u8,
    /// Highest version that the initiator speaks.
    pub version_max: u8,
    /// Lowest version that the initiator speaks.
    pub version_min: u8,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// 0 for a new session, else the session to join.
    pub tsih: u16,
    /// Initiator Task Tag: the same in all requests of a login.
    pub initiator_task_tag: u32,
    /// Connection identifier.
    pub cid: u16,
    /// CmdSN: in the leading login the first number of the session.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// Keys and values.
    pub text: &'a [u8],
}

/// Text Request (RFC 7143 clause 11.10).
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// The PDU is outside of the command numbering.
    pub immediate: bool,
    /// F: the initiator has nothing to add.
    pub is_final: bool,
    /// C: the text goes on in the next request; `is_final` is not set then.
    pub continues: bool,
    /// Of the target's text response that is answered, else anything.
    pub lun: Lun,
    /// Initiator Task Tag; never [`RESERVED_TAG`].
    pub initiator_task_tag: u32,
    /// `Some` if this goes on with a negotiation that the target gave that tag.
    pub target_transfer_tag: Option<u32>,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// Keys and values.
    pub text: &'a [u8],
}

/// SCSI Data-Out (RFC 7143 clause 11.7).
#[derive(Clone, Copy, Debug)]
pub struct DataOut<'a> {
    /// F: the last PDU of its sequence.
    pub is_final: bool,
    /// Of the R2T that is answered, else anything.
    pub lun: Lun,
    /// Initiator Task Tag of the command; never [`RESERVED_TAG`].
    pub initiator_task_tag: u32,
    /// Of the R2T that is answered; `None` for unsolicited data.
    pub target_transfer_tag: Option<u32>,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// DataSN.
    pub data_sn: u32,
    /// Where the data stands in the command's buffer, in bytes.
    pub buffer_offset: u32,
    /// The data. `buffer_offset` plus its length fits into 32 bits.
    pub data: &'a [u8],
}

/// Logout Request (RFC 7143 clause 11.14).
#[derive(Clone, Copy, Debug)]
pub struct LogoutRequest {
    /// The PDU is outside of the command numbering.
    pub immediate: bool,
    /// What to close.
    pub reason: LogoutReason,
    /// Initiator Task Tag; never [`RESERVED_TAG`].
    pub initiator_task_tag: u32,
    /// The connection to close; without a meaning for [`LogoutReason::CloseSession`].
    pub cid: u16,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

/// SNACK Request (RFC 7143 clause 11.16).
#[derive(Clone, Copy, Debug)]
pub struct Snack {
    /// What to send again.
    pub kind: SnackKind,
    /// Of a data acknowledgement.
    pub lun: Lun,
    /// Task, or [`RESERVED_TAG`].
    pub initiator_task_tag: u32,
    /// Of a data acknowledgement, or the SNACK tag, or [`RESERVED_TAG`].
    pub target_transfer_tag: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// First number that is missing.
    pub beg_run: u32,
    /// How many are missing; 0 for all.
    pub run_length: u32,
}

/// Reads a frame. The data digest is not looked at: see [`Frame::data_digest`].
///
/// # Errors
/// With the reason for a Reject, where the PDU is wrong by itself.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Request<'a>, Malformed> {
    let bhs = &frame.bhs;
    let Some(opcode) = bhs.initiator_opcode() else {
        let what = "the opcode is not one of an initiator";
        return Err(Malformed { reason: RejectReason::CommandNotSupported, what });
    };
    if opcode != InitiatorOpcode::ScsiCommand && !frame.ahs.is_empty() {
        return Err(invalid("TotalAHSLength is not 0 in a PDU that has no additional header segments"));
    }
    let data = frame.data;
    match opcode {
        InitiatorOpcode::NopOut => nop_out(bhs, data).map(Request::NopOut),
        InitiatorOpcode::ScsiCommand => scsi_command(bhs, frame.ahs, data).map(Request::ScsiCommand),
        InitiatorOpcode::TaskManagement => task_management(bhs, data).map(Request::TaskManagement),
        InitiatorOpcode::Login => Ok(Request::Login(login(bhs, data))),
        InitiatorOpcode::Text => text(bhs, data).map(Request::Text),
        InitiatorOpcode::DataOut => data_out(bhs, data).map(Request::DataOut),
        InitiatorOpcode::Logout => logout(bhs, data).map(Request::Logout),
        InitiatorOpcode::Snack => snack(bhs, data).map(Request::Snack),
    }
}

const fn tag(value: u32) -> Option<u32> {
    if value == RESERVED_TAG { None } else { Some(value) }
}

fn task_tag(bhs: &Bhs) -> Result<u32, Malformed> {
    tag(bhs.initiator_task_tag()).ok_or(invalid("Initiator Task Tag is the reserved value"))
}

const fn must_be_final(bhs: &Bhs) -> Result<(), Malformed> {
    if bhs.is_final() { Ok(()) } else { Err(invalid("the F bit is 0 in a PDU that stands alone")) }
}

const fn must_be_empty(data: &[u8]) -> Result<(), Malformed> {
    if data.is_empty() {
        Ok(())
    } else {
        Err(invalid("DataSegmentLength is not 0 in a PDU that has no data"))
    }
}

fn nop_out<'a>(bhs: &Bhs, data: &'a [u8]) -> Result<NopOut<'a>, Malformed> {
    must_be_final(bhs)?;
    let initiator_task_tag = tag(bhs.initiator_task_tag());
    if initiator_task_tag.is_none() && !bhs.is_immediate() {
        // A PDU that wants no answer would leave a hole in the numbering that nobody acknowledges (clause 11.18.1).
        let what = "NOP-Out with the reserved Initiator Task Tag must be immediate";
        return Err(Malformed { reason: RejectReason::ProtocolError, what });
    }
    Ok(NopOut {
        immediate: bhs.is_immediate(),
        lun: bhs.lun(),
        initiator_task_tag,
        target_transfer_tag: tag(bhs.u32_at(20)),
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
        data,
    })
}

fn scsi_command<'a>(bhs: &Bhs, ahs: &[u8], data: &'a [u8]) -> Result<ScsiCommand<'a>, Malformed> {
    let flags = bhs.flags();
    let (is_final, read, write) = (bhs.is_final(), flags & 0x40 != 0, flags & 0x20 != 0);
    let attribute =
        TaskAttribute::from_code(flags & 7).ok_or(invalid("task attribute is a reserved value"))?;
    let expected_length = bhs.u32_at(20);
    if !write && !is_final {
        return Err(invalid("F and W are both 0: data would follow a command that does not write"));
    }
    if !write && !data.is_empty() {
        return Err(invalid("immediate data with a command whose W bit is 0"));
    }
    if !read && !write && expected_length != 0 {
        return Err(invalid("Expected Data Transfer Length is not 0, but R and W are"));
    }
    if data.len() > usize::try_from(expected_length).unwrap_or(usize::MAX) {
        return Err(invalid("more immediate data than Expected Data Transfer Length"));
    }

    let mut cdb = Cdb { bytes: [0; CDB_MAX], length: CDB_IN_HEADER };
    cdb.bytes[..CDB_IN_HEADER].copy_from_slice(&bhs.as_bytes()[32..]);
    let mut read_length = None;
    for segment in ahs::segments(ahs) {
        let segment =
            segment.map_err(|_| invalid("an additional header segment has an impossible length"))?;
        match segment.kind {
            EXTENDED_CDB if cdb.length > CDB_IN_HEADER => return Err(invalid("two extended CDB segments")),
            EXTENDED_CDB => {
                cdb.push(segment.bytes).ok_or(invalid("the extended CDB is longer than 260 bytes"))?;
            }
            BIDI_READ_LENGTH if read_length.is_some() => {
                return Err(invalid("two bidirectional read length segments"));
            }
            BIDI_READ_LENGTH => {
                let bytes = segment.bytes.try_into();
                let bytes = bytes.map_err(|_| invalid("bidirectional read length is not of four bytes"))?;
                read_length = Some(u32::from_be_bytes(bytes));
            }
            _ => return Err(invalid("AHSType is a reserved value")),
        }
    }
    let bidi_read_length = match (read && write, read_length) {
        (true, Some(length)) => Some(length),
        // R and W may both be set on a command that moves nothing (clause 11.3.1).
        (true, None) if expected_length == 0 => Some(0),
        (true, None) => return Err(invalid("bidirectional command without its read length segment")),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(invalid("read length segment on a command that is not bidirectional"));
        }
    };
    Ok(ScsiCommand {
        immediate: bhs.is_immediate(),
        is_final,
        read,
        write,
        attribute,
        lun: bhs.lun(),
        initiator_task_tag: task_tag(bhs)?,
        expected_length,
        bidi_read_length,
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
        cdb,
        data,
    })
}

fn task_management(bhs: &Bhs, data: &[u8]) -> Result<TaskManagement, Malformed> {
    must_be_final(bhs)?;
    must_be_empty(data)?;
    let code = bhs.flags() & 0x7f;
    Ok(TaskManagement {
        immediate: bhs.is_immediate(),
        function: TaskFunction::from_code(code).ok_or(code),
        lun: bhs.lun(),
        initiator_task_tag: task_tag(bhs)?,
        referenced_task_tag: bhs.u32_at(20),
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
        ref_cmd_sn: bhs.u32_at(32),
        exp_data_sn: bhs.u32_at(36),
    })
}

const fn login<'a>(bhs: &Bhs, text: &'a [u8]) -> LoginRequest<'a> {
    let flags = bhs.flags();
    let Lun([a, b, c, d, e, f, ..]) = bhs.lun();
    LoginRequest {
        immediate: bhs.is_immediate(),
        transit: flags & 0x80 != 0,
        continues: flags & 0x40 != 0,
        current_stage: flags >> 2 & 3,
        next_stage: flags & 3,
        version_max: bhs.u8_at(2),
        version_min: bhs.u8_at(3),
        isid: [a, b, c, d, e, f],
        tsih: bhs.u16_at(14),
        initiator_task_tag: bhs.initiator_task_tag(),
        cid: bhs.u16_at(20),
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
        text,
    }
}

fn text<'a>(bhs: &Bhs, text: &'a [u8]) -> Result<TextRequest<'a>, Malformed> {
    let continues = bhs.flags() & 0x40 != 0;
    if continues && bhs.is_final() {
        return Err(invalid("F and C are both 1 in a text request"));
    }
    Ok(TextRequest {
        immediate: bhs.is_immediate(),
        is_final: bhs.is_final(),
        continues,
        lun: bhs.lun(),
        initiator_task_tag: task_tag(bhs)?,
        target_transfer_tag: tag(bhs.u32_at(20)),
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
        text,
    })
}

fn data_out<'a>(bhs: &Bhs, data: &'a [u8]) -> Result<DataOut<'a>, Malformed> {
    let buffer_offset = bhs.u32_at(40);
    if buffer_offset.checked_add(bhs.data_segment_length()).is_none() {
        return Err(invalid("Buffer Offset plus DataSegmentLength is beyond 32 bits"));
    }
    Ok(DataOut {
        is_final: bhs.is_final(),
        lun: bhs.lun(),
        initiator_task_tag: task_tag(bhs)?,
        target_transfer_tag: tag(bhs.u32_at(20)),
        exp_stat_sn: bhs.u32_at(28),
        data_sn: bhs.u32_at(36),
        buffer_offset,
        data,
    })
}

fn logout(bhs: &Bhs, data: &[u8]) -> Result<LogoutRequest, Malformed> {
    must_be_final(bhs)?;
    must_be_empty(data)?;
    let reason = LogoutReason::from_code(bhs.flags() & 0x7f);
    Ok(LogoutRequest {
        immediate: bhs.is_immediate(),
        reason: reason.ok_or(invalid("logout reason is a reserved value"))?,
        initiator_task_tag: task_tag(bhs)?,
        cid: bhs.u16_at(20),
        cmd_sn: bhs.u32_at(24),
        exp_stat_sn: bhs.u32_at(28),
    })
}

fn snack(bhs: &Bhs, data: &[u8]) -> Result<Snack, Malformed> {
    must_be_final(bhs)?;
    must_be_empty(data)?;
    let kind = SnackKind::from_code(bhs.flags() & 0x0f);
    Ok(Snack {
        kind: kind.ok_or(invalid("SNACK type is a reserved value"))?,
        lun: bhs.lun(),
        initiator_task_tag: bhs.initiator_task_tag(),
        target_transfer_tag: bhs.u32_at(20),
        exp_stat_sn: bhs.u32_at(28),
        beg_run: bhs.u32_at(40),
        run_length: bhs.u32_at(44),
    })
}
