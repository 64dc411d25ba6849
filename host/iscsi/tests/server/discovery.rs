//! SendTargets (RFC 7143 appendix C) and what a discovery session may not do.

use crate::support::pdu::{Pdu, answer, text};
use crate::support::{Bench, Login, TARGET};

fn values(reply: &Pdu) -> Vec<String> {
    String::from_utf8(reply.data.clone()).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_discovery_session_is_told_the_target_at_the_address_it_came_to() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::discovery());
    let tag = initiator.tag();
    initiator.send(text(tag, &[("SendTargets", "All")]));
    let reply = initiator.expect(answer::TEXT);
    assert!(reply.is_final() && reply.task_tag() == tag && reply.transfer_tag() == u32::MAX, "{reply:?}");
    let wanted = [format!("TargetName={TARGET}"), format!("TargetAddress={},1", bench.address())];
    assert_eq!(values(&reply), wanted);
}

#[test]
fn a_normal_session_is_told_its_own_target_only() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let tag = initiator.tag();
    initiator.send(text(tag, &[("SendTargets", "")]));
    assert_eq!(values(&initiator.expect(answer::TEXT))[0], format!("TargetName={TARGET}"));
    initiator.send(text(tag, &[("SendTargets", "All")]));
    assert_eq!(values(&initiator.expect(answer::TEXT)), ["SendTargets=Reject"]);
}

#[test]
fn a_discovery_session_has_no_commands() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::discovery());
    initiator.command("F", 0, &[0; 6]);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x04);
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty());
}

#[test]
fn a_text_may_come_in_pieces() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::discovery());
    let mut first = text(7, &[]).data(b"SendTar");
    first.bhs[1] = 0x40; // C
    initiator.send(first);
    let reply = initiator.expect(answer::TEXT);
    assert!(!reply.is_final() && reply.data.is_empty() && reply.transfer_tag() != u32::MAX, "{reply:?}");
    initiator.send(text(7, &[]).data(b"gets=All\0").put32(20, reply.transfer_tag()));
    assert_eq!(values(&initiator.expect(answer::TEXT)).len(), 2);
}

#[test]
fn a_text_that_goes_on_with_nothing_is_rejected() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::discovery());
    initiator.send(text(7, &[("SendTargets", "All")]).put32(20, 77));
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x04);
    initiator.expect_silence();
}
