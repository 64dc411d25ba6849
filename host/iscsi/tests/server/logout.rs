//! Logout (RFC 7143 11.14).

use crate::support::pdu::{answer, logout};
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
    let reply = first.expect(answer::LOGOUT);
    assert_eq!((reply.task_tag(), reply.response()), (9, 0));
    first.expect_end();
    second.expect_end();
    bench.wait("nothing left", |status| status.sessions == 0 && status.connections == 0);
    bench.script.release();
    bench.script.wait_idle();
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
