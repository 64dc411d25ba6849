//! Data blocks: vectors, running out, and pages that come and go.

use lunbox_emulator::{CommandId, Data, Kernel, Options, Placement, QueueError};
use lunbox_memory::AccessError;

use crate::daemon::{Daemon, bytes, collected, pair, queue, tokens};

const DATA: u64 = 65536;

fn blocks(data_blocks: u32, placement: Placement) -> (Kernel, Daemon) {
    pair(Options { data_blocks, placement, ..Options::default() })
}

fn block(number: u64) -> u64 {
    DATA + 4096 * number
}

#[test]
fn neighbours_share_a_vector_and_gaps_split_it() {
    let (mut kernel, mut daemon) = blocks(8, Placement::LowestFirst);
    let ids: Vec<_> = (0..4).map(|number| queue(&mut kernel, number, Data::In(1)).unwrap()).collect();
    daemon.commands();
    daemon.fill(&[(block(1), 1)], &[1]);
    daemon.good(ids[1].0);
    assert_eq!(tokens(&mut kernel), [1]);
    let out = bytes(3, 3 * 4096 + 100);
    let id = queue(&mut kernel, 9, Data::Out(&out)).unwrap();
    assert_eq!(kernel.blocks_of(id), [1, 4, 5, 6]);
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    assert_eq!(request.vectors, [(block(1), 4096), (block(4), 8192 + 100)]);
    assert_eq!(daemon.fetch(&request.vectors), out);
}

#[test]
fn scattered_buffers_have_a_vector_for_each_block_and_no_neighbours() {
    let (mut kernel, mut daemon) = blocks(64, Placement::Scattered);
    let out = bytes(3, 30 * 4096 + 1);
    let id = queue(&mut kernel, 0, Data::Out(&out)).unwrap();
    assert!(kernel.blocks_of(id).windows(2).all(|pair| pair[1] != pair[0] + 1));
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    assert_eq!(request.vectors.len(), 31);
    assert!(request.vectors[..30].iter().all(|&(_, length)| length == 4096));
    assert_eq!(request.vectors[30].1, 1);
    assert_eq!(daemon.fetch(&request.vectors), out);
    // The rest of the area goes to one command, in-between blocks included.
    let last = queue(&mut kernel, 1, Data::In(33 * 4096)).unwrap();
    assert_eq!((kernel.blocks_of(last).len(), kernel.free_blocks()), (33, 0));
    assert_eq!(daemon.commands()[0].vectors.len(), 33);
}

#[test]
fn round_robin_leaves_freed_blocks_alone_for_long() {
    let (mut kernel, mut daemon) = blocks(4, Placement::RoundRobin);
    let mut seen = Vec::new();
    for number in 0..9 {
        let id = queue(&mut kernel, number, Data::In(1)).unwrap();
        seen.extend_from_slice(kernel.blocks_of(id));
        daemon.commands();
        daemon.fill(&[(block((number % 4).into()), 1)], &[1]);
        daemon.good(id.0);
        assert_eq!(tokens(&mut kernel).len(), 1);
    }
    assert_eq!(seen, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
    kernel.check().unwrap();
}

#[test]
fn commands_wait_for_blocks_and_get_them_when_others_end() {
    let (mut kernel, mut daemon) = blocks(4, Placement::LowestFirst);
    queue(&mut kernel, 0, Data::In(3 * 4096)).unwrap();
    assert_eq!(queue(&mut kernel, 1, Data::Out(&[1; 4097])), Err(QueueError::Full));
    assert_eq!(queue(&mut kernel, 1, Data::In(5 * 4096)), Err(QueueError::TooBig));
    assert_eq!((kernel.free_blocks(), kernel.outstanding().count()), (1, 1), "nothing was taken");
    let head = kernel.head();
    daemon.commands();
    daemon.fill(&[(block(0), 3 * 4096)], &[1; 3 * 4096]);
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [0]);
    queue(&mut kernel, 1, Data::Out(&[1; 4097])).unwrap();
    assert_eq!((kernel.free_blocks(), kernel.head() - head), (2, 120));
    kernel.check().unwrap();
}

#[test]
fn when_the_ring_is_full_no_block_is_lost() {
    let (mut kernel, _daemon) = pair(Options { ring_bytes: 512, data_blocks: 8, ..Options::default() });
    for number in 0..4 {
        queue(&mut kernel, number, Data::In(4096)).unwrap();
    }
    for _ in 0..10 {
        assert_eq!(queue(&mut kernel, 4, Data::In(4096)), Err(QueueError::Full));
    }
    assert_eq!(kernel.free_blocks(), 4);
    kernel.check().unwrap();
}

