//! ABORT TASK, ABORT TASK SET, CLEAR TASK SET: answered when every command that they ended has left its LUN.

use lunbox_iscsi::ServerLimits;
use lunbox_iscsi::lun::TaskManagement;

use crate::support::pdu::{answer, scsi, task_management, write_10};
use crate::support::{Bench, Login};

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_ACA: u8 = 3;
const CLEAR_TASK_SET: u8 = 4;
const REASSIGN: u8 = 8;

#[test]
fn an_abort_is_answered_when_the_command_has_ended() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("F", 0, &[0; 6]);
    let begun = bench.script.wait_begun(1);
    initiator.send(task_management(ABORT_TASK, 50, tag, initiator.cmd_sn - 1).immediate());
    assert_eq!(bench.script.wait_abort(), (TaskManagement::AbortTask, vec![begun[0].id]));
    initiator.expect_silence();
    bench.script.finish(0, 0);
    let end = initiator.expect(answer::TASK_MANAGEMENT);
    assert_eq!((end.task_tag(), end.response()), (50, 0));
    initiator.expect_silence();
}

#[test]
fn an_abort_of_a_write_that_waits_for_data_is_answered_at_once() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let tag = initiator.command("Fw", 512, &write_10(0, 1));
    let r2t = initiator.expect(answer::R2T);
    initiator.send(task_management(ABORT_TASK, 50, tag, 0).immediate());
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    // The data was on its way; the tag may be used again.
    initiator.answer_r2t(&r2t, &[1; 512]);
    initiator.send(scsi(tag, "F", 0, &[0; 6]));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0);
    assert_eq!(bench.script.begun().len(), 1, "the LUN never saw the write");
}

#[test]
fn an_abort_of_nothing_says_so() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    initiator.send(task_management(ABORT_TASK, 50, 4711, initiator.cmd_sn - 1).immediate());
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 1);
}

#[test]
fn an_abort_of_a_command_on_another_lun_says_so() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(task_management(ABORT_TASK, 50, tag, initiator.cmd_sn - 1).lun(1).immediate());
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 1);
    bench.script.release();
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), tag);
}

#[test]
fn a_command_that_has_not_come_yet_is_aborted_in_advance() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let missing = initiator.cmd_sn;
    initiator.cmd_sn += 1;
    initiator.send(task_management(ABORT_TASK, 50, 4711, missing).immediate());
    let end = initiator.expect(answer::TASK_MANAGEMENT);
    assert_eq!(end.response(), 0);
    // When it comes all the same it is late.
    initiator.send_as_is(&scsi(4711, "F", 0, &[0; 6]).put32(24, missing));
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty());
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!((end.status(), end.exp_cmd_sn()), (0, missing + 2));
}

#[test]
fn abort_task_set_ends_the_sessions_commands_on_one_lun() {
    let bench = Bench::new();
    bench.script.hold();
    bench.second.hold();
    let mut initiator = bench.login();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    for _ in 0..3 {
        initiator.command("F", 0, &[0; 6]);
    }
    let elsewhere = initiator.tag();
    initiator.send(scsi(elsewhere, "F", 0, &[0; 6]).lun(1));
    bench.script.wait_begun(3);
    let foreign = other.command("F", 0, &[0; 6]);
    bench.script.wait_begun(4);
    bench.second.wait_begun(1);
    initiator.send(task_management(ABORT_TASK_SET, 50, u32::MAX, 0));
    let (kind, ids) = bench.script.wait_abort();
    assert_eq!((kind, ids.len()), (TaskManagement::AbortTaskSet, 3));
    for nth in [2, 0] {
        bench.script.finish(nth, 0);
        initiator.expect_silence();
    }
    bench.script.finish(1, 0);
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    bench.script.release();
    bench.second.release();
    assert_eq!(other.expect(answer::SCSI_RESPONSE).task_tag(), foreign);
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), elsewhere);
}

