//! Sessions and connections that have gone while LUNs still had their commands. Such a command may still be done,
//! so that a write of the old session could land on top of one of the new session, which has been answered. Hence
//! the next login of the same initiator, and the answer to a logout, wait until these commands have left their LUNs.
//!
//! Initiators are told apart by their names alone: some take a new ISID each time. Nobody waits longer than
//! `login_timeout`: the login is then refused (RFC 7143 11.13.5: 0301h, service unavailable) and may be tried again,
//! and the logout is answered with 3, cleanup failed (RFC 7143 11.15.1).

use super::{Pending, Target, Then};
use crate::connection::{Admission, Leaving, Life, Phase};
use crate::lun::TaskManagement as Kind;
use crate::pdu::codes::{LoginStatus, LogoutResult};
use crate::pdu::response::{LogoutResponse, SequenceNumbers};
use crate::slab::Key;
use crate::task::{Stage, Task};

impl Target {
    /// Ends the commands of a session or connection that goes. Returns what waits for those that LUNs have, if there
    /// are any.
    pub(super) fn depart(&mut self, initiator: &str, victims: &[Key]) -> Option<Key> {
        let runs = |task: &Task| matches!(task.stage, Stage::Running(_));
        let any = victims.iter().any(|&victim| self.tasks.get(victim).is_some_and(runs));
        let departure = any.then(|| {
            let then = Then::Departure { initiator: initiator.to_owned(), logout: None };
            self.pending.insert(Pending { remaining: 0, then })
        });
        self.end_tasks(victims, departure, Kind::AbortTaskSet);
        departure
    }

    /// Whether LUNs have commands of sessions or connections of this initiator that have gone.
    fn is_departing(&self, name: &str) -> bool {
        self.pending.iter().any(|(_, pending)| match &pending.then {
            Then::Departure { initiator, .. } => initiator == name,
            Then::Function { .. } => false,
        })
    }

    /// All commands of something that has gone have ended.
    pub(super) fn departed(&mut self, logout: Option<(Key, u32)>) {
        // Not here: a LUN is calling back, and could not be given commands.
        self.departed = true;
        if let Some((connection, tag)) = logout {
            self.finish_logout(connection, tag, LogoutResult::Closed);
        }
    }

    /// Lets a login wait if it has to; gives it back if it need not.
    pub(super) fn admit_later(&mut self, key: Key, admission: Box<Admission>) -> Option<Box<Admission>> {
        if !self.is_departing(&admission.negotiated.initiator_name) {
            return Some(admission);
        }
        let initiator = &admission.negotiated.initiator_name;
        tracing::info!(initiator, "login waits for commands of a session that has ended");
        if let Some(connection) = self.connections.get_mut(key) {
            connection.phase = Phase::Admitted(admission);
        }
        None
    }

    /// Answers the logins that need not wait any more.
    pub(super) fn admit_waiting(&mut self) {
        if !std::mem::take(&mut self.departed) {
            return;
        }
        let waits = |phase: &Phase| matches!(phase, Phase::Admitted(_));
        let keys: Vec<Key> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_open() && waits(&connection.phase))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            if let Some(admission) = self.take_admission(key) {
                self.enter(key, admission);
            }
        }
    }

    /// Ends the wait of a login.
    fn take_admission(&mut self, key: Key) -> Option<Box<Admission>> {
        let connection = self.connections.get_mut(key)?;
        match std::mem::replace(&mut connection.phase, Phase::Full) {
            Phase::Admitted(admission) => Some(admission),
            other => {
                connection.phase = other;
                None
            }
        }
    }

    /// A login took too long. Says whether it did so because it had to wait: then it is answered.
    pub(super) fn refuse_waiting(&mut self, key: Key) -> bool {
        let Some(admission) = self.take_admission(key) else { return false };
        let initiator = &admission.negotiated.initiator_name;
        tracing::info!(initiator, "login refused: commands of a session that has ended are still running");
        self.forget_admission(&admission);
        self.refuse_admission(key, *admission, LoginStatus::ServiceUnavailable);
        true
    }

    /// A connection is closed: if it was to take the place of the last one of a session, that ends.
    pub(super) fn forget_admission(&mut self, admission: &Admission) {
        let negotiated = &admission.negotiated;
        if !negotiated.is_leading()
            && let Some(key) = self.session_to_join(negotiated)
            && self.sessions.get(key).is_some_and(|session| session.connections.is_empty())
        {
            self.end_session(key, Life::Dead);
        }
    }

    /// Answers a logout when what it waits for has happened: now, if that is nothing. `numbers` are given if the
    /// connection is the one that goes.
    pub(super) fn logout_after(
        &mut self,
        departure: Option<Key>,
        connection: Key,
        tag: u32,
        numbers: Option<SequenceNumbers>,
    ) {
        if let (Some(numbers), Some(connection)) = (numbers, self.connections.get_mut(connection)) {
            connection.life = Life::Leaving;
            connection.leaving = Some(Leaving { tag, numbers, since: self.now });
        }
        match departure.and_then(|departure| self.pending.get_mut(departure)).map(|pending| &mut pending.then)
        {
            Some(Then::Departure { logout, .. }) => *logout = Some((connection, tag)),
            _ => self.finish_logout(connection, tag, LogoutResult::Closed),
        }
    }

    /// The commands that a logout waits for take too long.
    pub(super) fn give_up_logout(&mut self, key: Key) {
        let leaving = self.connections.get(key).and_then(|connection| connection.leaving);
        if let Some(Leaving { tag, .. }) = leaving {
            tracing::info!("logout: commands of the session are still running");
            self.finish_logout(key, tag, LogoutResult::CleanupFailed);
        }
    }

    /// Answers a logout, unless its connection has gone or it has been answered.
    pub(super) fn finish_logout(&mut self, key: Key, tag: u32, result: LogoutResult) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let numbers = match (connection.leaving.take(), connection.life) {
            (Some(leaving), _) => leaving.numbers,
            (None, Life::Open) => self.status_numbers(key),
            (None, Life::Leaving | Life::Ending | Life::Dead) => return,
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.life == Life::Leaving {
            // It is the last PDU of the connection (RFC 7143 11.15).
            connection.life = Life::Ending;
        }
        let response =
            LogoutResponse { initiator_task_tag: tag, numbers, result, time2wait: 0, time2retain: 0 };
        response.encode(connection.digests, connection.output.tail());
        self.touch(key);
    }
}
