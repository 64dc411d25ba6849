//! The same initiator port once more (RFC 7143 6.3.4, 6.3.5).

use crate::support::{Bench, Login};

#[test]
fn a_new_session_of_the_same_port_takes_the_place_of_the_old_one() {
    let bench = Bench::new();
    bench.script.hold();
    let mut old = bench.login();
    old.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let mut new = bench.login();
    assert_ne!(new.tsih, old.tsih);
    old.expect_end();
    bench.wait("one session", |status| status.sessions == 1 && status.connections == 1);
    bench.script.release();
    new.expect_silence();
    assert_eq!(new.execute("F", 0, &[0; 6]).1.status(), 0);
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
    let mut new = bench.login_as(&again);
    assert_eq!(new.tsih, old.tsih);
    old.expect_end();
    bench.script.release();
    new.expect_silence();
    let (_, end) = new.execute("F", 0, &[0; 6]);
    assert_eq!((end.status(), end.exp_cmd_sn()), (0, again.cmd_sn + 1), "the numbering goes on");
    assert_eq!(bench.server.status().sessions, 1);
}
