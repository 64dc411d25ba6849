//! The order of commands (RFC 7143 4.2.2.1).

use crate::support::pdu::{answer, nop_out, read_10, scsi, task_management, text, write_10};
use crate::support::{Bench, Login, pattern};

#[test]
fn commands_wait_for_those_before_them() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    for offset in [2, 1] {
        initiator.send_as_is(&scsi(offset, "Fr", 512, &read_10(offset, 1)).put32(24, first + offset));
    }
    initiator.cmd_sn = first;
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty(), "the first is missing");
    initiator.send(scsi(50, "Fr", 512, &read_10(0, 1)));
    for tag in [50, 1, 2] {
        let (_, end) = initiator.finish_read(tag);
        assert_eq!(end.status(), 0);
    }
    let order: Vec<u8> = bench.script.begun().iter().map(|command| command.cdb[5]).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn commands_outside_of_the_window_are_dropped_silently() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    for number in [first - 1, first.wrapping_sub(1000), first + 128, first + 5000] {
        initiator.send_as_is(&scsi(9, "F", 0, &[0; 6]).put32(24, number));
    }
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty());
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!(end.status(), 0, "and the session goes on");
}

#[test]
fn the_same_number_counts_once() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let number = initiator.cmd_sn;
    initiator.send_as_is(&scsi(1, "F", 0, &[0; 6]).put32(24, number + 1));
    initiator.send_as_is(&scsi(2, "F", 0, &[0; 6]).put32(24, number + 1));
    initiator.send(scsi(3, "F", 0, &[0; 6]));
    initiator.cmd_sn += 1;
    for tag in [3, 1] {
        assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), tag);
    }
    initiator.expect_silence();
    assert_eq!(bench.script.begun().len(), 2);
}

#[test]
fn the_window_shuts_when_as_many_run_as_may_and_opens_again() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    bench.script.hold();
    let first = initiator.cmd_sn;
    for _ in 0..128 {
        initiator.command("F", 0, &[0; 6]);
    }
    bench.script.wait_begun(128);
    let tag = initiator.tag();
    initiator.send(nop_out(tag, b"").immediate());
    let pong = initiator.expect(answer::NOP_IN);
    assert_eq!((pong.exp_cmd_sn(), pong.max_cmd_sn()), (first + 128, first + 127));
    let late = initiator.cmd_sn;
    initiator.send_as_is(&scsi(999, "F", 0, &[0; 6]).put32(24, late));
    initiator.expect_silence();
    assert_eq!(bench.script.begun().len(), 128, "dropped");

    bench.script.release();
    let mut last = first + 127;
    for _ in 0..128 {
        let max = initiator.expect(answer::SCSI_RESPONSE).max_cmd_sn();
        assert_eq!(max, last + 1, "each end opens the window by one");
        last = max;
    }
}

#[test]
fn an_early_command_does_not_shut_the_window() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    initiator.send_as_is(&scsi(1, "F", 0, &[0; 6]).put32(24, first + 127));
    let tag = initiator.tag();
    initiator.send(nop_out(tag, b"").immediate());
    assert_eq!(initiator.expect(answer::NOP_IN).max_cmd_sn(), first + 127, "it never goes back");
}

#[test]
fn immediate_commands_do_not_wait_and_use_no_number() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    initiator.send_as_is(&scsi(1, "F", 0, &[0; 6]).put32(24, first + 1));
    initiator.send(scsi(2, "F", 0, &[0; 6]).immediate());
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.exp_cmd_sn()), (2, first));
}

#[test]
fn too_many_immediate_commands_are_rejected() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    bench.script.hold();
    for tag in 0..65 {
        initiator.send(scsi(1000 + tag, "F", 0, &[0; 6]).immediate());
    }
    let reject = initiator.expect(answer::REJECT);
    assert_eq!((reject.response(), &reject.data[16..20]), (0x06, &1064u32.to_be_bytes()[..]));
    assert_eq!(bench.script.wait_begun(64).len(), 64);
}

#[test]
fn other_requests_wait_for_their_turn_too() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    initiator.send_as_is(&nop_out(1, b"echo").put32(24, first + 1));
    initiator.send_as_is(&text(2, &[("SendTargets", "")]).put32(24, first + 2));
    initiator.expect_silence();
    initiator.send(scsi(3, "F", 0, &[0; 6]));
    initiator.cmd_sn += 2;
    // The ping and the text are answered by the protocol, the command by its LUN: their order is free.
    let mut answers: Vec<u8> = (0..3).map(|_| initiator.receive().opcode()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [answer::NOP_IN, answer::SCSI_RESPONSE, answer::TEXT]);
}

#[test]
fn an_early_write_collects_its_data_and_waits() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let data = pattern(2048, 1);
    let first = initiator.cmd_sn;
    let early = scsi(1, "w", 2048, &write_10(4, 4)).data(&data[..512]).put32(24, first + 1);
    initiator.send_as_is(&early);
    initiator.send(crate::support::pdu::data_out(1, u32::MAX, 0, 512, true, &data[512..]));
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty());
    initiator.send(scsi(2, "F", 0, &[0; 6]));
    initiator.cmd_sn += 1;
    for tag in [2, 1] {
        let end = initiator.expect(answer::SCSI_RESPONSE);
        assert_eq!((end.task_tag(), end.status()), (tag, 0));
    }
    assert_eq!(bench.script.disk(4, 4), data);
}

#[test]
fn a_rejected_command_uses_up_its_number() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    // R and W without the length that such a command must have.
    initiator.command("Frw", 512, &[0; 6]);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x09);
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!(end.status(), 0);
}

#[test]
fn a_malformed_pdu_that_comes_early_is_rejected_and_leaves_no_hole() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let first = initiator.cmd_sn;
    // An additional header that is longer than all of them together.
    let mut broken = scsi(1, "F", 0, &[0; 6]).put32(24, first + 1);
    broken.ahs = vec![0xff, 0xff, 1, 0];
    initiator.send_as_is(&broken);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x09);
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!((end.status(), end.exp_cmd_sn()), (0, first + 2));
}

#[test]
fn an_immediate_function_waits_for_the_commands_before_it() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    bench.script.hold();
    let first = initiator.cmd_sn;
    initiator.send_as_is(&task_management(2, 7, u32::MAX, 0).immediate().put32(24, first + 1));
    initiator.expect_silence();
    initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    bench.script.wait_abort();
    bench.script.release();
    let end = initiator.expect(answer::TASK_MANAGEMENT);
    assert_eq!((end.task_tag(), end.response()), (7, 0));
    initiator.expect_silence();
}
