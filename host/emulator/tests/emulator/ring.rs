//! Entries, wrapping, ids, order, and what breaks a device.

use std::time::Duration;

use lunbox_emulator::{CommandId, CommandSpec, Data, Features, Kernel, Options, QueueError, ResetMode};
use lunbox_emulator::{SetupError, TaskManagement, Violation};

use crate::daemon::{Daemon, Entry, collected, numbered, pair, queue, tokens};

fn ring_of(ring_bytes: u32) -> (Kernel, Daemon) {
    pair(Options { ring_bytes, ..Options::default() })
}

/// Bytes of an entry with a 6-byte CDB and at most four vectors.
const ENTRY: u32 = 120;

#[test]
fn the_mailbox_says_what_the_header_defines() {
    let features = Features { tmr: false, ..Features::default() };
    let (kernel, user) = Kernel::new(Options { features, ..Options::default() }).unwrap();
    let map = kernel.map();
    assert_eq!((map.load_u16(0), map.load_u16(2)), (Ok(2), Ok(1 | 2 | 8)));
    assert_eq!((map.load_u32(4), map.load_u32(8)), (Ok(128), Ok(65536 - 128)));
    assert_eq!((map.load_u32(12), map.load_u32(64)), (Ok(0), Ok(0)));
    assert_eq!((user.length, map.length()), (65536 + 1024 * 4096, 65536 + 1024 * 4096));
}

#[test]
fn impossible_sizes_are_refused_by_name() {
    for (ring_bytes, data_blocks, wrong) in
        [(504, 1, "ring_bytes"), (1001, 1, "ring_bytes"), (8 << 20, 1, "ring_bytes"), (512, 0, "data_blocks")]
    {
        let result = Kernel::new(Options { ring_bytes, data_blocks, ..Options::default() });
        assert!(matches!(result, Err(SetupError::Option { field, .. }) if field == wrong), "{wrong}");
    }
}

