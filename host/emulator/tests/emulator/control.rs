//! Reset, block, expiry, and a daemon that is started again.

use lunbox_emulator::{By, CommandId, ControlError, Data, Options, QueueError, ResetMode, Violation};

use crate::daemon::{Daemon, collected, pair, queue, tokens};

#[test]
fn a_reset_ends_what_is_outstanding_and_starts_at_0() {
    for (mode, status, sense) in [(ResetMode::Busy, 8, [0, 0, 0]), (ResetMode::Check, 2, [2, 8, 0])] {
        let (mut kernel, mut daemon) = pair(Options { data_blocks: 4, ..Options::default() });
        for number in 0..3 {
            queue(&mut kernel, number, Data::In(4096)).unwrap();
        }
        let requests = daemon.commands();
        daemon.fill(&requests[0].vectors, &[1; 4096]);
        daemon.good(1);
        assert_eq!(tokens(&mut kernel), [0]);
        kernel.expire(CommandId(2)).unwrap();
        assert_eq!(tokens(&mut kernel), [1]);
        // Completed but not collected: as good as outstanding.
        daemon.good(3);
        kernel.reset_ring(mode);
        assert_eq!((kernel.head(), kernel.tail(), kernel.free_blocks()), (0, 0, 4));
        assert_eq!(kernel.outstanding().count(), 0);
        let ended = collected(&mut kernel);
        assert_eq!(ended.len(), 1, "the expired one has had its answer");
        assert_eq!((ended[0].token, ended[0].status, ended[0].by), (2, status, By::Kernel));
        assert_eq!([ended[0].sense[2], ended[0].sense[12], ended[0].sense[13]], sense);
        assert_eq!(queue(&mut kernel, 5, Data::None), Ok(CommandId(1)), "ids start at 1 again");
    }
}

#[test]
fn a_completion_from_before_a_reset_ends_somebody_elses_command() {
    let (mut kernel, mut daemon) = pair(Options::default());
    queue(&mut kernel, 0, Data::None).unwrap();
    assert_eq!(daemon.commands()[0].id, 1);
    kernel.reset_ring(ResetMode::Busy);
    assert_eq!(tokens(&mut kernel), [0]);
    queue(&mut kernel, 1, Data::None).unwrap();
    // The daemon did not notice and completes id 1: the kernel can not tell.
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [1]);
    // Where there is no such command, it can.
    kernel.reset_ring(ResetMode::Busy);
    daemon.restart();
    queue(&mut kernel, 2, Data::None).unwrap();
    daemon.good(2);
    assert_eq!(tokens(&mut kernel), [0; 0]);
    assert_eq!(kernel.check().unwrap_err().violations, [Violation::UnknownCommand { id: CommandId(2) }]);
}

#[test]
fn a_daemon_that_did_not_notice_the_reset_sends_its_tail_astray() {
    let (mut kernel, mut daemon) = pair(Options::default());
    for number in 0..3 {
        queue(&mut kernel, number, Data::None).unwrap();
    }
    daemon.commands();
    daemon.good(1);
    daemon.good(2);
    assert_eq!(tokens(&mut kernel), [0, 1]);
    kernel.reset_ring(ResetMode::Busy);
    // It goes on behind its own tail.
    daemon.good(3);
    assert_eq!(tokens(&mut kernel), [2]);
    assert!(kernel.is_broken());
    assert_eq!(kernel.check().unwrap_err().violations, [Violation::TailAstray { tail: 360 }]);
}

#[test]
fn a_blocked_device_takes_nothing_new_and_finishes_the_old() {
    let (mut kernel, mut daemon) = pair(Options::default());
    queue(&mut kernel, 0, Data::None).unwrap();
    kernel.block();
    assert!(kernel.is_blocked());
    assert_eq!(queue(&mut kernel, 1, Data::None), Err(QueueError::Blocked));
    daemon.commands();
    daemon.good(1);
    assert_eq!(tokens(&mut kernel), [0]);
    kernel.unblock();
    queue(&mut kernel, 1, Data::None).unwrap();
    assert_eq!(daemon.commands().len(), 1);
}

#[test]
fn an_expired_command_is_answered_once_and_reaped_in_silence() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let id = queue(&mut kernel, 0, Data::In(4096)).unwrap();
    kernel.expire(id).unwrap();
    assert_eq!(kernel.expire(id), Err(ControlError::NotOutstanding { id }));
    assert_eq!(kernel.expire(CommandId(9)), Err(ControlError::NotOutstanding { id: CommandId(9) }));
    let ended = collected(&mut kernel);
    assert_eq!((ended.len(), ended[0].status, ended[0].by), (1, 2, By::Kernel));
    assert_eq!([ended[0].sense[2], ended[0].sense[12], ended[0].sense[13]], [2, 8, 0]);
    assert_eq!(kernel.outstanding().collect::<Vec<_>>(), [id], "the entry is still the daemon's");
    assert_eq!(queue(&mut kernel, 1, Data::None), Ok(CommandId(2)));
    daemon.commands();
    daemon.good(1);
    daemon.good(2);
    assert_eq!(tokens(&mut kernel), [1]);
    assert_eq!((kernel.outstanding().count(), kernel.free_blocks()), (0, 1024));
    kernel.check().unwrap();
}

#[test]
fn a_second_daemon_takes_over_where_the_first_died() {
    let (mut kernel, mut first) = pair(Options::default());
    queue(&mut kernel, 0, Data::None).unwrap();
    queue(&mut kernel, 1, Data::None).unwrap();
    first.commands();
    first.good(1);
    drop(first);
    let mut second = Daemon::attach(kernel.user_side().unwrap());
    let requests = second.commands();
    assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [2]);
    second.good(2);
    second.ring();
    assert_eq!(kernel.rung(), Ok(true));
    assert_eq!(tokens(&mut kernel), [0, 1]);
    kernel.check().unwrap();
}

#[test]
fn a_device_can_move_to_another_thread() {
    let (mut kernel, mut daemon) = pair(Options::default());
    let thread = std::thread::spawn(move || {
        queue(&mut kernel, 0, Data::None).unwrap();
        kernel.signal().unwrap();
        assert_eq!(kernel.wait_rung(std::time::Duration::from_secs(10)), Ok(true));
        tokens(&mut kernel)
    });
    let mut fds =
        [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(daemon.wait_fd()), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, 10_000u16), Ok(1));
    assert_eq!(daemon.events(), 1);
    assert_eq!(daemon.commands().len(), 1);
    daemon.good(1);
    daemon.ring();
    assert_eq!(thread.join().unwrap(), [0]);
}
