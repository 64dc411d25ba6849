//! Logout (RFC 7143 11.14).

use std::time::Duration;

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{answer, logout, scsi};
use crate::support::{Bench, Login};

#[test]
fn a_session_is_closed_with_all_its_connections() {
    let bench = Bench::new();
    bench.script.hold();
    let mut first = bench.login_as(&Login::generous());
    let mut second = bench.login_as(&Login { tsih: first.tsih, cid: 1, ..Login::generous() });
    first.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    first.send(logout(9, 0, 0));
    second.expect_end();
    bench.bystander().expect_silence();
    assert!(first.has_nothing(), "the command is still running");
    bench.script.release();
    let reply = first.expect(answer::LOGOUT);
    assert_eq!((reply.task_tag(), reply.response()), (9, 0));
    assert_eq!(reply.exp_cmd_sn(), first.cmd_sn, "both commands count");
    first.expect_end();
    bench.wait("nothing left", |status| status.sessions == 0 && status.connections == 0);
}

#[test]
fn a_logout_does_not_wait_for_ever() {
    let limits = ServerLimits { login_timeout: Duration::from_millis(300), ..ServerLimits::default() };
    let bench = Bench::with(limits);
    bench.script.hold();
    let mut initiator = bench.login();
    initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(logout(9, 1, 0));
    let reply = initiator.expect(answer::LOGOUT);
    assert_eq!((reply.task_tag(), reply.response()), (9, 3), "cleanup failed");
    initiator.expect_end();
    bench.script.release();
    bench.script.wait_idle();
}

#[test]
fn the_logout_of_another_connection_waits_for_its_commands_alone() {
    let bench = Bench::new();
    bench.script.hold();
    let mut first = bench.login_as(&Login::generous());
    let mut second = bench.login_as(&Login { tsih: first.tsih, cid: 1, ..Login::generous() });
    let mine = first.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    second.cmd_sn = first.cmd_sn;
    // The tags are those of the session.
    second.send(scsi(mine + 1, "F", 0, &[0; 6]));
    first.cmd_sn = second.cmd_sn;
    bench.script.wait_begun(2);
    first.send(logout(9, 1, 1));
    second.expect_end();
    first.expect_silence();
    bench.script.finish(0, 0);
    assert_eq!(first.expect(answer::SCSI_RESPONSE).task_tag(), mine);
    first.expect_silence();
    bench.script.finish(1, 0);
    assert_eq!(first.expect(answer::LOGOUT).response(), 0);
    first.expect_silence();
}

#[test]
fn one_connection_is_closed_and_the_session_goes_on() {
    let bench = Bench::new();
    let mut first = bench.login_as(&Login::generous());
    let mut second = bench.login_as(&Login { tsih: first.tsih, cid: 1, ..Login::generous() });
    first.send(logout(9, 1, 1));
    assert_eq!(first.expect(answer::LOGOUT).response(), 0);
    second.expect_end();
    assert_eq!(first.execute("F", 0, &[0; 6]).1.status(), 0);
    first.send(logout(9, 1, 7));
    assert_eq!(first.expect(answer::LOGOUT).response(), 1, "no such connection");
    first.send(logout(9, 2, 0));
    assert_eq!(first.expect(answer::LOGOUT).response(), 2, "no recovery");
    first.send(logout(9, 1, 0));
    assert_eq!(first.expect(answer::LOGOUT).response(), 0);
    first.expect_end();
    bench.wait("the last connection was the session", |status| status.sessions == 0);
}