#[test]
fn commands_numbered_behind_a_function_are_not_touched() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    // Function 0, a command with number 2 that comes first, then the command with number 1.
    initiator.send_as_is(&scsi(12, "F", 0, &[0; 6]).put32(24, first + 2));
    initiator.send_as_is(&task_management(ABORT_TASK_SET, 50, u32::MAX, 0).put32(24, first + 1));
    initiator.send_as_is(&scsi(10, "F", 0, &[0; 6]).put32(24, first));
    initiator.cmd_sn += 3;
    bench.script.wait_begun(2);
    bench.script.release();
    let mut answers = [initiator.receive(), initiator.receive()];
    answers.sort_by_key(|pdu| pdu.opcode());
    assert_eq!((answers[0].opcode(), answers[0].task_tag()), (answer::SCSI_RESPONSE, 12));
    assert_eq!((answers[1].opcode(), answers[1].response()), (answer::TASK_MANAGEMENT, 0));
    initiator.expect_silence();
}

#[test]
fn clear_task_set_ends_the_commands_of_others_and_tells_them() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    other.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(task_management(CLEAR_TASK_SET, 50, u32::MAX, 0));
    assert_eq!(bench.script.wait_abort().0, TaskManagement::ClearTaskSet);
    bench.script.release();
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    other.expect_silence();
    assert_eq!(other.execute("F", 0, &[0; 6]).1.sense(), (6, 0x2f, 0));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0, "the issuer knows");
}

#[test]
fn what_is_not_supported_says_so() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    for (function, lun, response) in [(CLEAR_ACA, 0, 5), (REASSIGN, 0, 4), (77, 0, 5), (ABORT_TASK_SET, 9, 2)]
    {
        initiator.send(task_management(function, 50, u32::MAX, 0).lun(lun));
        assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), response, "{function}");
    }
}

#[test]
fn one_session_does_not_use_up_the_functions_of_the_others() {
    let bench = Bench::with(ServerLimits { connections: 2, ..ServerLimits::default() });
    bench.script.hold();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut greedy = bench.login();
    greedy.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    for tag in 1000..1130 {
        greedy.send(task_management(ABORT_TASK_SET, tag, u32::MAX, 0).immediate());
    }
    for _ in 64..130 {
        let reject = greedy.expect(answer::REJECT);
        assert_eq!(reject.response(), 0x06, "too many immediate commands");
    }
    other.send(task_management(ABORT_TASK_SET, 50, u32::MAX, 0).immediate());
    assert_eq!(other.expect(answer::TASK_MANAGEMENT).response(), 0);
    bench.script.release();
    for tag in 1000..1064 {
        let end = greedy.expect(answer::TASK_MANAGEMENT);
        assert_eq!((end.task_tag(), end.response()), (tag, 0));
    }
    // They have been answered: there is room for others.
    greedy.send(task_management(ABORT_TASK_SET, 50, u32::MAX, 0).immediate());
    assert_eq!(greedy.expect(answer::TASK_MANAGEMENT).response(), 0);
}

#[test]
fn two_functions_wait_for_the_same_command() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(task_management(ABORT_TASK, 50, tag, 0).immediate());
    initiator.send(task_management(ABORT_TASK_SET, 51, u32::MAX, 0));
    initiator.expect_silence();
    bench.script.release();
    for tag in [50, 51] {
        let end = initiator.expect(answer::TASK_MANAGEMENT);
        assert_eq!((end.task_tag(), end.response()), (tag, 0));
    }
}

#[test]
fn a_command_that_waits_for_room_is_aborted_at_once() {
    let bench = Bench::new();
    bench.script.set_capacity(1);
    bench.script.hold();
    let mut initiator = bench.login();
    let running = initiator.command("F", 0, &[0; 6]);
    let waiting = initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(task_management(ABORT_TASK, 50, waiting, 0).immediate());
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    bench.script.release();
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), running);
    initiator.expect_silence();
    assert_eq!(bench.script.begun().len(), 1);
}
