//! Ends of SCSI commands: data, status and residuals to the initiator (RFC 7143 11.4 and 11.7).

use lunbox_scsi::Sense;

use super::Target;
use crate::lun::Ended;
use crate::pdu::header::RESERVED_TAG;
use crate::pdu::response::{DataIn, DataInStatus, Residual, ScsiResponse};
use crate::slab::Key;
use crate::status::Moved;
use crate::target_core::sense;
use crate::target_core::status;
use crate::target_core::transfer::{Transfer, residual};
use crate::task::{Doer, Stage, Task};

/// What an initiator is told about its command.
struct Answer<'a> {
    status: u8,
    sense: &'a [u8],
    data: &'a [u8],
    residual: Residual,
}

impl Target {
    /// A LUN has ended a command.
    pub(super) fn ended(&mut self, number: usize, ended: Ended<'_>) {
        let key = Key::from_bits(ended.token);
        let Some(unit) = self.units.get_mut(number) else { return };
        let Some(task) = self.tasks.get(key) else {
            tracing::error!(lun = number, name = unit.name, "LUN ended a command that was not running");
            return;
        };
        unit.running = unit.running.saturating_sub(1);
        // With any other status nothing was moved, however long the buffer.
        let moves = matches!(ended.status, status::GOOD | status::CHECK_CONDITION);
        let data = if moves { ended.data_in } else { &[] };
        if let Some(counters) = self.counters.luns.get(number) {
            let moved = match task.plan {
                Ok(Transfer::In(_)) => Moved::In(data.len() as u64),
                Ok(Transfer::Out(bytes)) => Moved::Out(u64::from(bytes)),
                Ok(Transfer::None) | Err(_) => Moved::Nothing,
            };
            let took = self.now.saturating_duration_since(task.began);
            counters.ended(moved, ended.status == status::GOOD, took);
            counters.in_flight.set(unit.running as u64);
        }
        let check = ended.status == status::CHECK_CONDITION;
        let sense = if check { &ended.sense[..sense::length(ended.sense)] } else { &[] };
        let Some(task) = self.remove_task(key) else { return };
        if task.aborted {
            return;
        }
        let moved = match task.plan {
            Ok(Transfer::Out(bytes)) => u64::from(bytes),
            _ if !task.takes_data => 0,
            _ => data.len() as u64,
        };
        let residual = residual(task.expected, moved);
        self.send_answer(&task, &Answer { status: ended.status, sense, data, residual });
    }

    /// GOOD with data that this side made.
    pub(super) fn answer_data(&mut self, key: Key, data: &[u8]) {
        if let Some(task) = self.remove_task(key) {
            let moved = if task.takes_data { data.len() as u64 } else { 0 };
            let residual = residual(task.expected, moved);
            self.send_answer(&task, &Answer { status: status::GOOD, sense: &[], data, residual });
        }
    }

    /// Another end that this side made; nothing was moved.
    pub(super) fn answer_status(&mut self, key: Key, status: u8, sense: Option<Sense>) {
        let expected = self.tasks.get(key).map_or(0, |task| task.expected);
        self.answer_without_data(key, status, sense, residual(expected, 0));
    }

    /// CHECK CONDITION for a command whose lengths do not fit.
    pub(super) fn answer_refusal(&mut self, key: Key, sense: Sense, residual: Residual) {
        self.answer_without_data(key, status::CHECK_CONDITION, Some(sense), residual);
    }

    fn answer_without_data(&mut self, key: Key, status: u8, sense: Option<Sense>, residual: Residual) {
        if let Some(task) = self.remove_task(key) {
            let fixed = sense.map(Sense::fixed);
            let sense = fixed.as_ref().map_or(&[][..], |fixed| &fixed[..sense::length(fixed)]);
            self.send_answer(&task, &Answer { status, sense, data: &[], residual });
        }
    }