#[test]
fn an_entry_is_laid_out_as_the_header_says() {
    let (mut kernel, mut daemon) = ring_of(1024);
    // Dirt in the ring must not show in an entry.
    for at in (128..1152).step_by(8) {
        daemon.map.store_u64(at, u64::MAX).unwrap();
    }
    let cdb = [0x88, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let id = kernel.queue(&CommandSpec { cdb: &cdb, data: Data::In(5000), token: 0 }).unwrap();
    assert_eq!(daemon.map.load_u32(128).unwrap(), 128 | 1, "112 fixed bytes and the CDB, operation CMD");
    assert_eq!(daemon.map.load_u8(128 + 6).unwrap(), 0, "kflags");
    assert_eq!(daemon.map.load_u64(128 + 24).unwrap(), 128 + 112, "cdb_off");
    assert_eq!((kernel.head(), kernel.entry_of(id)), (128, Some(128)));
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    assert_eq!((request.id, &request.cdb[..]), (1, &cdb[..]));
    assert_eq!(request.vectors, [(4096, 5000)], "two neighbours in one vector, trimmed");
    assert!(request.bidi.is_empty());
    assert_eq!(kernel.blocks_of(id), [0, 1]);
}

#[test]
fn a_pad_fills_the_end_of_the_ring_even_when_it_is_8_bytes() {
    for (size, pad) in [(ENTRY * 5, None), (ENTRY * 5 + 8, Some(8)), (ENTRY * 5 + 112, Some(112))] {
        let (mut kernel, mut daemon) = ring_of(size);
        let mut seen = Vec::new();
        for number in 0..6 {
            queue(&mut kernel, number, Data::None).unwrap();
            seen.extend(daemon.take());
            daemon.good(1);
            assert_eq!(tokens(&mut kernel), [u64::from(number)]);
        }
        assert_eq!(kernel.head(), ENTRY, "one entry after the wrap");
        assert_eq!(daemon.tail, ENTRY);
        let pads: Vec<_> = seen.iter().filter(|entry| matches!(entry, Entry::Pad(_))).collect();
        assert_eq!(pads, pad.map(Entry::Pad).iter().collect::<Vec<_>>());
        assert_eq!(seen.len(), 6 + pads.len());
        kernel.check().unwrap();
    }
}

#[test]
fn commands_survive_hundreds_of_wraps_at_every_ring_size() {
    for size in (512..1024).step_by(8) {
        let (mut kernel, mut daemon) = ring_of(size);
        let (mut next, mut seen, mut ended) = (0u16, Vec::new(), Vec::new());
        while ended.len() < 200 {
            // Entries of different lengths, as many as fit.
            loop {
                let mut cdb = vec![if next.is_multiple_of(3) { 0x88 } else { 0 }; 1];
                cdb.resize(if next.is_multiple_of(3) { 16 } else { 6 }, 0);
                cdb[2..4].copy_from_slice(&next.to_be_bytes());
                match kernel.queue(&CommandSpec { cdb: &cdb, data: Data::None, token: next.into() }) {
                    Ok(_) => next += 1,
                    Err(QueueError::Full) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            let batch = daemon.commands();
            assert!(!batch.is_empty(), "a ring of {size} bytes is stuck");
            seen.extend(batch.iter().map(|request| u16::from_be_bytes([request.cdb[2], request.cdb[3]])));
            batch.iter().for_each(|request| daemon.good(request.id));
            ended.extend(tokens(&mut kernel));
        }
        assert!(seen.iter().copied().eq(0..next), "ring of {size} bytes");
        assert!(ended.iter().copied().eq(0..u64::from(next)), "ring of {size} bytes");
        kernel.check().unwrap();
    }
}

#[test]
fn a_full_ring_keeps_a_byte_free_and_recovers() {
    let (mut kernel, mut daemon) = ring_of(ENTRY * 8);
    for number in 0..7 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    assert_eq!(queue(&mut kernel, 7, Data::None), Err(QueueError::Full));
    assert_eq!(kernel.free_ring_bytes(), ENTRY - 1);
    let requests = daemon.commands();
    assert_eq!(requests.len(), 7);
    daemon.good(requests[0].id);
    assert_eq!(queue(&mut kernel, 7, Data::None), Err(QueueError::Full), "not before it is collected");
    assert_eq!(tokens(&mut kernel), [0]);
    queue(&mut kernel, 7, Data::None).unwrap();
    assert_eq!(kernel.outstanding().count(), 7);
}

#[test]
fn an_entry_longer_than_half_of_the_ring_can_never_fit() {
    let (mut kernel, _daemon) = ring_of(512);
    let spec = |cdb| CommandSpec { cdb, data: Data::None, token: 0 };
    assert_eq!(kernel.queue(&spec(&[0x7f; 152])), Err(QueueError::TooBig));
    kernel.queue(&spec(&[0x7f; 144])).unwrap();
    assert_eq!(kernel.queue(&spec(&[])), Err(QueueError::Cdb { length: 0 }));
    assert_eq!(kernel.queue(&spec(&[0; 261])), Err(QueueError::Cdb { length: 261 }));
}

#[test]
fn the_lowest_free_id_is_used_first() {
    let (mut kernel, mut daemon) = ring_of(4096);
    for number in 1..=5 {
        assert_eq!(queue(&mut kernel, number, Data::None), Ok(CommandId(number)));
    }
    daemon.commands();
    daemon.good(4);
    daemon.good(2);
    assert_eq!(tokens(&mut kernel), [4, 2]);
    for id in [2, 4, 6] {
        assert_eq!(queue(&mut kernel, 9, Data::None), Ok(CommandId(id)));
    }
}

#[test]
fn completions_may_come_in_any_order_and_only_up_to_the_tail() {
    let (mut kernel, mut daemon) = ring_of(4096);
    for number in 0..4 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    daemon.commands();
    daemon.good(3);
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [2, 0]);
    assert_eq!(tokens(&mut kernel), [0; 0]);
    assert_eq!(kernel.outstanding().map(|id| id.0).collect::<Vec<_>>(), [2, 4]);
    daemon.good(4);
    daemon.good(2);
    assert_eq!(tokens(&mut kernel), [3, 1]);
    kernel.check().unwrap();
}

#[test]
fn another_order_is_a_violation_when_the_mailbox_does_not_offer_it() {
    let features = Features { ooo: false, ..Features::default() };
    let (mut kernel, mut daemon) = pair(Options { features, ..Options::default() });
    for number in 0..2 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    daemon.commands();
    daemon.good(2);
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [1, 0]);
    let violation =
        |completed, due| Violation::OutOfOrder { completed: CommandId(completed), due: CommandId(due) };
    assert_eq!(kernel.check().unwrap_err().violations, [violation(2, 1), violation(1, 2)]);
}

fn broken(kernel: &mut Kernel, expected: Violation) {
    assert!(kernel.is_broken());
    assert_eq!(queue(kernel, 99, Data::None), Err(QueueError::Broken));
    assert_eq!(kernel.queue_tmr(TaskManagement::LunReset, &[]), Err(QueueError::Broken));
    assert_eq!(kernel.check().unwrap_err().violations, [expected]);
}

#[test]
fn a_second_completion_breaks_the_device_until_it_is_reset() {
    let (mut kernel, mut daemon) = ring_of(4096);
    for number in 0..3 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    daemon.commands();
    daemon.good(1);
    daemon.good(1);
    daemon.good(3);
    assert_eq!(tokens(&mut kernel), [0], "what comes behind the wrong one is not looked at");
    broken(&mut kernel, Violation::UnknownCommand { id: CommandId(1) });
    assert_eq!(tokens(&mut kernel), [0; 0]);

    kernel.reset_ring(ResetMode::Busy);
    assert_eq!(tokens(&mut kernel), [1, 2]);
    daemon.restart();
    queue(&mut kernel, 7, Data::None).unwrap();
    assert_eq!(daemon.commands().len(), 1);
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [7]);
    kernel.check().unwrap();
}

