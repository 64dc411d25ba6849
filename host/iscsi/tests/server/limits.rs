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
