//! One command's way: decoded, planned, run, completed once.

use std::time::Instant;

use lunbox_compose::Gone;
use lunbox_contract::{BlockCommand, OpFailure, OpKind, Outcome, Status, Tag};
use lunbox_engine::Fault;
use lunbox_scsi::{Sense, SenseKey, SenseKeySpecific};
use lunbox_store::Done;
use lunbox_tcmu::{Refused, Response};

use crate::control::Event;
use crate::disk::{Job, Peek};
use crate::measure::note_handed;
use crate::plan;
use crate::run::{DeviceLoop, PATIENCE};
use crate::space;
use crate::status::Health;
use crate::table::{Direction, Doom, SlotIndex, Stage, Table};

/// Times that a handler may answer one command with more operations.
const MAX_ROUNDS: u32 = 4096;

/// SAM-5 status codes.
pub(crate) mod code {
    pub(crate) const GOOD: u8 = 0x00;
    pub(crate) const CHECK_CONDITION: u8 = 0x02;
    pub(crate) const BUSY: u8 = 0x08;
    pub(super) const RESERVATION_CONFLICT: u8 = 0x18;
    pub(super) const TASK_SET_FULL: u8 = 0x28;
    pub(crate) const TASK_ABORTED: u8 = 0x40;

    /// As it stands in a response.
    pub(crate) const fn of(status: super::Status) -> u8 {
        use super::Status;
        match status {
            Status::Good => GOOD,
            Status::Busy => BUSY,
            Status::ReservationConflict => RESERVATION_CONFLICT,
            Status::TaskSetFull => TASK_SET_FULL,
            Status::TaskAborted => TASK_ABORTED,
        }
    }

    /// The status of a command that did not end well; what is none is BUSY.
    pub(crate) const fn status(code: u8) -> super::Status {
        use super::Status;
        match code {
            RESERVATION_CONFLICT => Status::ReservationConflict,
            TASK_SET_FULL => Status::TaskSetFull,
            TASK_ABORTED => Status::TaskAborted,
            _ => Status::Busy,
        }
    }
}

