//! The rule above all: a buffer belongs to the daemon until it completes the command, and not a moment longer.
//! Each test breaks it in one way and must be caught; its twin keeps it and must not be.

use lunbox_emulator::{CommandId, Data, Kernel, LastUser, Options, Placement, ResetMode, Violation};

use crate::daemon::{
    Answer, Daemon, GOOD, READ_LEN, Request, bytes, collected, numbered, pair, queue, tokens,
};

const DATA: u64 = 65536;

fn device(placement: Placement) -> (Kernel, Daemon) {
    pair(Options { data_blocks: 16, placement, ..Options::default() })
}

fn request(kernel: &mut Kernel, daemon: &mut Daemon, data: Data<'_>) -> Request {
    queue(kernel, 0, data).unwrap();
    daemon.commands().remove(0)
}

/// Completes a data-in command as it should be.
fn finish(kernel: &mut Kernel, daemon: &mut Daemon, request: &Request) {
    let length = request.vectors.iter().map(|vector| usize::try_from(vector.1).unwrap()).sum();
    daemon.fill(&request.vectors, &bytes(1, length));
    daemon.good(request.id);
    assert_eq!(tokens(kernel).len(), 1);
}

fn violations(kernel: &mut Kernel) -> Vec<Violation> {
    kernel.check().err().map(|report| report.violations).unwrap_or_default()
}

const READER: LastUser = LastUser { id: CommandId(1), opcode: 0 };

#[test]
fn a_late_write_of_one_byte_is_caught() {
    for offset in [0u32, 1, 4096 + 17, 2 * 4096 - 1] {
        let (mut kernel, mut daemon) = device(Placement::LowestFirst);
        let first = request(&mut kernel, &mut daemon, Data::In(8192));
        finish(&mut kernel, &mut daemon, &first);
        assert_eq!(violations(&mut kernel), []);
        let mut byte = [0];
        daemon.map.copy_out(DATA + u64::from(offset), &mut byte).unwrap();
        daemon.map.copy_in(DATA + u64::from(offset), &[byte[0] ^ 0x80]).unwrap();
        let late = Violation::LateWrite { block: offset / 4096, offset: offset % 4096, last_user: READER };
        assert_eq!(violations(&mut kernel), [late]);
        assert_eq!(violations(&mut kernel), [], "reported once, then repaired");
    }
}

#[test]
fn a_late_write_is_caught_even_if_the_block_is_used_again_before_anybody_checks() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let first = request(&mut kernel, &mut daemon, Data::In(4096));
    finish(&mut kernel, &mut daemon, &first);
    daemon.fill(&first.vectors, &[0x42; 512]);
    let second = request(&mut kernel, &mut daemon, Data::In(4096));
    assert_eq!(second.vectors, first.vectors, "the very same block");
    finish(&mut kernel, &mut daemon, &second);
    assert_eq!(violations(&mut kernel), [Violation::LateWrite { block: 0, offset: 0, last_user: READER }]);
}

#[test]
fn a_late_write_into_the_buffer_of_a_write_command_is_caught_too() {
    let (mut kernel, mut daemon) = device(Placement::Scattered);
    let first = request(&mut kernel, &mut daemon, Data::Out(&bytes(1, 3 * 4096)));
    daemon.good(first.id);
    assert_eq!(tokens(&mut kernel), [0]);
    daemon.map.copy_in(first.vectors[2].0 + 5, &[0x42]).unwrap();
    let block = u32::try_from((first.vectors[2].0 - DATA) / 4096).unwrap();
    assert_eq!(violations(&mut kernel), [Violation::LateWrite { block, offset: 5, last_user: READER }]);
}