#[test]
fn ids_that_never_were_and_id_0_break_the_device() {
    for id in [0, 2, 77, u16::MAX] {
        let (mut kernel, mut daemon) = ring_of(4096);
        queue(&mut kernel, 0, Data::None).unwrap();
        daemon.commands();
        daemon.good(id);
        assert_eq!(tokens(&mut kernel), [0; 0]);
        broken(&mut kernel, Violation::UnknownCommand { id: CommandId(id) });
    }
}

#[test]
fn a_tail_that_is_no_entrys_start_breaks_the_device() {
    for tail in [8, ENTRY - 8, 2 * ENTRY + 8, 2 * ENTRY, 4096, u32::MAX] {
        let (mut kernel, mut daemon) = ring_of(4096);
        queue(&mut kernel, 0, Data::None).unwrap();
        daemon.commands();
        daemon.map.store_u32(64, tail).unwrap();
        let ended = tokens(&mut kernel).len();
        assert_eq!(ended, usize::from((ENTRY..4096).contains(&tail)), "entries before it count");
        broken(&mut kernel, Violation::TailAstray { tail });
    }
}

#[test]
fn an_overwritten_header_breaks_the_device() {
    let (mut kernel, mut daemon) = ring_of(4096);
    let id = queue(&mut kernel, 0, Data::None).unwrap();
    daemon.commands();
    let entry = kernel.entry_of(id).unwrap();
    daemon.good(id.0);
    daemon.map.store_u32(entry, 8 | 1).unwrap();
    assert_eq!(tokens(&mut kernel), [0; 0]);
    broken(&mut kernel, Violation::EntryOverwritten { offset: 0, found: 9, expected: ENTRY | 1 });
}

#[test]
fn writing_the_kernels_half_of_the_mailbox_is_noticed_and_mended() {
    let (mut kernel, daemon) = ring_of(4096);
    daemon.map.store_u32(12, 800).unwrap();
    daemon.map.store_u16(2, 0).unwrap();
    assert_eq!(tokens(&mut kernel), [0; 0]);
    let wrong = |field, found, expected| Violation::MailboxOverwritten { field, found, expected };
    assert_eq!(kernel.check().unwrap_err().violations, [wrong("cmd_head", 800, 0), wrong("flags", 0, 15)]);
    assert_eq!((daemon.map.load_u32(12), daemon.map.load_u16(2)), (Ok(0), Ok(15)));
    kernel.check().unwrap();
}

