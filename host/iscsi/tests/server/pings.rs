//! NOP-Out and NOP-In in both directions.

use std::time::Duration;

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{Pdu, answer, nop_out};
use crate::support::{Bench, Login};

#[test]
fn a_ping_is_echoed_as_far_as_the_initiator_can_take_it() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::default().key("MaxRecvDataSegmentLength", "512"));
    let data = vec![7; 1000];
    initiator.send(nop_out(3, &data));
    let pong = initiator.expect(answer::NOP_IN);
    assert_eq!((pong.task_tag(), pong.transfer_tag(), pong.data.len()), (3, u32::MAX, 512));
}

#[test]
fn a_ping_without_a_tag_is_not_answered() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    initiator.send(nop_out(u32::MAX, b"").immediate());
    initiator.expect_silence();
}

fn restless() -> ServerLimits {
    ServerLimits {
        ping_after: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    }
}

#[test]
fn a_silent_initiator_is_pinged_and_stays_if_it_answers() {
    let bench = Bench::with(restless());
    let mut initiator = bench.login();
    for _ in 0..5 {
        let ping = initiator.expect(answer::NOP_IN);
        assert_eq!(ping.task_tag(), u32::MAX);
        assert_ne!(ping.transfer_tag(), u32::MAX);
        initiator.send(Pdu::new(0x40, 0x80).put32(16, u32::MAX).put32(20, ping.transfer_tag()));
    }
    assert_eq!(bench.server.status().sessions, 1);
}

#[test]
fn a_silent_initiator_that_does_not_answer_is_lost() {
    let bench = Bench::with(restless());
    let mut initiator = bench.login();
    initiator.expect(answer::NOP_IN);
    initiator.expect_end();
    bench.wait("the session's end", |status| status.sessions == 0 && status.connections == 0);
}