#[test]
fn the_blame_names_the_last_user() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let read = |kernel: &mut Kernel, opcode: u8| {
        let mut cdb = [0; 10];
        cdb[0] = opcode;
        kernel.queue(&lunbox_emulator::CommandSpec { cdb: &cdb, data: Data::In(1), token: 0 }).unwrap()
    };
    assert_eq!((read(&mut kernel, 0x28), read(&mut kernel, 0x25)), (CommandId(1), CommandId(2)));
    for request in daemon.commands() {
        daemon.fill(&request.vectors, &[1]);
        daemon.good(request.id);
    }
    assert_eq!(tokens(&mut kernel).len(), 2);
    daemon.map.copy_in(DATA + 4096, &[1]).unwrap();
    let report = kernel.check().unwrap_err();
    let last_user = LastUser { id: CommandId(2), opcode: 0x25 };
    assert_eq!(report.violations, [Violation::LateWrite { block: 1, offset: 0, last_user }]);
    assert!(report.to_string().contains("after command 2 (opcode 25) had given it back"), "{report}");
}

#[test]
fn data_that_was_never_filled_is_caught() {
    // Nothing at all, a hole, the end, a few bytes at the end of an odd length.
    for (length, filled) in [(4096, 0..0), (8192, 0..4096), (8192, 4096..8192), (512, 0..496), (36, 0..32)] {
        for fresh in [true, false] {
            let (mut kernel, mut daemon) = device(Placement::LowestFirst);
            if !fresh {
                let before = request(&mut kernel, &mut daemon, Data::In(8192));
                finish(&mut kernel, &mut daemon, &before);
            }
            let bad = request(&mut kernel, &mut daemon, Data::In(length));
            let part = vec![0x11; filled.clone().count()];
            daemon.map.copy_in(bad.vectors[0].0 + filled.start, &part).unwrap();
            daemon.good(bad.id);
            assert_eq!(collected(&mut kernel)[0].data_in.len(), length as usize);
            let offset = if filled.start > 0 { 0 } else { u32::try_from(filled.end).unwrap() };
            let violation = Violation::Unfilled { id: CommandId(1), offset };
            assert_eq!(violations(&mut kernel), [violation], "{length} {filled:?}");
        }
    }
}

#[test]
fn a_short_read_that_says_so_is_fine() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let short = request(&mut kernel, &mut daemon, Data::In(8192));
    daemon.fill(&short.vectors, &[1; 100]);
    daemon.answer(short.id, Answer { flags: READ_LEN, read_len: 100, ..GOOD });
    let failed = request(&mut kernel, &mut daemon, Data::In(8192));
    daemon.answer(failed.id, Answer { status: 2, ..GOOD });
    let busy = request(&mut kernel, &mut daemon, Data::In(8192));
    daemon.answer(busy.id, Answer { status: 8, ..GOOD });
    assert_eq!(tokens(&mut kernel).len(), 3);
    assert_eq!(violations(&mut kernel), []);
}

#[test]
fn a_store_that_read_a_freed_buffer_is_caught_when_the_data_comes_back() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let first = request(&mut kernel, &mut daemon, Data::Out(&bytes(1, 8192)));
    daemon.good(first.id);
    assert_eq!(tokens(&mut kernel), [0]);
    // The store takes the data only now, and gives it back for a read, elsewhere.
    let stored = daemon.fetch(&first.vectors);
    let other = request(&mut kernel, &mut daemon, Data::In(4096));
    finish(&mut kernel, &mut daemon, &other);
    let read = request(&mut kernel, &mut daemon, Data::In(1024));
    daemon.fill(&read.vectors, &[&[0; 512], &stored[4096..4608]].concat());
    daemon.good(read.id);
    assert_eq!(tokens(&mut kernel), [0]);
    let last_user = LastUser { id: CommandId(1), opcode: numbered(0)[0] };
    let late = Violation::LateRead { id: CommandId(1), offset: 512, block: 1, last_user };
    assert_eq!(violations(&mut kernel), [late]);
}

#[test]
fn writing_behind_a_vector_is_caught() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let read = request(&mut kernel, &mut daemon, Data::In(4096 + 36));
    daemon.fill(&[(DATA, 8192)], &[1; 4096 + 37]);
    daemon.good(read.id);
    let both = request(&mut kernel, &mut daemon, Data::Both { out: &[1; 100], input: 200 });
    daemon.fill(&both.bidi, &[2; 200]);
    daemon.map.copy_in(both.vectors[0].0 + 4095, &[3]).unwrap();
    daemon.good(both.id);
    assert_eq!(tokens(&mut kernel).len(), 2);
    let id = CommandId(1);
    let first = Violation::BeyondVector { id, block: 1, offset: 36 };
    let block = u32::try_from((both.vectors[0].0 - DATA) / 4096).unwrap();
    let second = Violation::BeyondVector { id: CommandId(2), block, offset: 4095 };
    assert_eq!(violations(&mut kernel), [first, second]);
}