#[test]
fn one_event_stands_for_many_commands_and_one_doorbell_for_many_completions() {
    let (mut kernel, mut daemon) = ring_of(4096);
    assert_eq!(daemon.events(), 0);
    for number in 0..3 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    assert_eq!(daemon.events(), 0, "queueing does not signal");
    kernel.signal().unwrap();
    assert_eq!((daemon.events(), daemon.events()), (1, 0));
    kernel.signal().unwrap();
    kernel.signal().unwrap();
    assert_eq!(daemon.events(), 2);

    assert_eq!(kernel.wait_rung(Duration::ZERO), Ok(false));
    daemon.commands().iter().for_each(|request| daemon.good(request.id));
    daemon.ring();
    daemon.ring();
    assert_eq!(kernel.wait_rung(Duration::from_secs(5)), Ok(true));
    assert_eq!(kernel.rung(), Ok(false));
    assert_eq!(tokens(&mut kernel).len(), 3);
}

#[test]
fn task_management_entries_name_their_commands_and_need_no_answer() {
    let (mut kernel, mut daemon) = ring_of(4096);
    let ids: Vec<_> = (0..5).map(|number| queue(&mut kernel, number, Data::None).unwrap()).collect();
    kernel.queue_tmr(TaskManagement::AbortTask, &ids[1..2]).unwrap();
    kernel.queue_tmr(TaskManagement::LunResetByReservation, &ids).unwrap();
    kernel.queue_tmr(TaskManagement::LunReset, &[]).unwrap();
    assert_eq!(kernel.head(), 5 * ENTRY + 40 + 48 + 32);
    queue(&mut kernel, 5, Data::None).unwrap();
    let entries = daemon.take();
    let task = |kind, ids: &[u16]| Entry::TaskManagement { kind, ids: ids.to_vec() };
    assert_eq!(entries[5..8], [task(1, &[2]), task(128, &[1, 2, 3, 4, 5]), task(5, &[])]);
    for id in 1..=6 {
        daemon.good(id);
    }
    assert_eq!(tokens(&mut kernel), [0, 1, 2, 3, 4, 5]);
    assert_eq!(kernel.free_ring_bytes(), 4095);
    kernel.check().unwrap();
}

#[test]
fn a_task_management_entry_waits_for_room_and_may_not_be_offered() {
    let (mut kernel, _daemon) = ring_of(512);
    for number in 0..4 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    assert_eq!(kernel.queue_tmr(TaskManagement::AbortTask, &[CommandId(1)]), Err(QueueError::Full));
    assert_eq!(kernel.queue_tmr(TaskManagement::AbortTask, &[CommandId(1); 200]), Err(QueueError::TooBig));
    let features = Features { tmr: false, ..Features::default() };
    let (mut kernel, _daemon) = pair(Options { features, ..Options::default() });
    assert_eq!(kernel.queue_tmr(TaskManagement::AbortTask, &[]), Err(QueueError::NoTaskManagement));
}

#[test]
fn the_lending_and_the_listing_collection_agree() {
    let (mut kernel, mut daemon) = ring_of(4096);
    let mut lent = Vec::new();
    for round in 0..2u8 {
        queue(&mut kernel, 3, Data::In(100)).unwrap();
        let [request] = &daemon.commands()[..] else { panic!("one command") };
        assert_eq!(request.cdb, numbered(3));
        daemon.fill(&request.vectors, &[round + 1; 100]);
        daemon.good(request.id);
        if round == 0 {
            assert_eq!(
                kernel.collect_with(|completion| lent.push((completion.token, completion.data_in.to_vec()))),
                1
            );
        } else {
            lent.extend(collected(&mut kernel).into_iter().map(|ended| (ended.token, ended.data_in)));
        }
    }
    assert_eq!(lent, [(3, vec![1; 100]), (3, vec![2; 100])]);
}