    /// Takes a command out of everything that knows it. Its functions are answered if they waited for nothing else.
    pub(super) fn remove_task(&mut self, key: Key) -> Option<Task> {
        let mut task = self.tasks.remove(key)?;
        if let Some(session) = self.sessions.get_mut(task.session) {
            session.tasks.remove(&task.tag);
            if task.counted {
                session.numbering.task_ended();
            } else if !task.numbered {
                session.immediate = session.immediate.saturating_sub(1);
            }
        }
        if (task.reserved > 0 || task.stage == Stage::Throttled)
            && let Some(connection) = self.connections.get_mut(task.connection)
        {
            connection.reading -= u64::from(task.reserved);
            if !connection.reads.is_empty() {
                if task.stage == Stage::Throttled {
                    connection.reads.retain(|&other| other != key);
                }
                // The next ones begin when the connection has been looked after.
                self.touch(task.connection);
            }
        }
        let incoming = std::mem::take(&mut task.incoming);
        let (charged, in_line) = (incoming.charged > 0, incoming.in_line);
        self.release_incoming(task.session, incoming);
        if in_line {
            self.leave_line(task.session, key);
        }
        if charged || in_line {
            // Another may be first in line now, which needs less.
            self.resume_short_of_memory(task.session);
        }
        for function in std::mem::take(&mut task.waiters) {
            self.one_less_pending(function);
        }
        Some(task)
    }

    fn send_answer(&mut self, task: &Task, answer: &Answer<'_>) {
        let Some(max_burst) = self.sessions.get(task.session).map(|session| session.parameters.max_burst)
        else {
            return;
        };
        let Some(connection) = self.connections.get_mut(task.connection) else { return };
        let stat_sn = connection.take_stat_sn();
        let numbers = self.numbers(task.connection, stat_sn);
        let Some(connection) = self.connections.get_mut(task.connection) else { return };
        let (digests, limit) = (connection.digests, connection.send_limit);
        let out = connection.output.tail();

        let wanted = usize::try_from(task.expected).unwrap_or(usize::MAX);
        let data = if task.takes_data { answer.data } else { &[] };
        let data = &data[..data.len().min(wanted)];
        let collapsed = answer.status == status::GOOD && !data.is_empty();
        let max_burst = usize::try_from(max_burst).unwrap_or(usize::MAX);
        let (mut offset, mut data_sn) = (0, 0);
        while offset < data.len() {
            // A PDU ends where its sequence ends (RFC 7143 11.7.2).
            let left_of_burst = max_burst - offset % max_burst;
            let end = data.len().min(offset + limit.min(left_of_burst));
            let last = end == data.len();
            let pdu = DataIn {
                is_final: last || end.is_multiple_of(max_burst),
                status: (last && collapsed)
                    .then_some(DataInStatus { status: answer.status, residual: answer.residual }),
                initiator_task_tag: task.tag,
                numbers,
                data_sn,
                buffer_offset: u32::try_from(offset).unwrap_or(u32::MAX),
                data: &data[offset..end],
            };
            pdu.encode(digests, out);
            offset = end;
            data_sn += 1;
        }
        if !collapsed {
            let response = ScsiResponse {
                initiator_task_tag: task.tag,
                numbers,
                target_failure: false,
                status: answer.status,
                exp_data_sn: data_sn + task.r2ts,
                residual: answer.residual,
                bidi_residual: task.bidi_expected.map_or(Residual::None, |read| residual(read, 0)),
                sense: &answer.sense[..answer.sense.len().min(limit.saturating_sub(2))],
            };
            response.encode(digests, out);
        }
        debug_assert!(task.tag != RESERVED_TAG, "requests with the reserved tag are malformed");
        if let Doer::Lun(number) = task.doer
            && answer.status != status::GOOD
        {
            tracing::debug!(lun = number, status = answer.status, cdb = ?task.cdb, "command ended");
        }
        self.touch(task.connection);
    }
}