impl DeviceLoop {
    /// A command has left the ring, or the identity that it waited for has come.
    pub(crate) fn begin(&mut self, index: SlotIndex) {
        let job = {
            let table = self.table.borrow();
            let request = &table.peek(index).request;
            if request.bidi.is_empty() {
                let list = ListOf { table: &table, index };
                self.disk.classify(request.cdb.as_bytes(), &request.data, &list, &mut self.answer)
            } else {
                // No command of a disk moves data both ways (those of SBC-2 are obsolete).
                Job::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None)
            }
        };
        match job {
            Job::Good => self.finish(index, code::GOOD, None, None),
            Job::Check(sense, field) => {
                if sense == Sense::INVALID_COMMAND_OPERATION_CODE {
                    self.note_refusal(index);
                }
                self.table.borrow_mut().slot(index).specific = field.map(SenseKeySpecific::Field);
                self.finish(index, code::CHECK_CONDITION, Some(sense), None);
            }
            Job::Busy => self.finish_busy(index),
            Job::Formatting { progress } => {
                self.table.borrow_mut().slot(index).specific = Some(SenseKeySpecific::Progress(progress));
                self.finish(index, code::CHECK_CONDITION, Some(Sense::FORMAT_IN_PROGRESS), None);
            }
            Job::AccessState { group, state } => self.ask_access_state(index, group, state),
            Job::Compose { composite, direction, data_length } => {
                self.begin_composite(index, composite, direction, data_length);
            }
            Job::Answer { length } => self.finish_with_answer(index, length),
            Job::Identity => {
                self.anonymous.push(index);
                if self.anonymous.len() == 1 {
                    (self.events)(Event::IdentityWanted);
                }
            }
            Job::Block { kind, fua, offset, length, direction, exact, immediate } => {
                let mut table = self.table.borrow_mut();
                let slot = table.slot(index);
                slot.direction = direction;
                slot.exact = exact;
                slot.data_length = if direction == Direction::None { 0 } else { length };
                slot.block = Some(BlockCommand { tag: Tag(slot.tag), kind, fua, offset, length });
                let early = if immediate && table.fill(index).is_ok() {
                    table.slot(index).outstanding.take()
                } else {
                    None
                };
                if let Some(open) = &early {
                    self.note_end(table.slot(index), open.id(), code::GOOD, None);
                }
                drop(table);
                match early {
                    Some(outstanding) => {
                        self.complete(outstanding, code::GOOD, None, None, None);
                        // What came before it is planned before it.
                        self.plan_batch();
                        // A completion may have found the ring reset, and then this one has been forgotten.
                        if self.reset.is_none() {
                            self.plan(index);
                        }
                    }
                    None => {
                        self.batch.push(index);
                        if self.batch.is_full() {
                            self.plan_batch();
                        }
                    }
                }
            }
        }
    }

    /// Asks the handler, or waits until it can be asked.
    pub(crate) fn plan(&mut self, index: SlotIndex) {
        let Some(command) = self.table.borrow().peek(index).block else { return };
        if !self.ranges.is_idle() && self.is_blocked(index) {
            self.parked.push_back(index);
            return;
        }
        if let Some(handler) = self.guest.instance() {
            note_handed(self.table.borrow_mut().slot(index));
            let outcome = handler.submit_block(&command);
            self.decide(index, outcome);
        } else if self.is_down_for_long() {
            self.counters.busy.add(1);
            self.finish_busy(index);
        } else {
            self.parked.push_back(index);
        }
    }

    /// Its blocks are held, or were claimed before it came.
    #[cold]
    fn is_blocked(&self, index: SlotIndex) -> bool {
        let table = self.table.borrow();
        let slot = table.peek(index);
        slot.window().is_some_and(|window| self.ranges.blocks(window, slot.tag, index))
    }

    pub(crate) fn is_down_for_long(&self) -> bool {
        let now = Instant::now();
        self.guest.pause_left(now).max(self.guest.down_for(now)) > PATIENCE
    }

    /// Tries the commands that wait for a range, work memory or the handler, oldest first.
    pub(crate) fn retry_parked(&mut self) {
        self.has_freed = false;
        for _ in 0..self.parked.len() {
            let Some(index) = self.parked.pop_front() else { break };
            self.retry(index);
        }
    }

    pub(crate) fn decide(&mut self, index: SlotIndex, outcome: Result<Outcome, Fault>) {
        match outcome {
            Ok(outcome) => {
                self.guest.planned();
                self.apply(index, outcome);
            }
            Err(fault) => self.command_failed_handler(index, &fault),
        }
    }

    pub(crate) fn apply(&mut self, index: SlotIndex, outcome: Outcome) {
        match outcome {
            Outcome::Io(op) => {
                let covers = {
                    let mut table = self.table.borrow_mut();
                    let slot = table.slot(index);
                    slot.stage = Stage::Final;
                    slot.begin_list();
                    slot.ops.push(op);
                    op.kind == OpKind::Read
                        && op.buffer == lunbox_contract::BufferId::DATA
                        && op.buffer_offset == 0
                        && op.length == slot.data_length
                        && slot.exact
                };
                if covers {
                    self.table.borrow_mut().slot(index).covered = true;
                } else if !self.fill(index) {
                    return;
                }
                self.start_operations(index);
            }
            Outcome::More(ops) => {
                let rounds = {
                    let mut table = self.table.borrow_mut();
                    let slot = table.slot(index);
                    slot.stage = Stage::Listed;
                    slot.begin_list();
                    slot.ops = ops;
                    slot.rounds += 1;
                    slot.rounds
                };
                if rounds > MAX_ROUNDS {
                    let fault =
                        Fault::Contract(format!("a command was resumed {MAX_ROUNDS} times without an end"));
                    self.table.borrow_mut().slot(index).stage = Stage::Parked;
                    self.command_failed_handler(index, &fault);
                } else if self.fill(index) {
                    self.start_operations(index);
                }
            }
            Outcome::Done(status) => self.finish(index, code::of(status), None, None),
            Outcome::Check(sense) => self.finish(index, code::CHECK_CONDITION, Some(sense), None),
            Outcome::NotHandled => {
                let fault = Fault::Contract("not-handled is no answer to a block command".to_owned());
                self.table.borrow_mut().slot(index).stage = Stage::Parked;
                self.command_failed_handler(index, &fault);
            }
        }
    }

    /// Zeroes a data-in buffer that the plan may leave unfilled. False if the command has ended over it.
    fn fill(&mut self, index: SlotIndex) -> bool {
        let filled = self.table.borrow_mut().fill(index);
        if filled.is_err() {
            self.finish(index, code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE), None);
        }
        filled.is_ok()
    }

    /// Starts what may start of a command's list.
    fn start_operations(&mut self, index: SlotIndex) {
        let mut table = self.table.borrow_mut();
        loop {
            let (slot, room) = table.slot_and_room(index);
            let Some(op) = slot.next_operation() else { break };
            let position = slot.started;
            let store = self.stores.get(op.store.0 as usize).copied();
            let store = store.ok_or_else(|| format!("store {} was not granted", op.store.0));
            match store.and_then(|store| plan::prepare(slot, room, &op).map(|source| (store, source))) {
                Ok((store, source)) => {
                    slot.started += 1;
                    slot.running += 1;
                    slot.behind_barrier = op.flags.barrier;
                    let region = match &slot.step {
                        Some(step) if step.in_work => self.work.region().unwrap_or(self.region),
                        _ => self.region,
                    };
                    let request = plan::request(&op, source, &slot.request.data, region, store);
                    self.executor.submit(plan::token(index, position), request);
                }
                Err(problem) => {
                    let listed = slot.stage == Stage::Listed;
                    let (tag, running) = (slot.tag, slot.running);
                    drop(table);
                    tracing::warn!(device = self.name, problem, "handler planned an invalid operation");
                    self.counters.bad_plans.add(1);
                    if listed {
                        self.tell_cancelled(tag);
                    }
                    self.end_invalid(index, running);
                    return;
                }
            }
        }
        let slot = table.slot(index);
        if slot.running == 0 && slot.started >= slot.ops.len() {
            drop(table);
            self.list_ended(index);
        }
    }

    fn end_invalid(&mut self, index: SlotIndex, running: usize) {
        if running == 0 {
            self.finish(index, code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE), None);
        } else {
            self.doom(index, Doom::InvalidPlan);
            self.cancel_doomed();
        }
    }

    /// A store operation has ended.
    pub(crate) fn operation_ended(&mut self, done: Done) {
        let (index, position) = plan::from_token(done.token);
        let mut table = self.table.borrow_mut();
        let slot = table.slot(index);
        let Some(op) = slot.ops.get(position).copied() else {
            debug_assert!(false, "a result for an operation that was never started");
            return;
        };
        slot.running -= 1;
        if op.flags.barrier {
            slot.behind_barrier = false;
        }
        if let Some(buffer) = done.buffer {
            slot.return_scratch(op.buffer, buffer);
        }
        match done.result {
            Ok(bytes) if matches!(op.kind, OpKind::Read | OpKind::Write) => slot.result.bytes += bytes,
            Ok(_) => {}
            Err(error) => {
                let position = u32::try_from(position).unwrap_or(u32::MAX);
                if slot.result.first_error.is_none_or(|first| position < first.index) {
                    slot.result.first_error =
                        Some(OpFailure { index: position, error: plan::op_error(error) });
                }
            }
        }
        let (running, doom) = (slot.running, slot.doom);
        drop(table);
        match doom {
            Some(doom) if running == 0 => self.finish_doomed(index, doom),
            Some(_) => {}
            None => self.start_operations(index),
        }
    }

    /// All operations of a list have ended.
    fn list_ended(&mut self, index: SlotIndex) {
        let (stage, result, tag, op, offset) = {
            let table = self.table.borrow();
            let slot = table.peek(index);
            (
                slot.stage,
                slot.result,
                slot.tag,
                slot.ops.first().copied(),
                slot.block.map_or(0, |block| block.offset),
            )
        };
        if stage == Stage::Final {
            let Some(failure) = result.first_error else { return self.finish(index, code::GOOD, None, None) };
            tracing::debug!(device = self.name, ?failure, "operation failed");
            let kind = op.map_or(OpKind::Read, |op| op.kind);
            let lba = offset / u64::from(self.disk.block_size());
            return match Outcome::of_failure(kind, failure.error) {
                // SBC-4 4.18.1: a medium error names the block; here the command's first.
                Outcome::Check(sense) if sense.key == SenseKey::MediumError => {
                    self.apply(index, Outcome::Check(sense.with_information(lba)));
                }
                outcome => self.apply(index, outcome),
            };
        }
        if let Some(handler) = self.guest.instance() {
            let outcome = handler.resume(Tag(tag), &result);
            self.decide(index, outcome);
        } else {
            debug_assert!(false, "commands of a lost instance are doomed");
            self.finish_busy(index);
        }
    }

    /// The handler failed while it worked on this command: BUSY, the initiator tries again.
    fn command_failed_handler(&mut self, index: SlotIndex, fault: &Fault) {
        self.handler_failed(fault);
        let slot = (self.table.borrow().peek(index).stage, self.table.borrow().peek(index).doom);
        if slot.0 != Stage::Free && slot.1.is_none() {
            self.counters.busy.add(1);
            self.finish_busy(index);
        }
    }

    /// The instance is lost: commands that it would have been resumed for end BUSY when their operations have
    /// ended; last operations are not affected.
    pub(crate) fn handler_failed(&mut self, fault: &Fault) {
        self.counters.faults.add(1);
        self.counters.set_health(Health::Recovering);
        tracing::error!(device = self.name, %fault, "handler failed; it will be rebuilt");
        self.guest.lose(Instant::now());
        (self.events)(Event::HandlerFailed(fault.to_string()));
        let indices = self.table.borrow().indices();
        for index in indices {
            let (listed, running, doomed) = {
                let table = self.table.borrow();
                let slot = table.peek(index);
                (slot.stage == Stage::Listed, slot.running, slot.doom.is_some())
            };
            if listed && running > 0 && !doomed {
                self.doom(index, Doom::GuestLost);
            }
        }
        self.cancel_doomed();
    }

    fn finish_with_answer(&mut self, index: SlotIndex, length: usize) {
        let answered = self.table.borrow_mut().answer(index, &self.answer[..length]);
        match answered {
            Ok(copied) => {
                let read_len = u32::try_from(copied).ok().filter(|copied| *copied > 0);
                self.finish(index, code::GOOD, None, read_len);
            }
            Err(_) => self.finish(index, code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE), None),
        }
    }

    pub(crate) fn finish_busy(&mut self, index: SlotIndex) {
        self.finish(index, code::BUSY, None, None);
    }

    /// The one way out: the command's entry is completed, if it is still open, and its slot given back. Steps leave
    /// it for [`Self::finish_step`].
    pub(crate) fn finish(
        &mut self,
        index: SlotIndex,
        status: u8,
        sense: Option<Sense>,
        read_len: Option<u32>,
    ) {
        if self.table.borrow().peek(index).step.is_some() {
            return self.finish_step(index, status, sense);
        }
        let (mut status, mut sense, mut read_len, mut wants_space) = (status, sense, read_len, false);
        let (outstanding, specific) = {
            let mut table = self.table.borrow_mut();
            let slot = table.slot(index);
            slot.stage = Stage::Ending;
            slot.filled |= slot.covered && status == code::GOOD;
            // The kernel hands the buffer to the initiator with every status but CHECK CONDITION.
            let filled = status == code::CHECK_CONDITION || table.fill(index).is_ok();
            if !filled && status == code::GOOD {
                (status, sense) = (code::CHECK_CONDITION, Some(Sense::INTERNAL_TARGET_FAILURE));
            }
            let slot = table.slot(index);
            assert_eq!(slot.running, 0, "a command ends while store operations refer to its buffer");
            if status == code::GOOD {
                if slot.direction == Direction::ToInitiator && !slot.exact {
                    read_len = u32::try_from(slot.data_length).ok();
                }
                let counter = match slot.direction {
                    Direction::ToInitiator => Some(&self.counters.bytes_read),
                    Direction::FromInitiator => Some(&self.counters.bytes_written),
                    Direction::None => None,
                };
                if let Some(counter) = counter {
                    counter.add(slot.data_length);
                }
                wants_space =
                    slot.direction == Direction::FromInitiator && self.disk.written(slot.data_length);
            }
            let open = slot.outstanding.take();
            if let Some(open) = &open {
                self.note_end(slot, open.id(), status, sense.as_ref());
            } else if slot.asks_space {
                // A store that can not say is no failure.
                (status, sense) = (code::GOOD, None);
                self.asks_space = false;
                space::note(&mut self.disk, slot);
            } else {
                self.own_ended = Some((slot.tag, status));
            }
            (open, slot.specific)
        };
        match outstanding {
            Some(outstanding) => self.complete(outstanding, status, sense, specific, read_len),
            // A composite command has told of it.
            None if self.table.borrow().peek(index).composition.is_some() => {}
            None if status != code::GOOD && self.reset.is_none() => {
                tracing::error!(device = self.name, status, ?sense, "a flush that nobody waits for failed");
            }
            None => {}
        }
        self.forget(index);
        if wants_space {
            self.ask_space();
        }
    }

    pub(crate) fn complete(
        &mut self,
        outstanding: lunbox_tcmu::Outstanding,
        status: u8,
        sense: Option<Sense>,
        specific: Option<SenseKeySpecific>,
        read_len: Option<u32>,
    ) {
        self.counters.commands.add(1);
        if status != code::GOOD {
            self.counters.failures.add(1);
        }
        // The whole buffer of the kernel, which sends all of it on: zeros behind what is sense data.
        let encoded = sense.map(|sense| sense.encode(self.disk.sense_format(), specific));
        let response = Response {
            status,
            sense: encoded.as_ref().map(|data| &data.buffer()[..]),
            read_len: read_len.filter(|_| self.ring.features().read_len),
            keep_buf: false,
        };
        match self.ring.complete(outstanding, &response) {
            Ok(()) => {}
            Err(Refused::Reset(outstanding)) => {
                outstanding.abandon();
                self.begin_reset(true);
            }
            Err(Refused::Failed { command, error }) => {
                command.abandon();
                tracing::error!(device = self.name, %error, "completing a command failed");
                self.broken.get_or_insert(error);
            }
        }
    }

    /// Gives a slot back. An entry that is still open belongs to a ring that was reset.
    pub(crate) fn forget(&mut self, index: SlotIndex) {
        if !self.ranges.is_idle() || self.composed > 0 {
            self.release(index);
        }
        let mut table = self.table.borrow_mut();
        let slot = table.slot(index);
        if let Some(open) = slot.outstanding.take() {
            open.abandon();
        }
        if slot.is_reset {
            self.counters.aborting.subtract(1);
        }
        table.give_back(index);
    }
}

/// The data that came with a command.
struct ListOf<'a> {
    table: &'a Table,
    index: SlotIndex,
}

impl Peek for ListOf<'_> {
    fn peek(&self, length: u32, out: &mut Vec<u8>) -> Result<(), Gone> {
        out.clear();
        let length = usize::try_from(length).map_err(|_| Gone)?;
        if self.table.peek(self.index).data_room() < length as u64 {
            return Err(Gone);
        }
        out.resize(length, 0);
        self.table.copy_out(self.index, 0, out).map_err(|_| Gone)
    }
}