#[test]
fn an_expired_command_keeps_its_buffer_until_the_daemon_is_done() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let slow = request(&mut kernel, &mut daemon, Data::In(4096));
    kernel.expire(CommandId(slow.id)).unwrap();
    assert_eq!(tokens(&mut kernel), [0]);
    daemon.fill(&slow.vectors, &[1; 4096]);
    assert_eq!(violations(&mut kernel), []);
    daemon.good(slow.id);
    assert_eq!(tokens(&mut kernel), [0; 0]);
    daemon.fill(&slow.vectors, &[1; 4096]);
    assert_eq!(violations(&mut kernel), [Violation::LateWrite { block: 0, offset: 0, last_user: READER }]);
}

#[test]
fn after_a_reset_the_daemon_is_not_blamed_for_what_it_could_not_know() {
    let (mut kernel, mut daemon) = device(Placement::LowestFirst);
    let old = request(&mut kernel, &mut daemon, Data::In(4096));
    kernel.reset_ring(ResetMode::Busy);
    assert_eq!(tokens(&mut kernel), [0]);
    daemon.fill(&old.vectors, &[1; 4096]);
    assert_eq!(violations(&mut kernel), [], "the block is free, and an operation was on its way");
    // The block is given to the next command while that operation still runs.
    queue(&mut kernel, 0, Data::In(100)).unwrap();
    daemon.fill(&old.vectors, &[1; 4096]);
    daemon.restart();
    let new = daemon.commands().remove(0);
    assert_eq!(new.vectors[0].0, old.vectors[0].0);
    finish(&mut kernel, &mut daemon, &new);
    assert_eq!(violations(&mut kernel), []);
    // From then on it counts again.
    let overrun = request(&mut kernel, &mut daemon, Data::In(10));
    daemon.fill(&[(overrun.vectors[0].0, 4096)], &[1; 11]);
    daemon.good(overrun.id);
    assert_eq!(tokens(&mut kernel), [0]);
    let beyond = Violation::BeyondVector { id: CommandId(1), block: 0, offset: 10 };
    assert_eq!(violations(&mut kernel), [beyond]);
    daemon.fill(&old.vectors, &[1; 4096]);
    assert_eq!(violations(&mut kernel), [Violation::LateWrite { block: 0, offset: 0, last_user: READER }]);
}

#[test]
fn without_poison_nothing_is_watched() {
    let (mut kernel, mut daemon) = pair(Options { poison: false, ..Options::default() });
    let read = request(&mut kernel, &mut daemon, Data::In(4096));
    daemon.good(read.id);
    assert_eq!(collected(&mut kernel)[0].data_in, vec![0; 4096], "a fresh page");
    daemon.fill(&read.vectors, &[1; 4096]);
    assert_eq!(violations(&mut kernel), []);
    let stale = request(&mut kernel, &mut daemon, Data::In(4096));
    daemon.good(stale.id);
    assert_eq!(collected(&mut kernel)[0].data_in, vec![1; 4096], "earlier bytes, as in the kernel");
}

#[test]
fn a_flood_of_violations_is_counted_and_not_kept() {
    let (mut kernel, daemon) = pair(Options { data_blocks: 1024, ..Options::default() });
    queue(&mut kernel, 0, Data::In(300 * 4096)).unwrap();
    let mut daemon = daemon;
    let read = daemon.commands().remove(0);
    finish(&mut kernel, &mut daemon, &read);
    daemon.fill(&read.vectors, &[1; 300 * 4096]);
    let report = kernel.check().unwrap_err();
    assert_eq!((report.violations.len(), report.dropped), (256, 44));
}
