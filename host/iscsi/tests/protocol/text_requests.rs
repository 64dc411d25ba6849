//! Text requests in the full feature phase: SendTargets and what may still be declared.

use crate::login::{TARGET, policy, wire};
use lunbox_iscsi::login::full_feature::{FullFeature, TextAnswer, answer};
use lunbox_iscsi::login::{LoginPolicy, SessionType};
use lunbox_iscsi::pdu::codes::RejectReason;

const OTHER: &str = "iqn.2026-01.example:other";

fn context(policy: &LoginPolicy, session_type: SessionType) -> FullFeature<'_> {
    FullFeature {
        session_type,
        targets: &policy.targets,
        target: (session_type == SessionType::Normal).then_some(0),
        portal: "127.0.0.1:3260".parse().unwrap(),
        portal_group_tag: 1,
        reply_max: 8192,
    }
}

fn asked(session_type: SessionType, keys: &str) -> String {
    let policy = policy(false);
    let TextAnswer { text, max_send_segment } = answer(&wire(keys), &context(&policy, session_type)).unwrap();
    assert_eq!(max_send_segment, None);
    String::from_utf8(text).unwrap().replace('\0', " ")
}

#[test]
fn send_targets_in_a_discovery_session() {
    let first = format!("TargetName={TARGET} TargetAddress=127.0.0.1:3260,1 ");
    let second = format!("TargetName={OTHER} TargetAddress=127.0.0.1:3260,1 ");
    let discovery = SessionType::Discovery;
    assert_eq!(asked(discovery, "SendTargets=All"), format!("{first}{second}"));
    assert_eq!(asked(discovery, &format!("SendTargets={OTHER}")), second);
    assert_eq!(asked(discovery, "SendTargets=iqn.nobody"), "");
    assert_eq!(asked(discovery, "SendTargets="), "SendTargets=Reject ");
}

#[test]
fn send_targets_in_a_normal_session_shows_its_own_target_only() {
    let own = format!("TargetName={TARGET} TargetAddress=127.0.0.1:3260,1 ");
    let normal = SessionType::Normal;
    assert_eq!(asked(normal, "SendTargets="), own);
    assert_eq!(asked(normal, &format!("SendTargets={}", TARGET.to_uppercase())), own);
    assert_eq!(asked(normal, &format!("SendTargets={OTHER}")), "");
    assert_eq!(asked(normal, "SendTargets=All"), "SendTargets=Reject ");
}

#[test]
fn addresses_of_version_six_stand_in_brackets() {
    let policy = policy(false);
    let context =
        FullFeature { portal: "[::1]:860".parse().unwrap(), ..context(&policy, SessionType::Normal) };
    let text = answer(&wire("SendTargets="), &context).unwrap().text;
    assert!(text.ends_with(b"TargetAddress=[::1]:860,1\0"));
}

#[test]
fn the_address_is_one_that_the_initiator_can_use() {
    let policy = policy(false);
    for (portal, told) in
        [("[::ffff:192.0.2.1]:3260", "192.0.2.1:3260"), ("[fe80::1%2]:860", "[fe80::1]:860")]
    {
        let context =
            FullFeature { portal: portal.parse().unwrap(), ..context(&policy, SessionType::Normal) };
        let text = String::from_utf8(answer(&wire("SendTargets="), &context).unwrap().text).unwrap();
        assert!(text.ends_with(&format!("TargetAddress={told},1\0")), "{text}");
    }
}

#[test]
fn only_the_segment_length_may_change() {
    let policy = policy(false);
    let context = context(&policy, SessionType::Normal);
    let changed = answer(&wire("MaxRecvDataSegmentLength=65536"), &context).unwrap();
    assert_eq!(changed, TextAnswer { text: Vec::new(), max_send_segment: Some(65_536) });
    for (keys, expected) in [
        ("MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength=Reject "),
        ("MaxBurstLength=1024", "MaxBurstLength=Reject "),
        ("HeaderDigest=CRC32C", "HeaderDigest=Reject "),
        ("X-vendor=1", "X-vendor=NotUnderstood "),
        ("X-vendor=NotUnderstood", ""),
        ("", ""),
    ] {
        assert_eq!(asked(SessionType::Normal, keys), expected);
    }
}

#[test]
fn broken_and_oversized_texts_are_rejected() {
    let policy = policy(false);
    let context = context(&policy, SessionType::Discovery);
    let reason = |keys: &str, context: &FullFeature<'_>| answer(&wire(keys), context).unwrap_err().reason;
    for keys in [
        "SendTargets",
        "SendTargets=All SendTargets=All",
        "MaxRecvDataSegmentLength=512 MaxRecvDataSegmentLength=512",
    ] {
        assert_eq!(reason(keys, &context), RejectReason::ProtocolError, "{keys}");
    }
    let exact = answer(&wire("SendTargets=All"), &context).unwrap().text.len();
    let exact = u32::try_from(exact).unwrap();
    assert!(answer(&wire("SendTargets=All"), &FullFeature { reply_max: exact, ..context }).is_ok());
    let small = FullFeature { reply_max: exact - 1, ..context };
    assert_eq!(reason("SendTargets=All", &small), RejectReason::LongOperationReject);
}
