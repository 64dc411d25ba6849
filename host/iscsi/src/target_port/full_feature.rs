//! Frames of all phases, and the numbering of those that have a number (RFC 7143 4.2.2.1).

use super::Target;
use crate::connection::{Connection, Phase};
use crate::pdu::codes::{InitiatorOpcode, RejectReason};
use crate::pdu::frame::{DigestCheck, Frame};
use crate::pdu::header::{Bhs, Lun, RESERVED_TAG};
use crate::pdu::request::{Malformed, NopOut, Request, parse};
use crate::pdu::response::NopIn;
use crate::session::{Held, HeldPdu, Turn, distance};
use crate::slab::Key;

/// The numbered opcodes: byte 24 is their CmdSN.
fn cmd_sn(bhs: &Bhs) -> Option<u32> {
    match bhs.initiator_opcode()? {
        InitiatorOpcode::NopOut
        | InitiatorOpcode::ScsiCommand
        | InitiatorOpcode::TaskManagement
        | InitiatorOpcode::Text
        | InitiatorOpcode::Logout => Some(bhs.u32_at(24)),
        InitiatorOpcode::Login | InitiatorOpcode::DataOut | InitiatorOpcode::Snack => None,
    }
}

impl Target {
    /// A PDU has come.
    pub(super) fn frame(&mut self, key: Key, frame: &Frame<'_>) {
        match self.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Login(_) | Phase::Admitted(_)) => self.login_frame(key, frame),
            Some(Phase::Full) => self.full_frame(key, frame),
            None => {}
        }
    }

    fn full_frame(&mut self, key: Key, frame: &Frame<'_>) {
        let Some(session_key) = self.connections.get(key).and_then(|connection| connection.session) else {
            return;
        };
        let bhs = frame.bhs;
        let turn = match (cmd_sn(&bhs), self.sessions.get(session_key)) {
            (Some(number), Some(session)) => session.numbering.turn(bhs.is_immediate(), number),
            _ => Turn::Now,
        };
        let numbered = cmd_sn(&bhs).filter(|_| !bhs.is_immediate());
        match turn {
            // RFC 7143 4.2.2.1: silently.
            Turn::Never => return,
            Turn::Now if numbered.is_some() => self.advance(session_key),
            Turn::Now | Turn::Early => {}
        }
        match (parse(frame), turn) {
            (Ok(Request::ScsiCommand(command)), turn) => {
                let intact = frame.data_digest != DigestCheck::Bad;
                self.scsi_command(key, bhs, &command, turn, intact);
            }
            (request, Turn::Early) => {
                let refusal = match request {
                    Err(malformed) => Some(malformed.reason),
                    Ok(_) if frame.data_digest == DigestCheck::Bad => Some(RejectReason::DataDigestError),
                    Ok(_) => None,
                };
                let held = match refusal {
                    Some(_) => Held::Void,
                    None => Held::Pdu(Box::new(HeldPdu { connection: key, bhs, data: frame.data.to_vec() })),
                };
                if let (Some(number), Some(session)) = (numbered, self.sessions.get_mut(session_key)) {
                    session.numbering.hold(number, held);
                }
                if let Some(reason) = refusal {
                    self.reject(key, reason, bhs);
                }
            }
            (request, _) => self.act(key, frame, request),
        }
        if numbered.is_some() && turn == Turn::Now {
            self.catch_up(session_key);
        }
    }

    fn advance(&mut self, session: Key) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.numbering.advance();
        }
    }

    /// Acts on what came early and is next now, and on the functions that waited for it.
    pub(super) fn catch_up(&mut self, session_key: Key) {
        loop {
            let Some(session) = self.sessions.get_mut(session_key) else { return };
            if let Some(at) = session
                .deferred
                .iter()
                .position(|deferred| distance(deferred.request.cmd_sn, session.numbering.expected()) <= 0)
            {
                let deferred = session.deferred.remove(at);
                self.run_function(deferred.connection, &deferred.request);
                continue;
            }
            match session.numbering.next_held() {
                None => return,
                Some(Held::Void) => {}
                Some(Held::Command(key)) => self.deliver_held(key),
                Some(Held::Pdu(pdu)) => {
                    let frame =
                        Frame { bhs: pdu.bhs, ahs: &[], data: &pdu.data, data_digest: DigestCheck::Off };
                    // The connection may have been closed meanwhile.
                    if self.connections.get(pdu.connection).is_some_and(Connection::is_open) {
                        self.act(pdu.connection, &frame, parse(&frame));
                    }
                }
            }
        }
    }

    /// Acts on a PDU whose turn has come, other than a SCSI command.
    fn act(&mut self, key: Key, frame: &Frame<'_>, request: Result<Request<'_>, Malformed>) {
        let bhs = frame.bhs;
        let intact = frame.data_digest != DigestCheck::Bad;
        let request = match request {
            Ok(request) => request,
            Err(Malformed { reason, what }) => {
                tracing::debug!(what, "malformed PDU");
                return self.reject(key, reason, bhs);
            }
        };
        if let Request::DataOut(pdu) = request {
            return self.data_out(key, bhs, &pdu, intact);
        }
        if !intact {
            return self.reject(key, RejectReason::DataDigestError, bhs);
        }
        match request {
            Request::NopOut(nop) => self.nop_out(key, &nop),
            Request::TaskManagement(request) => self.task_management(key, bhs, &request),
            Request::Text(request) => self.text(key, bhs, &request),
            Request::Logout(request) => self.logout(key, &request),
            // Error recovery level 0 (RFC 7143 11.16).
            Request::Snack(_) => self.reject(key, RejectReason::SnackReject, bhs),
            Request::Login(_) => self.reject(key, RejectReason::ProtocolError, bhs),
            Request::DataOut(_) | Request::ScsiCommand(_) => {}
        }
    }

    /// A ping is answered with its own data; the answer to the target's ping was noted when its bytes came.
    fn nop_out(&mut self, key: Key, nop: &NopOut<'_>) {
        let Some(tag) = nop.initiator_task_tag else { return };
        let numbers = self.status_numbers(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let answer = NopIn {
            lun: Lun::default(),
            initiator_task_tag: tag,
            target_transfer_tag: RESERVED_TAG,
            numbers,
            data: &nop.data[..nop.data.len().min(connection.send_limit)],
        };
        answer.encode(connection.digests, connection.output.tail());
        self.touch(key);
    }
}
