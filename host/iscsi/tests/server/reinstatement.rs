//! The same initiator port once more (RFC 7143 6.3.4, 6.3.5).

use std::time::Duration;

use lunbox_iscsi::ServerLimits;

use crate::support::{Bench, Login};

#[test]
fn a_new_session_of_the_same_port_takes_the_place_of_the_old_one() {
    let bench = Bench::new();
    let mut old = bench.login();
    let mut new = bench.login();
    assert_ne!(new.tsih, old.tsih);
    old.expect_end();
    bench.wait("one session", |status| status.sessions == 1 && status.connections == 1);
    new.expect_silence();
    assert_eq!(new.execute("F", 0, &[0; 6]).1.sense(), (6, 0x29, 0x07), "I_T NEXUS LOSS OCCURRED");
    assert_eq!(new.execute("F", 0, &[0; 6]).1.status(), 0, "told once");
}

#[test]
fn a_new_session_begins_when_the_commands_of_the_old_one_have_ended() {
    let bench = Bench::new();
    bench.script.hold();
    let mut bystander = bench.bystander();
    let mut old = bench.login();
    for _ in 0..2 {
        old.command("F", 0, &[0; 6]);
    }
    bench.script.wait_begun(2);
    let mut new = bench.connect();
    new.ask_to_login(&Login::default());
    old.expect_end();
    bystander.expect_silence();
    assert!(new.has_nothing());
    bench.script.finish(0, 0);
    bench.wait("one has ended", |status| status.luns[0].in_flight == 1);
    bystander.expect_silence();
    assert!(new.has_nothing(), "the other could still be done behind a command of the new session");
    bench.script.finish(1, 0);
    let reply = new.login_reply();
    assert_eq!(reply.get16(36), 0, "{reply:?}");
    assert_eq!((reply.exp_cmd_sn(), bench.server.status().sessions), (100, 2));
    new.expect_silence();
}

#[test]
fn a_lost_session_is_waited_for_by_every_port_of_its_initiator_and_by_nobody_else() {
    let bench = Bench::new();
    bench.script.hold();
    let mut lost = bench.login();
    lost.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    drop(lost);
    bench.wait("the session's end", |status| status.sessions == 0);
    let mut waiting = [bench.connect(), bench.connect()];
    for (isid, initiator) in (1..).zip(&mut waiting) {
        initiator.ask_to_login(&Login { isid, ..Login::default() });
    }
    bench.wait("both are there", |status| status.connections == 2);
    let mut bystander = bench.bystander();
    bystander.expect_silence();
    // A discovery session has no commands.
    bench.login_as(&Login::discovery()).expect_silence();
    assert!(waiting.iter().all(crate::support::Initiator::has_nothing));
    bench.script.release();
    for initiator in &mut waiting {
        assert_eq!(initiator.login_reply().get16(36), 0);
        assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0);
    }
}

#[test]
fn a_login_does_not_wait_for_ever() {
    let limits = ServerLimits { login_timeout: Duration::from_millis(300), ..ServerLimits::default() };
    let bench = Bench::with(limits);
    bench.script.hold();
    let mut old = bench.login();
    old.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    for _ in 0..2 {
        let mut new = bench.connect();
        assert_eq!(new.try_login(&Login::default()).get16(36), 0x0301, "service unavailable");
        new.expect_end();
    }
    bench.wait("two failures", |status| status.logins_failed == 2 && status.sessions == 0);
    bench.script.release();
    bench.script.wait_idle();
    bench.wait("the end is known", |status| status.luns[0].in_flight == 0);
    bench.login().expect_silence();
}

#[test]
fn two_logins_of_the_same_port_that_wait_become_one_session() {
    let bench = Bench::new();
    bench.script.hold();
    let mut old = bench.login();
    old.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let mut both = [bench.connect(), bench.connect()];
    for initiator in &mut both {
        initiator.ask_to_login(&Login::default());
    }
    old.expect_end();
    bench.bystander().expect_silence();
    bench.wait("both are there", |status| status.connections >= 2);
    bench.script.release();
    bench.wait("one is left", |status| status.sessions == 1 && status.connections == 1);
}

#[test]
fn another_port_or_another_initiator_is_another_session() {
    let bench = Bench::new();
    let mut first = bench.login();
    let mut second = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut third = bench.login_as(&Login::default().key("InitiatorName", "iqn.1994-05.org.example:else"));
    for initiator in [&mut first, &mut second, &mut third] {
        initiator.expect_silence();
    }
    assert_eq!(bench.server.status().sessions, 3);
}

#[test]
fn a_connection_with_the_same_id_takes_the_place_of_the_old_one() {
    let bench = Bench::new();
    bench.script.hold();
    let mut old = bench.login_as(&Login::generous());
    old.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let again = Login { tsih: old.tsih, cmd_sn: old.cmd_sn, ..Login::generous() };
    let mut new = bench.connect();
    new.ask_to_login(&again);
    old.expect_end();
    bench.bystander().expect_silence();
    assert!(new.has_nothing(), "the command of the old connection is still running");
    bench.script.release();
    assert_eq!((new.login_reply().get16(36), new.tsih), (0, old.tsih));
    new.expect_silence();
    let (_, end) = new.execute("F", 0, &[0; 6]);
    assert_eq!((end.status(), end.exp_cmd_sn()), (0, again.cmd_sn + 1), "the numbering goes on");
    bench.wait("one session", |status| status.sessions == 1);
}

#[test]
fn a_successor_that_vanishes_while_it_waits_leaves_no_session() {
    let bench = Bench::new();
    bench.script.hold();
    let mut old = bench.login_as(&Login::generous());
    old.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let mut new = bench.connect();
    new.ask_to_login(&Login { tsih: old.tsih, cmd_sn: old.cmd_sn, ..Login::generous() });
    old.expect_end();
    assert_eq!(bench.server.status().sessions, 1);
    drop(new);
    bench.wait("nothing is left", |status| status.sessions == 0 && status.connections == 0);
    bench.script.release();
    bench.script.wait_idle();
    bench.login().expect_silence();
}
