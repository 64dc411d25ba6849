//! What targets send (RFC 7143 clause 11): values and their encoding.
//!
//! Each `encode` appends one whole PDU to a buffer: header, header digest, data, padding, data digest. It allocates
//! only when the buffer has no room, and never fails. Data segments must be shorter than 2²⁴ bytes and not longer
//! than the initiator's MaxRecvDataSegmentLength; keeping that is the caller's duty.

use super::codes::{AsyncEvent, LoginStatus, LogoutResult, RejectReason, TargetOpcode, TaskManagementResult};
use super::encode::Header;
use super::header::{Bhs, FINAL_BIT, Lun, RESERVED_TAG};
use crate::digest::Digests;

/// C bit of text and login PDUs (RFC 7143 clauses 11.10.2 and 11.12.2).
const CONTINUE_BIT: u8 = 0x40;

/// The numbers that nearly every PDU of a target carries (RFC 7143 clauses 4.2.2.1 and 4.2.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceNumbers {
    /// StatSN: number of this status, or the next one where the PDU has none of its own.
    pub stat_sn: u32,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: u32,
    /// MaxCmdSN: the last command number that the target takes.
    pub max_cmd_sn: u32,
}

/// The difference between what the initiator expected and what was moved (RFC 7143 clauses 11.4.5.1 and 11.4.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// Exactly what was expected.
    #[default]
    None,
    /// That many bytes fewer than expected.
    Underflow(u32),
    /// That many bytes did not fit into what was expected.
    Overflow(u32),
}

impl Residual {
    /// The flag for this residual, and the count.
    const fn wire(self, underflow: u8, overflow: u8) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Underflow(count) => (underflow, count),
            Self::Overflow(count) => (overflow, count),
        }
    }
}

/// NOP-In (RFC 7143 clause 11.19).
#[derive(Clone, Copy, Debug)]
pub struct NopIn<'a> {
    /// Zero, or the unit that a ping is for.
    pub lun: Lun,
    /// Of the NOP-Out that is answered; [`RESERVED_TAG`] in the target's ping.
    pub initiator_task_tag: u32,
    /// [`RESERVED_TAG`] in an answer; in a ping the tag that the initiator must send back.
    pub target_transfer_tag: u32,
    /// StatSN is consumed by answers only.
    pub numbers: SequenceNumbers,
    /// The ping's data, echoed.
    pub data: &'a [u8],
}

impl NopIn<'_> {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        Header::new(TargetOpcode::NopIn, FINAL_BIT)
            .lun(self.lun)
            .task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag)
            .numbers(self.numbers)
            .append(&[self.data], digests, out);
    }
}

/// SCSI Response (RFC 7143 clause 11.4) with response code 00h, "command completed at target", unless
/// [`target_failure`](Self::target_failure) says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct ScsiResponse<'a> {
    /// Of the command.
    pub initiator_task_tag: u32,
    /// Status, StatSN consumed.
    pub numbers: SequenceNumbers,
    /// Response 01h, "target failure", instead of 00h: the status means nothing then (clause 11.4.3).
    pub target_failure: bool,
    /// SCSI status (SAM-5 clause 5.3).
    pub status: u8,
    /// Number of Data-In and R2T PDUs that the command was answered with (clause 11.4.8).
    pub exp_data_sn: u32,
    /// Residual of the write part, or of the only part.
    pub residual: Residual,
    /// Residual of the read part of a bidirectional command.
    pub bidi_residual: Residual,
    /// Sense data without its length field; empty for none. At most 65 535 bytes.
    pub sense: &'a [u8],
}

impl ScsiResponse<'_> {
    /// Appends the PDU. Sense data gets its two-byte length (clause 11.4.7).
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        let (flag, count) = self.residual.wire(0x02, 0x04);
        let (bidi_flag, bidi_count) = self.bidi_residual.wire(0x08, 0x10);
        let header = Header::new(TargetOpcode::ScsiResponse, FINAL_BIT | flag | bidi_flag)
            .byte(2, u8::from(self.target_failure))
            .byte(3, self.status)
            .task_tag(self.initiator_task_tag)
            .numbers(self.numbers)
            .word(36, self.exp_data_sn)
            .word(40, bidi_count)
            .word(44, count);
        if self.sense.is_empty() {
            return header.append(&[], digests, out);
        }
        let [.., high, low] = self.sense.len().to_be_bytes();
        header.append(&[&[high, low], self.sense], digests, out);
    }
}

