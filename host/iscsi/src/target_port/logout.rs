//! Logout (RFC 7143 11.14, 11.15).

use super::Target;
use crate::connection::Life;
use crate::pdu::codes::{LogoutReason, LogoutResult};
use crate::pdu::request::LogoutRequest;
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
        let tag = request.initiator_task_tag;
        if result != LogoutResult::Closed {
            return self.finish_logout(key, tag, result);
        }
        // While the connection has a session to take them from.
        let numbers = victim.is_none_or(|victim| victim == key).then(|| self.status_numbers(key));
        let departure = match victim {
            None => self.end_session(session_key, Life::Ending),
            Some(victim) if victim == key => self.end_connection(key, Life::Ending),
            Some(victim) => self.end_connection(victim, Life::Dead),
        };
        self.logout_after(departure, key, tag, numbers);
    }
}
