//! Slow lorises: whoever begins something and does not end it loses the connection, and nobody else does.

use std::time::{Duration, Instant};

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{answer, nop_out};
use crate::support::{Bench, Login};

#[test]
fn a_login_that_takes_too_long_is_cut() {
    let limits = ServerLimits { login_timeout: Duration::from_millis(200), ..ServerLimits::default() };
    let bench = Bench::with(limits);
    let mut logged_in = bench.login();
    let mut silent = bench.connect();
    silent.expect_end();
    // Always the next request, never the end.
    let mut talker = bench.connect();
    let login = Login::default();
    let names = crate::support::pdu::keys_text(&[
        ("InitiatorName", "iqn.x:y"),
        ("TargetName", crate::support::TARGET),
    ]);
    talker.login_step(&login, 1, 1, false, &names);
    talker.expect_end();
    logged_in.expect_silence();
    bench.wait("two failed logins", |status| status.logins_failed == 2 && status.connections == 1);
}

#[test]
fn a_pdu_that_does_not_end_is_cut() {
    let limits = ServerLimits { pdu_timeout: Duration::from_millis(200), ..ServerLimits::default() };
    let bench = Bench::with(limits);
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    // A byte from time to time is no progress.
    let header = crate::support::pdu::nop_out(1, b"").bhs;
    for byte in header.iter().cycle().take(47) {
        if !initiator.send_if_possible(&[*byte]) {
            break;
        }
        other.expect_silence();
    }
    initiator.expect_end();
    other.expect_silence();
    bench.wait("the session's end", |status| status.sessions == 1);
}

#[test]
fn a_stream_that_is_always_in_the_middle_of_a_pdu_goes_on() {
    let limit = Duration::from_millis(150);
    let bench = Bench::with(ServerLimits { pdu_timeout: limit, ..ServerLimits::default() });
    let mut initiator = bench.login();
    let begin = Instant::now();
    let ping = |tag| nop_out(tag, b"").immediate().put32(24, 100).encode(false, false);
    initiator.send_bytes(&ping(0)[..20]);
    for tag in 0.. {
        // The rest of one and the beginning of the next.
        initiator.send_bytes(&[&ping(tag)[20..], &ping(tag + 1)[..20]].concat());
        assert_eq!(initiator.expect(answer::NOP_IN).task_tag(), tag);
        if begin.elapsed() > limit * 4 {
            break;
        }
    }
}
