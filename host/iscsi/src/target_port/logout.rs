//! Logout (RFC 7143 11.14, 11.15).

use super::Target;
use crate::connection::Life;
use crate::pdu::codes::{LogoutReason, LogoutResult};
use crate::pdu::request::LogoutRequest;
use crate::pdu::response::LogoutResponse;
use crate::slab::Key;

impl Target {
    pub(super) fn logout(&mut self, key: Key, request: &LogoutRequest) {
        let Some(session_key) = self.connections.get(key).and_then(|connection| connection.session) else {
            return;
        };
        let named = self.sessions.get(session_key).and_then(|session| {
            let has_cid = |&&other: &&Key| {
                self.connections.get(other).is_some_and(|connection| connection.cid == request.cid)
            };
            session.connections.iter().find(has_cid).copied()
        });
        let (result, victim) = match (request.reason, named) {
            (LogoutReason::CloseSession, _) => (LogoutResult::Closed, None),
            (LogoutReason::CloseConnection, Some(victim)) => (LogoutResult::Closed, Some(victim)),
            (LogoutReason::CloseConnection, None) => (LogoutResult::CidNotFound, None),
            (LogoutReason::RemoveForRecovery, _) => (LogoutResult::RecoveryNotSupported, None),
        };
        // Before the answer: it must be the last PDU of the connection (RFC 7143 11.15).
        match (result, victim) {
            (LogoutResult::Closed, Some(victim)) if victim != key => self.end_connection(victim, Life::Dead),
            _ => {}
        }
        let numbers = self.status_numbers(key);
        if let Some(connection) = self.connections.get_mut(key) {
            let response = LogoutResponse {
                initiator_task_tag: request.initiator_task_tag,
                numbers,
                result,
                time2wait: 0,
                time2retain: 0,
            };
            response.encode(connection.digests, connection.output.tail());
            self.touch(key);
        }
        match (result, victim) {
            (LogoutResult::Closed, None) => self.end_session(session_key, Life::Ending),
            (LogoutResult::Closed, Some(victim)) if victim == key => self.end_connection(key, Life::Ending),
            _ => {}
        }
    }
}
