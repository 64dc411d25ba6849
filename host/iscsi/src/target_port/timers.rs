//! What is due although nothing was received.

use std::time::Instant;

use super::Target;
use crate::connection::{Due, Life};
use crate::pdu::header::{Lun, RESERVED_TAG};
use crate::pdu::response::NopIn;
use crate::slab::Key;
use crate::task::{Stage, Task};

impl Target {
    /// Does what is due, and says when to look again; never if there is no connection. No deadline is missed by
    /// more than it takes to get here: whatever begins later than now is due later than the shortest limit.
    pub(crate) fn tick(&mut self) -> Option<Instant> {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) =
                self.connections.get(key).filter(|connection| connection.life != Life::Dead)
            else {
                continue;
            };
            let (moment, due) = connection.due(&self.limits);
            if moment <= self.now {
                self.do_due(key, due);
            }
        }
        let next_data = self.lose_without_data();
        let limits = &self.limits;
        let shortest = limits
            .login_timeout
            .min(limits.refusal_delay)
            .min(limits.pdu_timeout)
            .min(limits.ping_after)
            .min(limits.ping_timeout)
            .min(limits.output_timeout)
            .min(limits.logout_grace);
        let next = self.connections.iter().map(|(_, connection)| connection.due(limits).0).min()?;
        let next = next_data.map_or(next, |data| next.min(data));
        Some(next.min(self.now + shortest).max(self.now))
    }

    fn do_due(&mut self, key: Key, due: Due) {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        match due {
            Due::LoginOver => self.login_over(key),
            Due::LogoutOver => self.give_up_logout(key),
            Due::Silent => self.lose(key, &"no answer to the target's ping"),
            Due::PartialPdu => self.lose(key, &"a PDU was begun and not completed in time"),
            Due::Stalled => self.lose(key, &"the initiator takes no data"),
            Due::Ping => self.ping(key),
            // Commands that run get their answers first; the server's own patience bounds this.
            Due::Leave if session.is_some_and(|session| self.has_answerable_tasks(session)) => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.clock.asked_to_leave = Some(self.now);
                }
            }
            Due::Answer => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.clock.held_until = None;
                }
                self.touch(key);
            }
            Due::Leave => {
                if let Some(session) = session {
                    self.end_session(session, Life::Ending);
                }
            }
        }
    }

    /// Whether commands of a session are in progress, on any of its connections: they end with it.
    fn has_answerable_tasks(&self, session: Key) -> bool {
        let answerable = |task: &Task| task.session == session && !task.aborted && task.stage != Stage::Early;
        self.tasks.iter().any(|(_, task)| answerable(task))
    }

    /// Loses connections whose writes have been asked for data, or have announced it, when for `pdu_timeout` none has
    /// come on the connection for any of them: they keep memory from others. Says when to look again.
    fn lose_without_data(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut late = Vec::new();
        for (_, task) in self.tasks.iter() {
            let waits = task.stage == Stage::Collecting && !task.incoming.bursts.is_empty();
            let Some(asked) = task.incoming.asked.filter(|_| waits) else { continue };
            let Some(connection) = self.connections.get(task.connection) else { continue };
            if connection.clock.stalled_since.is_some() {
                // What it was asked may wait to be sent.
                continue;
            }
            let due = asked.max(connection.clock.data) + self.limits.pdu_timeout;
            if due <= self.now {
                late.push(task.connection);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        for key in late {
            self.lose(key, &"data of writes that it was asked for does not come");
        }
        next
    }

    /// A login took too long: that of the initiator, or what it had to wait for.
    fn login_over(&mut self, key: Key) {
        if !self.refuse_waiting(key) {
            self.lose(key, &"login took too long");
        }
    }

    /// Asks whether the initiator is alive (RFC 7143 11.19).
    fn ping(&mut self, key: Key) {
        let tag = self.new_transfer_tag();
        let numbers = self.plain_numbers(key);
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ping = NopIn {
            lun: Lun::default(),
            initiator_task_tag: RESERVED_TAG,
            target_transfer_tag: tag,
            numbers,
            data: &[],
        };
        ping.encode(connection.digests, connection.output.tail());
        connection.clock.ping = Some(now);
        self.touch(key);
    }
}
