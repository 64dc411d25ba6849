//! The data of writes: R2Ts and the Data-Out PDUs that answer them (RFC 7143 4.2.5.2, 11.7, 11.8).

use lunbox_scsi::Sense;

use super::Target;
use crate::pdu::codes::RejectReason;
use crate::pdu::header::Bhs;
use crate::pdu::request::DataOut;
use crate::pdu::response::R2t;
use crate::slab::Key;
use crate::target_core::sense::{
    CRC_ERROR, DATA_OFFSET_ERROR, DATA_PHASE_ERROR, INCORRECT_AMOUNT, INVALID_TRANSFER_TAG, TOO_MUCH_DATA,
    UNEXPECTED_UNSOLICITED,
};
use crate::target_core::status;
use crate::target_core::transfer::Transfer;
use crate::task::{Burst, MAX_BURSTS, Stage};

impl Target {
    /// Asks for as much of a write's data as may be asked for at a time.
    pub(super) fn request_data(&mut self, key: Key) {
        let Some(task) = self.tasks.get(key) else { return };
        let (connection_key, session_key) = (task.connection, task.session);
        let Some(parameters) = self.sessions.get(session_key).map(|session| session.parameters) else {
            return;
        };
        // Sequences come in order (DataSequenceInOrder): the rest is asked for behind the unsolicited data.
        let unsolicited = task.incoming.bursts.iter().any(|burst| burst.tag.is_none());
        if unsolicited || task.incoming.spoiled.is_some() || !self.may_ask(key) {
            return;
        }
        let outstanding = parameters.max_outstanding_r2t.clamp(1, MAX_BURSTS);
        let numbers = self.plain_numbers(connection_key);
        loop {
            let tag = self.new_transfer_tag();
            let Some(task) = self.tasks.get_mut(key) else { return };
            let Some(connection) = self.connections.get_mut(connection_key) else { return };
            let incoming = &mut task.incoming;
            let solicited = incoming.bursts.iter().filter(|burst| burst.tag.is_some()).count();
            let left = incoming.wanted.saturating_sub(incoming.requested);
            if left == 0 || solicited >= outstanding {
                break;
            }
            let length = left.min(parameters.max_burst);
            let offset = incoming.requested;
            let r2t = R2t {
                lun: task.lun,
                initiator_task_tag: task.tag,
                target_transfer_tag: tag,
                numbers,
                r2t_sn: task.r2ts,
                buffer_offset: offset,
                desired_length: length,
            };
            incoming.bursts.push(Burst { tag: Some(tag), next: offset, end: offset + length, data_sn: 0 });
            incoming.requested += length;
            task.r2ts += 1;
            incoming.asked = Some(self.now);
            r2t.encode(connection.digests, connection.output.tail());
        }
        self.touch(connection_key);
    }

    /// Counts a write against the memory for writes, or lets it wait in line.
    fn may_ask(&mut self, key: Key) -> bool {
        let Some(task) = self.tasks.get_mut(key) else { return false };
        if task.incoming.charged > 0 || task.incoming.requested >= task.incoming.wanted {
            return true;
        }
        let session_key = task.session;
        let Some(session) = self.sessions.get_mut(session_key) else { return false };
        // Nobody overtakes those in line. But each session has the right to one write at a time, so that no other
        // can keep it waiting, and so that a write larger than all of the memory gets its turn.
        let fits = self.short_of_memory.is_empty()
            && self.charged + u64::from(task.incoming.wanted) <= self.limits.write_memory;
        if session.charged == 0 || fits {
            self.charge(key);
            return true;
        }
        if !std::mem::replace(&mut task.incoming.in_line, true) {
            session.short_of_memory.push_back(key);
            if !std::mem::replace(&mut session.in_line, true) {
                self.short_of_memory.push_back(session_key);
            }
        }
        false
    }

    /// Counts a write against the memory for writes.
    fn charge(&mut self, key: Key) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let wanted = u64::from(task.incoming.wanted);
        task.incoming.charged = wanted;
        task.incoming.in_line = false;
        self.charged += wanted;
        if let Some(session) = self.sessions.get_mut(task.session) {
            session.charged += wanted;
        }
    }

    /// Writes of a session have given memory back, or need none any more. Sessions take turns: the one that got
    /// memory goes to the end of the line.
    pub(super) fn resume_short_of_memory(&mut self, session: Key) {
        if let Some(session) = self.sessions.get_mut(session).filter(|session| session.charged == 0)
            && let Some(key) = session.short_of_memory.pop_front()
        {
            self.charge(key);
            self.request_data(key);
        }
        while let Some(&session_key) = self.short_of_memory.front() {
            let session = self.sessions.get_mut(session_key);
            let first = session.and_then(|session| {
                session.in_line = !session.short_of_memory.is_empty();
                session.short_of_memory.front().copied()
            });
            let Some(first) = first else {
                self.short_of_memory.pop_front();
                continue;
            };
            let wanted = self.tasks.get(first).map_or(0, |task| u64::from(task.incoming.wanted));
            if self.charged + wanted > self.limits.write_memory {
                return;
            }
            self.short_of_memory.rotate_left(1);
            if let Some(session) = self.sessions.get_mut(session_key) {
                session.short_of_memory.pop_front();
            }
            self.charge(first);
            self.request_data(first);
        }
    }

    /// A write that waits in line for memory has ended.
    pub(super) fn leave_line(&mut self, session: Key, key: Key) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.short_of_memory.retain(|&other| other != key);
        }
    }

    /// A Data-Out PDU. Data for a command that has ended is dropped: the initiator may have sent it before it
    /// learned of the end.
    pub(super) fn data_out(&mut self, connection: Key, bhs: Bhs, pdu: &DataOut<'_>, intact: bool) {
        let session = self.connections.get(connection).and_then(|connection| connection.session);
        let session = session.and_then(|session| self.sessions.get(session));
        let key = session.and_then(|session| session.tasks.get(&pdu.initiator_task_tag).copied());
        let Some((key, task)) = key.and_then(|key| Some((key, self.tasks.get_mut(key)?))) else { return };
        if task.connection != connection {
            // Allegiance: all PDUs of a command take one connection (RFC 7143 4.2.2).
            return self.reject(connection, RejectReason::ProtocolError, bhs);
        }
        let wanted = matches!(task.plan, Ok(Transfer::Out(_)));
        if !wanted && !task.takes_data && pdu.target_transfer_tag.is_none() {
            // A write that moves nothing. The initiator could not know, and the command may have ended by now.
            return;
        }
        if !wanted || !matches!(task.stage, Stage::Early | Stage::Collecting) {
            return self.reject(connection, RejectReason::ProtocolError, bhs);
        }
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.clock.data = self.now;
        }
        // The length counts even where the digest says that the bytes do not.
        let length = bhs.data_segment_length();
        match advance(&mut task.incoming.bursts, pdu, length) {
            Err(sense) => {
                self.reject(connection, RejectReason::ProtocolError, bhs);
                self.answer_status(key, status::CHECK_CONDITION, Some(sense));
            }
            Ok(()) => {
                if intact {
                    task.incoming.store(pdu.buffer_offset, pdu.data);
                } else {
                    task.incoming.spoiled = Some(CRC_ERROR);
                    self.reject(connection, RejectReason::DataDigestError, bhs);
                }
                self.go_on_collecting(key);
            }
        }
    }
}

