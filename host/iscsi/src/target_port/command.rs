//! SCSI commands: from the PDU to the LUN.

use lunbox_scsi::Sense;

use super::Target;
use crate::lun::{Data, Refusal};
use crate::pdu::codes::RejectReason;
use crate::pdu::header::{Bhs, Lun};
use crate::pdu::request::ScsiCommand;
use crate::session::{Held, IMMEDIATE_TASKS, SessionParameters, Turn};
use crate::slab::Key;
use crate::target_core::report_luns;
use crate::target_core::sense::{CRC_ERROR, INCORRECT_AMOUNT, UNEXPECTED_UNSOLICITED};
use crate::target_core::stand_in::{StandIn, request_sense};
use crate::target_core::status::{self, opcode};
use crate::target_core::transfer::{Offer, Refused, Transfer, plan};
use crate::task::{Burst, Doer, Incoming, Stage, Task};

/// The number of the well known logical unit REPORT LUNS (SAM-5 4.7.5).
const REPORT_LUNS_UNIT: u8 = 0x01;

/// Places in line that are not worth tidying up.
const FEW: usize = 64;

impl Target {
    /// A SCSI Command PDU. `turn` is never [`Turn::Never`], and the numbering has advanced over it if it is
    /// [`Turn::Now`]. `intact` says that the data digest was right.
    pub(super) fn scsi_command(
        &mut self,
        connection: Key,
        bhs: Bhs,
        command: &ScsiCommand<'_>,
        turn: Turn,
        intact: bool,
    ) {
        let Some(session_key) = self.connections.get(connection).and_then(|connection| connection.session)
        else {
            return;
        };
        let Some(session) = self.sessions.get(session_key) else { return };
        let refuse = if session.tasks.contains_key(&command.initiator_task_tag) {
            Some(RejectReason::TaskInProgress)
        } else if session.discovery {
            Some(RejectReason::ProtocolError)
        } else if command.immediate && session.immediate >= IMMEDIATE_TASKS {
            Some(RejectReason::ImmediateCommandReject)
        } else {
            None
        };
        let parameters = session.parameters;
        if let Some(reason) = refuse {
            if turn == Turn::Early {
                self.hold(session_key, command.cmd_sn, Held::Void);
            }
            return self.reject(connection, reason, bhs);
        }
        if !intact {
            self.reject(connection, RejectReason::DataDigestError, bhs);
        }

        let doer = self.doer(command.lun);
        let plan = self.plan(doer, command, parameters, intact);
        let mut incoming = Incoming::default();
        if command.write {
            incoming = self.spare_incoming();
            if let Ok(Transfer::Out(wanted)) = plan {
                expect_data(&mut incoming, command, parameters, wanted);
            }
        }
        let task = Task {
            session: session_key,
            connection,
            tag: command.initiator_task_tag,
            lun: command.lun,
            doer,
            cdb: command.cdb,
            numbered: !command.immediate,
            counted: !command.immediate && turn == Turn::Now,
            cmd_sn: command.cmd_sn,
            expected: command.expected_length,
            takes_data: !command.write,
            bidi_expected: command.bidi_read_length,
            plan,
            stage: if turn == Turn::Early { Stage::Early } else { Stage::Collecting },
            aborted: false,
            waiters: Vec::new(),
            began: self.now,
            incoming,
            reserved: 0,
            r2ts: 0,
        };
        let key = self.tasks.insert(task);
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.tasks.insert(command.initiator_task_tag, key);
            if command.immediate {
                session.immediate += 1;
            } else if turn == Turn::Now {
                session.numbering.task_began();
            }
        }
        if turn == Turn::Early {
            self.keep_immediate_data(key, command.data);
            self.hold(session_key, command.cmd_sn, Held::Command(key));
        } else {
            self.deliver(key, command.data);
        }
    }

    fn hold(&mut self, session: Key, number: u32, what: Held) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.numbering.hold(number, what);
        }
    }

    fn doer(&self, lun: Lun) -> Doer {
        match lun.number() {
            Some(number) if usize::from(number) < self.units.len() => Doer::Lun(usize::from(number)),
            number if lun.well_known() == Some(REPORT_LUNS_UNIT) => {
                debug_assert!(number.is_none(), "a well known unit has no number");
                Doer::StandIn(StandIn::WellKnown)
            }
            number => Doer::StandIn(StandIn::Absent { zero: number == Some(0) }),
        }
    }

    /// What the command moves, or why it fails whatever comes.
    fn plan(
        &self,
        doer: Doer,
        command: &ScsiCommand<'_>,
        parameters: SessionParameters,
        intact: bool,
    ) -> Result<Transfer, Refused> {
        let expected = command.expected_length;
        let fail = |sense| Err(Refused::new(sense, expected, 0));
        if !intact {
            return fail(CRC_ERROR);
        }
        if command.write {
            let immediate = u32::try_from(command.data.len()).unwrap_or(u32::MAX);
            if immediate > 0 && !parameters.immediate_data {
                return fail(UNEXPECTED_UNSOLICITED);
            }
            if !command.is_final && parameters.initial_r2t {
                return fail(UNEXPECTED_UNSOLICITED);
            }
            if immediate > parameters.first_burst {
                return fail(INCORRECT_AMOUNT);
            }
        }
        if command.bidi_read_length.is_some_and(|length| length > 0) {
            // No command of a disk moves data both ways.
            return fail(Sense::INVALID_COMMAND_OPERATION_CODE);
        }
        let Doer::Lun(number) = doer else { return Ok(Transfer::None) };
        let Some(lun) = self.units.get(number).and_then(|unit| unit.lun.as_ref()) else {
            return fail(Sense::COMMUNICATION_FAILURE);
        };
        let offer = Offer { read: command.read && !command.write, write: command.write, length: expected };
        plan(command.cdb.as_slice(), offer, lun.block_size(), lun.max_data())
    }

    /// Immediate data of a command whose turn has not come.
    fn keep_immediate_data(&mut self, key: Key, data: &[u8]) {
        if let Some(task) = self.tasks.get_mut(key)
            && task.plan.is_ok()
        {
            task.incoming.store(0, data);
        }
    }

    /// The turn of a command has come that came early.
    pub(super) fn deliver_held(&mut self, key: Key) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.counted = true;
        if let Some(session) = self.sessions.get_mut(task.session) {
            session.numbering.task_began();
        }
        self.deliver(key, &[]);
    }

    /// The turn of a command has come. `data` is its immediate data, if that was not kept.
    pub(super) fn deliver(&mut self, key: Key, data: &[u8]) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.stage = Stage::Collecting;
        let plan = match task.plan {
            Ok(plan) => plan,
            Err(Refused { sense, residual }) => return self.answer_refusal(key, sense, residual),
        };
        if self.stopping {
            return self.answer_status(key, status::BUSY, None);
        }
        if self.answered_here(key) {
            return;
        }
        match plan {
            Transfer::None => self.start(key, &[]),
            Transfer::In(length) => self.begin_read(key, length),
            Transfer::Out(_) => {
                let Some(task) = self.tasks.get_mut(key) else { return };
                let all_here = task.incoming.buffer.is_empty() && task.incoming.is_complete();
                if all_here {
                    // Straight from the receive buffer into the LUN.
                    let wanted = usize::try_from(task.incoming.wanted).unwrap_or(usize::MAX);
                    self.start(key, &data[..data.len().min(wanted)]);
                } else {
                    task.incoming.store(0, data);
                    task.incoming.asked = Some(self.now);
                    self.go_on_collecting(key);
                }
            }
        }
    }

    /// Data has come, or the command may begin: asks for more, or starts it.
    pub(super) fn go_on_collecting(&mut self, key: Key) {
        let Some(task) = self.tasks.get(key).filter(|task| task.stage == Stage::Collecting) else { return };
        if !task.incoming.is_complete() {
            return self.request_data(key);
        }
        if let Some(sense) = task.incoming.spoiled {
            return self.answer_status(key, status::CHECK_CONDITION, Some(sense));
        }
        self.start(key, &[]);
    }

    /// Begins a command that returns data, or lets it wait until what its connection has to send leaves room.
    fn begin_read(&mut self, key: Key, length: u32) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(connection) = self.connections.get_mut(task.connection) else { return };
        if task.stage != Stage::Throttled && !connection.reads.is_empty()
            || !connection.has_room_for_reads(&self.limits)
        {
            task.stage = Stage::Throttled;
            connection.reads.push_back(key);
            return;
        }
        task.stage = Stage::Collecting;
        task.reserved = length;
        connection.reading += u64::from(length);
        self.start(key, &[]);
    }

    /// Begins the commands for whose data there is room now.
    pub(super) fn begin_reads(&mut self, connection_key: Key) {
        while let Some(connection) = self.connections.get_mut(connection_key)
            && connection.has_room_for_reads(&self.limits)
            && let Some(key) = connection.reads.pop_front()
        {
            if let Some(Ok(Transfer::In(length))) = self.tasks.get(key).map(|task| task.plan) {
                self.begin_read(key, length);
            }
        }
    }

    /// Answers what never reaches a LUN. Says whether it did.
    fn answered_here(&mut self, key: Key) -> bool {
        let Some(task) = self.tasks.get(key) else { return true };
        let cdb = task.cdb;
        let cdb = cdb.as_slice();
        let code = cdb.first().copied().unwrap_or_default();
        let luns = u16::try_from(self.units.len()).unwrap_or(u16::MAX);
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        let answer = match task.doer {
            Doer::StandIn(who) => Some(who.answer(cdb, luns, &mut data)),
            Doer::Lun(number) => {
                let session = self.sessions.get_mut(task.session);
                let attention = session.and_then(|session| session.attention.get_mut(number));
                match (code, attention) {
                    (opcode::REPORT_LUNS, _) => Some(report_luns::report(cdb, luns, &mut data)),
                    (opcode::REQUEST_SENSE, Some(attention)) => {
                        attention.take().map(|sense| request_sense(cdb, sense, &mut data))
                    }
                    (_, Some(attention)) => attention.take_for(code).map(Err),
                    (_, None) => None,
                }
            }
        };
        let answered = answer.is_some();
        match answer {
            Some(Ok(())) => self.answer_data(key, &data),
            Some(Err(sense)) => self.answer_status(key, status::CHECK_CONDITION, Some(sense)),
            None => {}
        }
        self.scratch = data;
        answered
    }

    /// Gives a command with all its data to its LUN, or lets it wait for room. The data is what the task has
    /// kept, or `fresh` if it kept none.
    pub(super) fn start(&mut self, key: Key, fresh: &[u8]) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Doer::Lun(number) = task.doer else { return };
        let Some(unit) = self.units.get_mut(number) else { return };
        let mut kept = std::mem::take(&mut task.incoming.buffer);
        let data = if kept.is_empty() { fresh } else { &kept[..] };
        let moved = match task.plan {
            Ok(Transfer::In(length)) => Data::In(length),
            Ok(Transfer::Out(_)) => Data::Out(data),
            Ok(Transfer::None) | Err(_) => Data::None,
        };
        let first_in_line = unit.waiting.is_empty() || task.stage == Stage::Waiting;
        // While a LUN calls back it can not be called; what is started then waits for the end of the call.
        let result = match unit.lun.as_mut().filter(|_| first_in_line) {
            Some(lun) => lun.start(key.to_bits(), task.cdb.as_slice(), moved),
            None => Err(Refusal::Full),
        };
        match result {
            // Room appears when a command ends. If none is running or waiting, none will.
            Err(Refusal::Full) if unit.running > 0 || !first_in_line || unit.lun.is_none() => {
                if kept.is_empty() {
                    kept.extend_from_slice(fresh);
                }
                task.incoming.buffer = kept;
                if task.stage == Stage::Waiting {
                    unit.waiting.push_front(key);
                } else {
                    task.stage = Stage::Waiting;
                    unit.waiting.push_back(key);
                    if unit.waiting.len() > 2 * self.tasks.len() + FEW {
                        // Commands that were aborted while they waited: they are not looked for one by one.
                        unit.waiting.retain(|&key| self.tasks.get(key).is_some());
                    }
                }
                return;
            }
            _ => task.incoming.buffer = kept,
        }
        match result {
            Ok(id) => {
                task.stage = Stage::Running(id);
                unit.running += 1;
                unit.begun = true;
                if let Some(counters) = self.counters.luns.get(number) {
                    counters.in_flight.set(unit.running as u64);
                }
                self.data_delivered(key);
            }
            Err(Refusal::Full | Refusal::Blocked) => self.answer_status(key, status::BUSY, None),
            Err(Refusal::Broken) => {
                self.answer_status(key, status::CHECK_CONDITION, Some(Sense::COMMUNICATION_FAILURE));
            }
            Err(Refusal::TooBig) => {
                self.answer_status(key, status::CHECK_CONDITION, Some(Sense::INVALID_FIELD_IN_CDB));
            }
        }
    }

    /// The LUN has the data of a write: its memory is free for others.
    fn data_delivered(&mut self, key: Key) {
        if let Some(task) = self.tasks.get_mut(key)
            && (task.incoming.charged > 0 || task.incoming.buffer.capacity() > 0)
        {
            let session = task.session;
            let incoming = std::mem::take(&mut task.incoming);
            let charged = incoming.charged > 0;
            self.release_incoming(session, incoming);
            if charged {
                self.resume_short_of_memory(session);
            }
        }
    }

    /// Room may have appeared in a LUN.
    pub(super) fn retry_waiting(&mut self, number: usize) {
        while let Some(key) = self.units.get_mut(number).and_then(|unit| unit.waiting.pop_front()) {
            let waits = |task: &Task| task.stage == Stage::Waiting;
            if !self.tasks.get(key).is_some_and(waits) {
                continue;
            }
            self.start(key, &[]);
            if self.tasks.get(key).is_some_and(waits) {
                break;
            }
        }
    }
}

/// Sets up what data a write is to bring: immediate data, then unsolicited data, then what R2Ts ask for.
fn expect_data(
    incoming: &mut Incoming,
    command: &ScsiCommand<'_>,
    parameters: SessionParameters,
    wanted: u32,
) {
    let immediate = u32::try_from(command.data.len()).unwrap_or(u32::MAX);
    incoming.wanted = wanted;
    incoming.requested = immediate;
    let end = parameters.first_burst.min(command.expected_length);
    if !command.is_final && immediate < end {
        incoming.bursts.push(Burst { tag: None, next: immediate, end, data_sn: 0 });
        incoming.requested = end;
    }
}
