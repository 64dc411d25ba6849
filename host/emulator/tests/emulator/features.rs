//! What a completion may say: status, sense, READ_LEN, KEEP_BUF, UNKNOWN_OP, and both directions at once.

use lunbox_emulator::{By, CommandId, Completion, ControlError, Data, Features, Kernel, Options, QueueError};
use lunbox_emulator::{ResetMode, Violation};

use crate::daemon::{Answer, Daemon, GOOD, KEEP_BUF, READ_LEN, UNKNOWN_OP};
use crate::daemon::{bytes, collected, pair, queue, tokens};

/// One command from queue to completion; the daemon fills `filled` bytes of the first group.
fn one(
    kernel: &mut Kernel,
    daemon: &mut Daemon,
    data: Data<'_>,
    filled: &[u8],
    answer: Answer<'_>,
) -> Completion {
    let id = queue(kernel, 0, data).unwrap();
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    if !filled.is_empty() {
        daemon.fill(&request.vectors, filled);
    }
    daemon.answer(id.0, answer);
    let mut ended = collected(kernel);
    assert_eq!(ended.len(), 1);
    ended.remove(0)
}

#[test]
fn sense_comes_with_check_condition_only_and_as_it_is() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let sense = bytes(5, 96);
    let answer = Answer { status: 2, sense: &sense, ..GOOD };
    let failed = one(&mut kernel, &mut daemon, Data::In(512), &[], answer);
    assert_eq!((failed.status, &failed.sense[..], failed.by), (2, &sense[..], By::Daemon));
    assert!(failed.data_in.is_empty(), "no data with CHECK CONDITION");
    let busy = one(&mut kernel, &mut daemon, Data::None, &[], Answer { status: 8, ..answer });
    assert_eq!((busy.status, busy.sense), (8, [0; 96]));
    kernel.check().unwrap();
}

#[test]
fn unknown_op_is_a_communication_failure_whatever_else_is_written() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let answer = Answer { flags: UNKNOWN_OP | READ_LEN, read_len: 9, sense: &[1; 96], ..GOOD };
    let ended = one(&mut kernel, &mut daemon, Data::In(512), &[1; 512], answer);
    assert_eq!((ended.status, ended.sense[0], ended.sense[2]), (2, 0x70, 2));
    assert_eq!((ended.sense[12], ended.sense[13], ended.data_in.len()), (8, 0, 0));
}

#[test]
fn read_len_shortens_the_data_and_leaves_a_residual() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let data = bytes(1, 5000);
    let answer = |read_len, status| Answer { status, flags: READ_LEN, read_len, sense: &[0x70; 96] };
    let short = one(&mut kernel, &mut daemon, Data::In(6000), &data, answer(5000, 0));
    assert_eq!((&short.data_in, short.residual, short.read_len), (&data, 1000, true));
    // More than was asked for is clipped; 0 is the same as not given.
    let clipped = one(&mut kernel, &mut daemon, Data::In(5000), &data, answer(9999, 0));
    assert_eq!((&clipped.data_in, clipped.residual, clipped.read_len), (&data, 0, true));
    let zero = one(&mut kernel, &mut daemon, Data::In(5000), &data, answer(0, 0));
    assert_eq!((&zero.data_in, zero.residual, zero.read_len), (&data, 0, false));
    // With it even a failed command has data.
    let failed = one(&mut kernel, &mut daemon, Data::In(5000), &data[..17], answer(17, 2));
    assert_eq!((&failed.data_in[..], failed.status, failed.residual), (&data[..17], 2, 4983));
    assert_eq!(failed.sense, [0x70; 96]);
    // It means nothing for data-out.
    let out = one(&mut kernel, &mut daemon, Data::Out(&data), &[], answer(10, 0));
    assert_eq!((out.residual, out.read_len), (0, false));
    kernel.check().unwrap();
}