/// Task Management Function Response (RFC 7143 clause 11.6).
#[derive(Clone, Copy, Debug)]
pub struct TaskManagementResponse {
    /// Of the request.
    pub initiator_task_tag: u32,
    /// StatSN is consumed.
    pub numbers: SequenceNumbers,
    /// The result.
    pub result: TaskManagementResult,
}

impl TaskManagementResponse {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        Header::new(TargetOpcode::TaskManagementResponse, FINAL_BIT)
            .byte(2, self.result.code())
            .task_tag(self.initiator_task_tag)
            .numbers(self.numbers)
            .append(&[], digests, out);
    }
}

/// Login Response (RFC 7143 clause 11.13).
#[derive(Clone, Copy, Debug)]
pub struct LoginResponse<'a> {
    /// T: the initiator's wish to go to `next_stage` is granted.
    pub transit: bool,
    /// C: the text goes on in the next response.
    pub continues: bool,
    /// CSG, 0 to 3.
    pub current_stage: u8,
    /// NSG, 0 to 3.
    pub next_stage: u8,
    /// Highest version that the target speaks.
    pub version_max: u8,
    /// Version in use.
    pub version_active: u8,
    /// Echoed from the request.
    pub isid: [u8; 6],
    /// Zero until the target has assigned one.
    pub tsih: u16,
    /// Of the request.
    pub initiator_task_tag: u32,
    /// StatSN is consumed. Meaningless if the status is not success.
    pub numbers: SequenceNumbers,
    /// Status class and detail.
    pub status: LoginStatus,
    /// Keys and values.
    pub text: &'a [u8],
}

impl LoginResponse<'_> {
    /// Appends the PDU. Login is never digested.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.transit) << 7
            | u8::from(self.continues) << 6
            | (self.current_stage & 3) << 2
            | (self.next_stage & 3);
        Header::new(TargetOpcode::LoginResponse, flags)
            .byte(2, self.version_max)
            .byte(3, self.version_active)
            .isid(self.isid)
            .half(14, self.tsih)
            .task_tag(self.initiator_task_tag)
            .numbers(self.numbers)
            .half(36, self.status.code())
            .append(&[self.text], Digests::default(), out);
    }
}

/// Text Response (RFC 7143 clause 11.11).
#[derive(Clone, Copy, Debug)]
pub struct TextResponse<'a> {
    /// F: the target has nothing to add.
    pub is_final: bool,
    /// C: the text goes on in the next response.
    pub continues: bool,
    /// Of the request.
    pub lun: Lun,
    /// Of the request.
    pub initiator_task_tag: u32,
    /// [`RESERVED_TAG`] if `is_final`, else what the initiator's next request must carry.
    pub target_transfer_tag: u32,
    /// StatSN is consumed.
    pub numbers: SequenceNumbers,
    /// Keys and values.
    pub text: &'a [u8],
}

impl TextResponse<'_> {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        let flags = if self.is_final { FINAL_BIT } else { 0 } | if self.continues { CONTINUE_BIT } else { 0 };
        Header::new(TargetOpcode::TextResponse, flags)
            .lun(self.lun)
            .task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag)
            .numbers(self.numbers)
            .append(&[self.text], digests, out);
    }
}

/// SCSI Data-In (RFC 7143 clause 11.7). No data acknowledgement is asked for (error recovery level 0), so the A bit,
/// LUN and Target Transfer Tag are never set.
#[derive(Clone, Copy, Debug)]
pub struct DataIn<'a> {
    /// F: the last PDU of its sequence.
    pub is_final: bool,
    /// S: the command is done; the status is GOOD or another that needs no sense data.
    pub status: Option<DataInStatus>,
    /// Of the command.
    pub initiator_task_tag: u32,
    /// StatSN is consumed, and written at all, only with a status.
    pub numbers: SequenceNumbers,
    /// Number of this PDU within the command.
    pub data_sn: u32,
    /// Where the data stands in the command's buffer, in bytes.
    pub buffer_offset: u32,
    /// The data.
    pub data: &'a [u8],
}

/// What the last Data-In of a command says in place of a SCSI Response (RFC 7143 clause 11.7.3).
#[derive(Clone, Copy, Debug)]
pub struct DataInStatus {
    /// SCSI status; one without sense data.
    pub status: u8,
    /// Residual of the command.
    pub residual: Residual,
}

