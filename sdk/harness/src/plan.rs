//! Checks and runs the operations of a plan.

use std::collections::VecDeque;

use lunbox_sdk::{
    BufferId, EXTENT_SCRATCH_BYTES, ExtentRecord, MAX_OPS, MAX_SCRATCH_BUFFERS, Op, OpError, OpFailure,
    OpKind, OpsResult,
};

use crate::command::{Command, Direction};
use crate::{MemStore, Violation};

/// Bytes of a list in a scratch buffer.
const SCRATCH_LIST: usize = EXTENT_SCRATCH_BYTES as usize;

/// Bytes of the shortest list.
const RECORD: u64 = ExtentRecord::BYTES as u64;

/// The storage of a harness and its misbehaviour.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    pub(crate) stores: Vec<MemStore>,
    /// Failures to come: of the next operation, or of the next of one kind.
    pub(crate) faults: VecDeque<(Option<OpKind>, OpError)>,
    /// Operations that may run at the same time run last to first.
    pub(crate) reversed: bool,
}

impl Storage {
    /// What can be said about a list before it starts.
    pub(crate) fn check_list(&self, command: &mut Command, ops: &[Op]) -> Result<(), Violation> {
        if ops.is_empty() || ops.len() > MAX_OPS {
            return Err(Violation::OpCount(ops.len()));
        }
        ops.iter().enumerate().try_for_each(|(index, op)| self.check(command, index, *op))
    }

    fn check(&self, command: &mut Command, index: usize, op: Op) -> Result<(), Violation> {
        let place = usize::try_from(op.store.0).ok();
        let Some(store) = place.and_then(|place| self.stores.get(place)) else {
            return Err(Violation::UnknownStore { index, op, granted: self.stores.len() });
        };
        if op.flags.zero_at_eof && op.kind != OpKind::Read {
            return Err(Violation::Flag { index, op, flag: "zero-at-eof" });
        }
        if op.flags.durable && matches!(op.kind, OpKind::Read | OpKind::Flush | OpKind::Extents) {
            return Err(Violation::Flag { index, op, flag: "durable" });
        }
        if op.flags.may_unmap && op.kind != OpKind::WriteZeroes {
            return Err(Violation::Flag { index, op, flag: "may-unmap" });
        }
        if op.kind == OpKind::Flush {
            return Ok(());
        }
        if op.length == 0 {
            return Err(Violation::ZeroLength { index, op });
        }
        if op.store_offset.checked_add(op.length).is_none() {
            return Err(Violation::StoreRange { index, op });
        }
        if !matches!(op.kind, OpKind::Read | OpKind::Extents) && store.is_read_only() {
            return Err(Violation::ReadOnlyStore { index, op });
        }
        if matches!(op.kind, OpKind::Read | OpKind::Write | OpKind::Extents) {
            check_buffer(command, index, op)?;
        }
        Ok(())
    }

    /// Runs a list that was checked: operations between barriers in any order, nothing behind a barrier after a
    /// failure before it.
    pub(crate) fn run(&mut self, command: &mut Command, ops: &[Op]) -> Result<OpsResult, Violation> {
        let mut result = OpsResult::default();
        let mut start = 0;
        while start < ops.len() && result.first_error.is_none() {
            let end = phase_end(ops, start);
            let phase = start..end;
            let order: Vec<usize> = if self.reversed { phase.rev().collect() } else { phase.collect() };
            for index in order {
                self.note(command, index, ops[index], &mut result)?;
            }
            start = end;
        }
        Ok(result)
    }

