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
        let limits = &self.limits;
        let shortest = limits
            .login_timeout
            .min(limits.pdu_timeout)
            .min(limits.ping_after)
            .min(limits.ping_timeout)
            .min(limits.output_timeout)
            .min(limits.logout_grace);
        let next = self.connections.iter().map(|(_, connection)| connection.due(limits).0).min()?;
        Some(next.min(self.now + shortest).max(self.now))
    }

    fn do_due(&mut self, key: Key, due: Due) {
        let has_tasks = || {
            let answerable = |task: &Task| {
                task.connection == key
                    && !task.aborted
                    && matches!(task.stage, Stage::Waiting | Stage::Running(_))
            };
            self.tasks.iter().any(|(_, task)| answerable(task))
        };
        match due {
            Due::LoginOver => self.lose(key, &"login took too long"),
            Due::Silent => self.lose(key, &"no answer to the target's ping"),
            Due::PartialPdu => self.lose(key, &"a PDU was begun and not completed in time"),
            Due::Stalled => self.lose(key, &"the initiator takes no data"),
            Due::Ping => self.ping(key),
            // Commands that run get their answers first; the server's own patience bounds this.
            Due::Leave if has_tasks() => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.clock.asked_to_leave = Some(self.now);
                }
            }
            Due::Leave => {
                let session = self.connections.get(key).and_then(|connection| connection.session);
                if let Some(session) = session {
                    self.end_session(session, Life::Ending);
                }
            }
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
