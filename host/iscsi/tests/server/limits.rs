//! The number of connections is bounded.

use lunbox_iscsi::ServerLimits;

use crate::support::{Bench, Login};

#[test]
fn one_connection_too_many_is_closed_at_once_and_room_appears_again() {
    let bench = Bench::with(ServerLimits { connections: 2, ..ServerLimits::default() });
    let mut first = bench.login();
    let second = bench.login_as(&Login { isid: 2, ..Login::default() });
    bench.connect().expect_end();
    first.expect_silence();
    drop(second);
    bench.wait("room", |status| status.connections == 1);
    bench.login_as(&Login { isid: 3, ..Login::default() }).expect_silence();
}

#[test]
fn whoever_does_not_log_in_makes_room_for_others() {
    let bench = Bench::with(ServerLimits { connections: 3, ..ServerLimits::default() });
    let mut first = bench.login();
    let (mut oldest, mut younger) = (bench.connect(), bench.connect());
    bench.wait("all places are taken", |status| status.connections == 3);
    let mut second = bench.login_as(&Login { isid: 2, ..Login::default() });
    oldest.expect_end();
    let mut third = bench.login_as(&Login { isid: 3, ..Login::default() });
    younger.expect_end();
    // Who is logged in keeps its place.
    bench.connect().expect_end();
    for initiator in [&mut first, &mut second, &mut third] {
        initiator.expect_silence();
    }
    assert_eq!(bench.server.status().sessions, 3);
}