    /// Runs one operation and adds what came of it to the sum.
    fn note(
        &mut self,
        command: &mut Command,
        index: usize,
        op: Op,
        result: &mut OpsResult,
    ) -> Result<(), Violation> {
        if op.kind == OpKind::Write {
            check_filled(command, index, op)?;
        }
        match self.run_one(command, op) {
            Ok(()) if matches!(op.kind, OpKind::Read | OpKind::Write) => result.bytes += op.length,
            Ok(()) => {}
            Err(error) => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                if result.first_error.is_none_or(|earlier| index < earlier.index) {
                    result.first_error = Some(OpFailure { index, error });
                }
            }
        }
        Ok(())
    }

    fn run_one(&mut self, command: &mut Command, op: Op) -> Result<(), OpError> {
        if let Some(next) = self.faults.iter().position(|(kind, _)| kind.is_none_or(|kind| kind == op.kind))
            && let Some((_, error)) = self.faults.remove(next)
        {
            return Err(error);
        }
        // The list was checked: what does not fit now is the harness's own mistake and shows as this error.
        let wide = |value: u64| usize::try_from(value).map_err(|_| OpError::Invalid);
        let store = self.stores.get_mut(wide(u64::from(op.store.0))?).ok_or(OpError::Invalid)?;
        let offset = wide(u64::from(op.buffer_offset))?;
        let durable = op.flags.durable;
        match op.kind {
            OpKind::Read => {
                let out = command.fill(op.buffer, offset, wide(op.length)?).ok_or(OpError::Invalid)?;
                store.read(op.store_offset, out, op.flags.zero_at_eof)
            }
            OpKind::Write => {
                let data = command.bytes(op.buffer, offset, wide(op.length)?).ok_or(OpError::Invalid)?;
                let data = data.to_vec();
                store.write(command.tag, op.store_offset, data, durable)
            }
            OpKind::Flush => {
                store.flush();
                Ok(())
            }
            OpKind::Extents => {
                let room = wide(command.available(op.buffer, true))?.saturating_sub(offset);
                let room = if op.buffer == BufferId::DATA { room } else { room.min(SCRATCH_LIST) };
                let list = store.extents(op.store_offset, op.length, room);
                let out = command.fill(op.buffer, offset, list.len()).ok_or(OpError::Invalid)?;
                out.copy_from_slice(&list);
                Ok(())
            }
            OpKind::Discard => store.discard(command.tag, op.store_offset, op.length, durable),
            OpKind::WriteZeroes => {
                let unmap = op.flags.may_unmap;
                store.write_zeroes(command.tag, op.store_offset, op.length, durable, unmap)
            }
        }
    }
}

/// Where the phase that begins at `start` ends: a barrier is a phase of its own.
fn phase_end(ops: &[Op], start: usize) -> usize {
    if ops[start].flags.barrier {
        return start + 1;
    }
    ops[start..].iter().position(|op| op.flags.barrier).map_or(ops.len(), |barrier| start + barrier)
}

/// Number, direction and range of the buffer.
fn check_buffer(command: &mut Command, index: usize, op: Op) -> Result<(), Violation> {
    if op.buffer.0 > MAX_SCRATCH_BUFFERS {
        return Err(Violation::UnknownBuffer { index, op });
    }
    let wanted =
        if matches!(op.kind, OpKind::Read | OpKind::Extents) { Direction::In } else { Direction::Out };
    if op.buffer == BufferId::DATA && command.direction != wanted {
        return Err(Violation::Direction { index, op });
    }
    check_range(op, index, command.available(op.buffer, true))
}

/// That there is something to write: an earlier operation of the list may have filled it.
fn check_filled(command: &mut Command, index: usize, op: Op) -> Result<(), Violation> {
    if op.buffer != BufferId::DATA && command.scratch(op.buffer).is_none_or(|scratch| scratch.is_none()) {
        return Err(Violation::EmptyBuffer { index, op });
    }
    check_range(op, index, command.available(op.buffer, false))
}

fn check_range(op: Op, index: usize, available: u64) -> Result<(), Violation> {
    // A list takes what room there is, for one record at least.
    let length = if op.kind == OpKind::Extents { RECORD } else { op.length };
    match u64::from(op.buffer_offset).checked_add(length) {
        Some(end) if end <= available => Ok(()),
        _ => Err(Violation::BufferRange { index, op, available }),
    }
}