impl DataIn<'_> {
    /// Appends the PDU: one copy of the header, one of the data.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        let flags = if self.is_final { FINAL_BIT } else { 0 };
        let mut header = Header::new(TargetOpcode::DataIn, flags)
            .task_tag(self.initiator_task_tag)
            .word(20, RESERVED_TAG)
            .numbers(self.numbers)
            .word(36, self.data_sn)
            .word(40, self.buffer_offset);
        header = match self.status {
            None => header.word(24, 0),
            Some(end) => {
                let (flag, count) = end.residual.wire(0x02, 0x04);
                // F is implied by S: the status ends the last sequence (clause 11.7.3).
                header.byte(1, FINAL_BIT | flag | 0x01).byte(3, end.status).word(44, count)
            }
        };
        header.append(&[self.data], digests, out);
    }
}

/// Logout Response (RFC 7143 clause 11.15).
#[derive(Clone, Copy, Debug)]
pub struct LogoutResponse {
    /// Of the request.
    pub initiator_task_tag: u32,
    /// StatSN is consumed.
    pub numbers: SequenceNumbers,
    /// The result.
    pub result: LogoutResult,
    /// Seconds that the initiator should wait before it reconnects.
    pub time2wait: u16,
    /// Seconds after `time2wait` that tasks are kept for.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        Header::new(TargetOpcode::LogoutResponse, FINAL_BIT)
            .byte(2, self.result.code())
            .task_tag(self.initiator_task_tag)
            .numbers(self.numbers)
            .half(40, self.time2wait)
            .half(42, self.time2retain)
            .append(&[], digests, out);
    }
}

/// Ready To Transfer (RFC 7143 clause 11.8).
#[derive(Clone, Copy, Debug)]
pub struct R2t {
    /// Of the command.
    pub lun: Lun,
    /// Of the command.
    pub initiator_task_tag: u32,
    /// Comes back in the Data-Out PDUs; not [`RESERVED_TAG`].
    pub target_transfer_tag: u32,
    /// StatSN is the next one; it is not consumed.
    pub numbers: SequenceNumbers,
    /// Number of this R2T within the command.
    pub r2t_sn: u32,
    /// Where the wanted data stands in the command's buffer, in bytes.
    pub buffer_offset: u32,
    /// Wanted bytes: not 0 and at most MaxBurstLength.
    pub desired_length: u32,
}

impl R2t {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        Header::new(TargetOpcode::R2t, FINAL_BIT)
            .lun(self.lun)
            .task_tag(self.initiator_task_tag)
            .word(20, self.target_transfer_tag)
            .numbers(self.numbers)
            .word(36, self.r2t_sn)
            .word(40, self.buffer_offset)
            .word(44, self.desired_length)
            .append(&[], digests, out);
    }
}

/// Asynchronous Message (RFC 7143 clause 11.9).
#[derive(Clone, Copy, Debug)]
pub struct AsyncMessage<'a> {
    /// The unit that a SCSI event is about, else zero.
    pub lun: Lun,
    /// StatSN is consumed.
    pub numbers: SequenceNumbers,
    /// What happened.
    pub event: AsyncEvent,
    /// Code of a vendor specific event.
    pub vendor_code: u8,
    /// Parameters 1 to 3; their meaning depends on the event (clause 11.9.1).
    pub parameters: [u16; 3],
    /// Sense data of a SCSI event; empty for none. At most 65 535 bytes.
    pub sense: &'a [u8],
}

impl AsyncMessage<'_> {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        let [first, second, third] = self.parameters;
        let header = Header::new(TargetOpcode::AsyncMessage, FINAL_BIT)
            .lun(self.lun)
            .task_tag(RESERVED_TAG)
            .numbers(self.numbers)
            .byte(36, self.event.code())
            .byte(37, self.vendor_code)
            .half(38, first)
            .half(40, second)
            .half(42, third);
        if self.sense.is_empty() {
            return header.append(&[], digests, out);
        }
        let [.., high, low] = self.sense.len().to_be_bytes();
        header.append(&[&[high, low], self.sense], digests, out);
    }
}

/// Reject (RFC 7143 clause 11.17).
#[derive(Clone, Copy, Debug)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// StatSN is consumed.
    pub numbers: SequenceNumbers,
    /// DataSN or R2TSN that a rejected data acknowledgement should have named; else 0.
    pub data_sn: u32,
    /// The header of the PDU that is rejected.
    pub offender: Bhs,
}

impl Reject {
    /// Appends the PDU.
    pub fn encode(&self, digests: Digests, out: &mut Vec<u8>) {
        Header::new(TargetOpcode::Reject, FINAL_BIT)
            .byte(2, self.reason.code())
            .task_tag(RESERVED_TAG)
            .numbers(self.numbers)
            .word(36, self.data_sn)
            .append(&[self.offender.as_bytes()], digests, out);
    }
}
