//! Ends of connections and sessions.

use std::fmt::Display;

use super::Target;
use crate::connection::{Life, Phase};
use crate::pdu::codes::AsyncEvent;
use crate::pdu::header::Lun;
use crate::pdu::response::AsyncMessage;
use crate::slab::Key;

impl Target {
    /// The byte stream of a connection is of no use any more: it is closed, and with it its session (error recovery
    /// level 0: RFC 7143 7.1.4.1).
    pub(crate) fn lose(&mut self, key: Key, why: &dyn Display) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.life == Life::Dead {
            return;
        }
        let peer = connection.peer;
        let was_open = connection.is_open();
        connection.life = Life::Dead;
        let session = connection.session;
        if !was_open {
            tracing::debug!(%peer, %why, "connection cut");
        } else if matches!(connection.phase, Phase::Login(_) | Phase::Admitted(_)) {
            self.counters.logins_failed.add(1);
            tracing::info!(%peer, %why, "connection closed during login");
        } else if session.is_some() {
            tracing::info!(%peer, %why, "connection lost");
        }
        self.touch(key);
        if let Some(session) = session {
            self.end_session(session, Life::Dead);
        }
    }

    /// The peer has closed its side.
    pub(crate) fn closed_by_peer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.life == Life::Ending || connection.session.is_none() {
            // After a logout, or before a login: nothing is lost.
            connection.life = Life::Dead;
            self.touch(key);
        } else {
            self.lose(key, &"closed by the initiator without a logout");
        }
    }

    /// Forgets a connection that is closed.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            if let Some(session) = connection.session.and_then(|session| self.sessions.get_mut(session)) {
                session.connections.retain(|&other| other != key);
            }
            if let Phase::Admitted(admission) = &connection.phase {
                self.forget_admission(admission);
            }
        }
        self.counters.connections.set(self.connections.len() as u64);
    }

    /// Ends a session: its commands are aborted, its connections closed in the given way. Returns what waits for
    /// the commands that LUNs have.
    pub(super) fn end_session(&mut self, key: Key, life: Life) -> Option<Key> {
        // Out of the list first: what ends now has nobody to answer to.
        let session = self.sessions.remove(key)?;
        self.forget_functions(key);
        self.short_of_memory.retain(|&other| other != key);
        let victims: Vec<Key> = session.tasks.values().copied().collect();
        let departure = self.depart(&session.initiator, &victims);
        for connection_key in session.connections {
            if let Some(connection) = self.connections.get_mut(connection_key) {
                connection.session = None;
                if connection.life != Life::Dead {
                    connection.life = life;
                }
                self.touch(connection_key);
            }
        }
        self.counters.sessions.set(self.sessions.len() as u64);
        tracing::info!(initiator = session.initiator, tsih = session.tsih, "session ended");
        departure
    }

    /// Ends one connection of a session; with the last one goes the session. Returns as [`Self::end_session`].
    pub(super) fn end_connection(&mut self, key: Key, life: Life) -> Option<Key> {
        let session_key = self.connections.get(key)?.session?;
        match self.sessions.get(session_key)?.connections.as_slice() {
            &[last] if last == key => self.end_session(session_key, life),
            _ => self.detach(key, life),
        }
    }

    /// Ends a connection without its session: it has others, or a successor comes. Commands that came over it are
    /// aborted. Returns as [`Self::end_session`].
    pub(super) fn detach(&mut self, key: Key, life: Life) -> Option<Key> {
        let connection = self.connections.get_mut(key)?;
        connection.life = life;
        let session_key = connection.session.take()?;
        self.touch(key);
        let session = self.sessions.get_mut(session_key)?;
        session.connections.retain(|&other| other != key);
        let initiator = session.initiator.clone();
        let came_over_it = |task: &Key| self.tasks.get(*task).is_some_and(|task| task.connection == key);
        let victims: Vec<Key> = session.tasks.values().copied().filter(came_over_it).collect();
        self.depart(&initiator, &victims)
    }

    /// The server stops: who is logging in is sent away, who is logged in is asked to leave (RFC 7143 11.9.1), and
    /// no new command is begun.
    pub(crate) fn begin_stop(&mut self) {
        self.stopping = true;
        let seconds = u16::try_from(self.limits.logout_grace.as_secs().max(1)).unwrap_or(u16::MAX);
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let numbers = self.status_numbers(key);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match connection.phase {
                Phase::Login(_) | Phase::Admitted(_) => connection.life = Life::Dead,
                Phase::Full if connection.is_open() => {
                    let message = AsyncMessage {
                        lun: Lun::default(),
                        numbers,
                        event: AsyncEvent::LogoutRequest,
                        vendor_code: 0,
                        parameters: [0, 0, seconds],
                        sense: &[],
                    };
                    message.encode(connection.digests, connection.output.tail());
                    connection.clock.asked_to_leave = Some(self.now);
                }
                Phase::Full => {}
            }
            self.touch(key);
        }
    }

    /// Commands that LUNs have and have not ended.
    pub(crate) fn running(&self) -> usize {
        self.units.iter().map(|unit| unit.running).sum()
    }
}
