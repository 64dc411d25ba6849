//! Answers to login requests.

use super::policy::Negotiated;
use crate::pdu::codes::LoginStatus;
use crate::pdu::request::LoginRequest;
use crate::pdu::response::{LoginResponse, SequenceNumbers};
use thiserror::Error;

/// A login response without its sequence numbers, which the connection adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginReply {
    /// T.
    pub transit: bool,
    /// CSG.
    pub current_stage: u8,
    /// NSG.
    pub next_stage: u8,
    /// Of the request.
    pub isid: [u8; 6],
    /// Of the request. In the last reply of a leading login the caller puts its new, non-zero handle here.
    pub tsih: u16,
    /// Of the request.
    pub initiator_task_tag: u32,
    /// Status class and detail. Other than success: the connection is closed after the reply.
    pub status: LoginStatus,
    /// Keys and values; at most 8192 bytes, so that it needs no continuation.
    pub text: Vec<u8>,
}

impl LoginReply {
    /// A refusal of this request, for reasons that the caller found (RFC 7143 clause 11.13.5).
    #[must_use]
    pub const fn refuse(request: &LoginRequest<'_>, status: LoginStatus) -> Self {
        Self {
            transit: false,
            current_stage: request.current_stage,
            next_stage: 0,
            isid: request.isid,
            tsih: request.tsih,
            initiator_task_tag: request.initiator_task_tag,
            status,
            text: Vec::new(),
        }
    }

    /// Appends the PDU. Version 0 is the only one there is.
    pub fn encode(&self, numbers: SequenceNumbers, out: &mut Vec<u8>) {
        LoginResponse {
            transit: self.transit,
            continues: false,
            current_stage: self.current_stage,
            next_stage: self.next_stage,
            version_max: 0,
            version_active: 0,
            isid: self.isid,
            tsih: self.tsih,
            initiator_task_tag: self.initiator_task_tag,
            numbers,
            status: self.status,
            text: &self.text,
        }
        .encode(out);
    }
}

/// Why a login fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{why} (login status {:#06x})", status.code())]
pub struct Refusal {
    /// What the initiator is told.
    pub status: LoginStatus,
    /// For the log: what is wrong. Holds no text of the initiator.
    pub why: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: LoginStatus, why: &'static str) -> Self {
        Self { status, why }
    }

    pub(super) const fn error(why: &'static str) -> Self {
        Self::new(LoginStatus::InitiatorError, why)
    }

    pub(super) const fn authentication(why: &'static str) -> Self {
        Self::new(LoginStatus::AuthenticationFailure, why)
    }
}

/// What to do after a login request.
#[derive(Clone, Debug)]
pub enum LoginStep {
    /// Send the reply and wait for the next request.
    Reply(LoginReply),
    /// Send the reply; the full feature phase begins after it.
    Done(LoginReply, Box<Negotiated>),
    /// Send the reply and close the connection.
    Failed(LoginReply, Refusal),
}
