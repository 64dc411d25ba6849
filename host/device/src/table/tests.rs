//! Lists, scratch buffers, tags.

use super::*;
use lunbox_contract::{OpError, OpFailure, OpFlags, OpKind, StoreId};

fn op(barrier: bool) -> Op {
    Op {
        kind: OpKind::Flush,
        store: StoreId(0),
        store_offset: 0,
        buffer: BufferId::DATA,
        buffer_offset: 0,
        length: 0,
        flags: OpFlags { barrier, ..OpFlags::default() },
    }
}

/// Starts what may start; returns how many that were.
fn start(slot: &mut Slot) -> usize {
    let before = slot.started;
    while let Some(op) = slot.next_operation() {
        slot.started += 1;
        slot.running += 1;
        slot.behind_barrier = op.flags.barrier;
    }
    slot.started - before
}

fn end(slot: &mut Slot, position: usize, failed: bool) {
    slot.running -= 1;
    if slot.ops[position].flags.barrier {
        slot.behind_barrier = false;
    }
    if failed {
        slot.result.first_error = Some(OpFailure { index: 0, error: OpError::Io });
    }
}

fn list(barriers: [bool; 5]) -> Slot {
    Slot { ops: barriers.map(op).to_vec(), ..Slot::default() }
}

#[test]
fn a_barrier_waits_for_what_stands_before_it_and_holds_back_what_stands_behind() {
    let mut slot = list([false, false, true, false, false]);
    assert_eq!(start(&mut slot), 2);
    end(&mut slot, 1, false);
    assert_eq!(start(&mut slot), 0, "one before the barrier still runs");
    end(&mut slot, 0, false);
    assert_eq!(start(&mut slot), 1, "the barrier runs alone");
    end(&mut slot, 2, false);
    assert_eq!(start(&mut slot), 2);
}

#[test]
fn a_failure_keeps_what_stands_behind_the_next_barrier_from_starting() {
    let mut slot = list([false, false, true, false, false]);
    start(&mut slot);
    end(&mut slot, 0, true);
    end(&mut slot, 1, false);
    assert_eq!(slot.next_operation(), None);
    assert_eq!((slot.started, slot.running), (5, 0), "the list has ended");
}

#[test]
fn a_failed_barrier_ends_the_list_and_a_failure_within_a_group_does_not() {
    let mut slot = list([true, false, false, false, true]);
    assert_eq!(start(&mut slot), 1);
    end(&mut slot, 0, true);
    assert_eq!(slot.next_operation(), None);
    assert_eq!(slot.started, 5);

    let mut slot = list([false, false, false, false, false]);
    assert_eq!(start(&mut slot), 5, "no barrier: all at once");
}

#[test]
fn scratch_buffers_are_lent_to_one_operation_at_a_time_and_stay_within_the_limit() {
    let mut slot = Slot::default();
    let mut room = 1000;
    let mut lend = |slot: &mut Slot, buffer, end, grow| slot.lend_scratch(buffer, end, grow, &mut room);
    assert!(lend(&mut slot, BufferId(1), 512, false).is_none(), "nothing was put into it");
    let lent = lend(&mut slot, BufferId(1), 512, true).unwrap();
    assert!(lend(&mut slot, BufferId(1), 512, true).is_none(), "in use");
    slot.return_scratch(BufferId(1), lent);
    assert_eq!(lend(&mut slot, BufferId(1), 100, false).map(|bytes| bytes.len()), Some(512));
    assert!(lend(&mut slot, BufferId(2), 489, true).is_none(), "more than what is left for all");
    assert_eq!(lend(&mut slot, BufferId(2), 488, true).map(|bytes| bytes.len()), Some(488));
    assert!(lend(&mut slot, BufferId(16), 1, true).is_none());
    assert!(lend(&mut slot, BufferId::DATA, 1, true).is_none());
}

#[test]
fn scratch_memory_of_all_commands_is_limited_and_comes_back() {
    let mut table = Table::new(Arc::new(Mapping::anonymous(4096).unwrap()));
    let mut taken = Vec::new();
    let refused = loop {
        let index = table.take().unwrap();
        table.slot(index).stage = Stage::Parked;
        taken.push(index);
        let tag = Tag(table.slot(index).tag);
        let put = (1..=15).try_for_each(|n| table.put(tag, BufferId(n), MAX_SCRATCH_BYTES - 1, b"x"));
        if put.is_err() {
            break put;
        }
    };
    assert_eq!(refused, Err(BufferError::OutOfRange));
    assert_eq!(taken.len(), 5, "four times 15 MiB fit");
    taken.into_iter().for_each(|index| table.give_back(index));
    assert_eq!(table.scratch_room, MAX_SCRATCH);
}

#[test]
fn tags_are_never_used_twice_and_stale_ones_find_nothing() {
    let map = Arc::new(Mapping::anonymous(4096).unwrap());
    let mut table = Table::new(map);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let index = table.take().unwrap();
        table.slot(index).stage = Stage::Parked;
        let tag = Tag(table.slot(index).tag);
        assert!(seen.insert(tag));
        assert_eq!(table.put(tag, BufferId(1), 0, b"x"), Ok(()));
        table.give_back(index);
        assert_eq!(table.put(tag, BufferId(1), 0, b"x"), Err(BufferError::UnknownTag));
    }
}