/// Checks a PDU against the sequence that it says it belongs to, and moves that on.
fn advance(bursts: &mut Vec<Burst>, pdu: &DataOut<'_>, length: u32) -> Result<(), Sense> {
    let unknown = match pdu.target_transfer_tag {
        None => UNEXPECTED_UNSOLICITED,
        Some(_) => INVALID_TRANSFER_TAG,
    };
    let at = bursts.iter().position(|burst| burst.tag == pdu.target_transfer_tag).ok_or(unknown)?;
    let burst = &mut bursts[at];
    if pdu.data_sn != burst.data_sn {
        return Err(DATA_PHASE_ERROR);
    }
    if pdu.buffer_offset != burst.next {
        return Err(DATA_OFFSET_ERROR);
    }
    if length > burst.end - burst.next {
        return Err(TOO_MUCH_DATA);
    }
    if length == 0 && !pdu.is_final {
        // Nothing would ever end such a sequence.
        return Err(DATA_PHASE_ERROR);
    }
    burst.next += length;
    burst.data_sn += 1;
    match (pdu.is_final, burst.next == burst.end) {
        (true, true) => {
            bursts.swap_remove(at);
            Ok(())
        }
        (true, false) => Err(INCORRECT_AMOUNT),
        // All that was asked for has come and the sequence does not end.
        (false, true) => Err(DATA_PHASE_ERROR),
        (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::header::Lun;

    fn pdu(tag: Option<u32>, data_sn: u32, buffer_offset: u32, is_final: bool) -> DataOut<'static> {
        DataOut {
            is_final,
            lun: Lun::default(),
            initiator_task_tag: 7,
            target_transfer_tag: tag,
            exp_stat_sn: 0,
            data_sn,
            buffer_offset,
            data: &[],
        }
    }

    fn bursts() -> Vec<Burst> {
        vec![
            Burst { tag: None, next: 0, end: 1024, data_sn: 0 },
            Burst { tag: Some(5), next: 4096, end: 8192, data_sn: 0 },
        ]
    }

    #[test]
    fn sequences_go_on_side_by_side() {
        let mut bursts = bursts();
        assert_eq!(advance(&mut bursts, &pdu(Some(5), 0, 4096, false), 1000), Ok(()));
        assert_eq!(advance(&mut bursts, &pdu(None, 0, 0, true), 1024), Ok(()));
        assert_eq!(bursts, [Burst { tag: Some(5), next: 5096, end: 8192, data_sn: 1 }]);
        assert_eq!(advance(&mut bursts, &pdu(Some(5), 1, 5096, true), 3096), Ok(()));
        assert!(bursts.is_empty());
    }

    #[test]
    fn every_lie_is_found() {
        let cases = [
            (pdu(Some(6), 0, 4096, false), 512, INVALID_TRANSFER_TAG),
            (pdu(Some(5), 1, 4096, false), 512, DATA_PHASE_ERROR),
            (pdu(Some(5), 0, 4097, false), 512, DATA_OFFSET_ERROR),
            (pdu(Some(5), 0, 0, false), 512, DATA_OFFSET_ERROR),
            (pdu(Some(5), 0, 4096, true), 4097, TOO_MUCH_DATA),
            (pdu(Some(5), 0, 4096, true), 4095, INCORRECT_AMOUNT),
            (pdu(Some(5), 0, 4096, false), 4096, DATA_PHASE_ERROR),
            (pdu(None, 0, 0, true), 512, INCORRECT_AMOUNT),
            (pdu(Some(5), 0, 4096, false), 0, DATA_PHASE_ERROR),
        ];
        for (pdu, length, sense) in cases {
            assert_eq!(advance(&mut bursts(), &pdu, length), Err(sense), "{pdu:?}");
        }
        assert_eq!(advance(&mut Vec::new(), &pdu(None, 0, 0, true), 512), Err(UNEXPECTED_UNSOLICITED));
    }
}