#[test]
fn a_block_has_no_page_before_it_is_first_used() {
    let (mut kernel, daemon) = blocks(8, Placement::LowestFirst);
    let at = |number| AccessError::Vanished { offset: block(number) };
    assert_eq!(daemon.map.copy_out(block(0), &mut [0; 8]), Err(at(0)));
    queue(&mut kernel, 0, Data::In(8192)).unwrap();
    assert_eq!(kernel.populated_blocks(), 2);
    assert_eq!(daemon.map.copy_out(block(1), &mut [0; 4096]), Ok(()));
    assert_eq!(daemon.map.copy_in(block(2), &[0; 8]), Err(at(2)));
}

#[test]
fn idle_pages_are_reclaimed_behind_the_last_block_in_use() {
    let (mut kernel, mut daemon) = blocks(8, Placement::LowestFirst);
    let ids: Vec<_> = (0..4).map(|number| queue(&mut kernel, number, Data::In(4096)).unwrap()).collect();
    daemon.commands();
    for id in [ids[0], ids[2], ids[3]] {
        daemon.fill(&[(block(u64::from(id.0) - 1), 4096)], &[1; 4096]);
        daemon.good(id.0);
    }
    assert_eq!(tokens(&mut kernel).len(), 3);
    assert_eq!((kernel.reclaim(), kernel.populated_blocks()), (Ok(2), 2));
    assert_eq!(kernel.reclaim(), Ok(0));
    assert_eq!(daemon.map.copy_in(block(2), &[1]), Err(AccessError::Vanished { offset: block(2) }));
    // They come back with the next command, and its data is there.
    let out = bytes(8, 3 * 4096);
    let id = queue(&mut kernel, 9, Data::Out(&out)).unwrap();
    assert_eq!(kernel.blocks_of(id), [0, 2, 3]);
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    assert_eq!(daemon.fetch(&request.vectors), out);
    kernel.check().unwrap();
}

#[test]
fn pages_that_vanish_under_a_command_fail_accesses_and_nothing_else() {
    let (mut kernel, mut daemon) = blocks(8, Placement::LowestFirst);
    queue(&mut kernel, 0, Data::In(4 * 4096)).unwrap();
    queue(&mut kernel, 1, Data::Out(&[5; 4096])).unwrap();
    let requests = daemon.commands();
    daemon.fill(&requests[0].vectors, &[7; 4 * 4096]);
    kernel.vanish_pages(2).unwrap();
    assert_eq!(daemon.map.copy_in(block(2), &[1]), Err(AccessError::Vanished { offset: block(2) }));
    assert_eq!(daemon.map.copy_out(block(4), &mut [1]), Err(AccessError::Vanished { offset: block(4) }));
    kernel.check().unwrap();

    daemon.good(requests[0].id);
    daemon.good(requests[1].id);
    let ended = collected(&mut kernel);
    let expected = [[7; 8192], [0; 8192]].concat();
    assert_eq!((ended[0].vanished, &ended[0].data_in), (true, &expected));
    assert!(!ended[1].vanished, "data-out is not looked at again");
    // While they are away only the others are used.
    assert_eq!(kernel.free_blocks(), 2);
    assert_eq!(queue(&mut kernel, 2, Data::In(3 * 4096)), Err(QueueError::Full));
    assert_eq!(queue(&mut kernel, 2, Data::In(2 * 4096)), Ok(CommandId(1)));
    kernel.check().unwrap();

    kernel.restore_pages().unwrap();
    assert_eq!(kernel.free_blocks(), 6);
    let id = queue(&mut kernel, 3, Data::In(6 * 4096)).unwrap();
    assert_eq!(kernel.blocks_of(id), [2, 3, 4, 5, 6, 7]);
    daemon.map.copy_in(block(7), &[1; 4096]).unwrap();
    kernel.check().unwrap();
}

#[test]
fn restored_pages_of_a_running_command_are_zeroed_and_usable() {
    let (mut kernel, mut daemon) = blocks(8, Placement::LowestFirst);
    let id = queue(&mut kernel, 0, Data::In(2 * 4096 + 10)).unwrap();
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    daemon.fill(&request.vectors, &[7; 2 * 4096 + 10]);
    kernel.vanish_pages(0).unwrap();
    assert_eq!(kernel.populated_blocks(), 0);
    kernel.restore_pages().unwrap();
    assert_eq!(daemon.fetch(&request.vectors), vec![0; 2 * 4096 + 10]);
    daemon.fill(&request.vectors, &[8; 2 * 4096 + 10]);
    daemon.good(id.0);
    let ended = collected(&mut kernel);
    assert_eq!((ended[0].vanished, &ended[0].data_in), (false, &vec![8; 2 * 4096 + 10]));
    kernel.check().unwrap();
}