#[test]
fn features_that_are_off_are_not_understood() {
    let features = Features { read_len: false, keep_buf: false, ..Features::default() };
    let (mut kernel, mut daemon) = pair(Options { features, ..Options::default() });
    let answer = Answer { flags: READ_LEN | KEEP_BUF, read_len: 10, ..GOOD };
    let ended = one(&mut kernel, &mut daemon, Data::In(100), &[7; 100], answer);
    assert_eq!((ended.data_in, ended.residual, ended.kept), (vec![7; 100], 0, false));
    assert_eq!(kernel.kept().count(), 0);
}

#[test]
fn both_directions_at_once_have_a_group_of_vectors_each() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let (out, input) = (bytes(1, 5000), bytes(2, 9000));
    queue(&mut kernel, 0, Data::Both { out: &out, input: 9000 }).unwrap();
    let [request] = &daemon.commands()[..] else { panic!("one command") };
    assert_eq!(daemon.fetch(&request.vectors), out);
    assert_eq!(daemon.fetch(&request.bidi).len(), 9000);
    daemon.fill(&request.bidi, &input);
    daemon.answer(request.id, Answer { flags: READ_LEN, read_len: 10, ..GOOD });
    let ended = collected(&mut kernel);
    assert_eq!((&ended[0].data_in, ended[0].read_len), (&input, false), "READ_LEN is for plain reads");
    kernel.check().unwrap();
}

#[test]
fn a_kept_buffer_stays_the_daemons_until_it_is_freed() {
    let (mut kernel, mut daemon) = pair(Options { data_blocks: 3, ..Options::default() });
    let keep = Answer { flags: KEEP_BUF, ..GOOD };
    let ended = one(&mut kernel, &mut daemon, Data::In(8192), &[3; 8192], keep);
    assert!(ended.kept && ended.data_in == vec![3; 8192]);
    assert_eq!((kernel.kept().collect::<Vec<_>>(), kernel.outstanding().count()), (vec![CommandId(1)], 0));
    assert_eq!((kernel.free_blocks(), kernel.blocks_of(CommandId(1))), (1, &[0, 1][..]));
    // Late writes are what it is for.
    daemon.map.copy_in(65536, &[9; 8192]).unwrap();
    kernel.check().unwrap();
    assert_eq!(queue(&mut kernel, 1, Data::In(8192)), Err(QueueError::Full));
    assert_eq!(queue(&mut kernel, 1, Data::In(4096)), Ok(CommandId(2)), "the id is taken too");

    kernel.free_kept_buf(CommandId(1)).unwrap();
    assert_eq!(kernel.free_kept_buf(CommandId(1)), Err(ControlError::NotKept { id: CommandId(1) }));
    assert_eq!(kernel.free_kept_buf(CommandId(2)), Err(ControlError::NotKept { id: CommandId(2) }));
    assert_eq!((kernel.free_blocks(), queue(&mut kernel, 1, Data::In(8192))), (2, Ok(CommandId(1))));
    kernel.check().unwrap();
}

#[test]
fn completing_a_kept_command_again_breaks_the_device() {
    let (mut kernel, mut daemon) = pair(Options::default());
    one(&mut kernel, &mut daemon, Data::None, &[], Answer { flags: KEEP_BUF, ..GOOD });
    queue(&mut kernel, 1, Data::None).unwrap();
    daemon.commands();
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [0; 0]);
    assert!(kernel.is_broken());
    let again = Violation::CompletedKept { id: CommandId(1) };
    assert_eq!(kernel.check().unwrap_err().violations, [again]);
}

#[test]
fn closing_and_resetting_free_kept_buffers() {
    for reset in [false, true] {
        let (mut kernel, mut daemon) = pair(Options { data_blocks: 4, ..Options::default() });
        one(&mut kernel, &mut daemon, Data::In(8192), &[3; 8192], Answer { flags: KEEP_BUF, ..GOOD });
        queue(&mut kernel, 1, Data::In(100)).unwrap();
        if reset {
            kernel.reset_ring(ResetMode::Busy);
        } else {
            kernel.user_closed();
        }
        assert_eq!(kernel.kept().count(), 0);
        assert_eq!(kernel.free_blocks(), if reset { 4 } else { 3 });
        assert_eq!(kernel.outstanding().count(), usize::from(!reset), "closing ends no command");
    }
}
