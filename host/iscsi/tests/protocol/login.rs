//! Whole logins as well-known initiators lead them.

use lunbox_iscsi::chap::{Credentials, Secret};
use lunbox_iscsi::digest::Digests;
use lunbox_iscsi::login::{
    Limits, Login, LoginPolicy, LoginStep, Negotiated, Parameters, SessionType, TargetRecord,
};
use lunbox_iscsi::pdu::codes::LoginStatus;
use lunbox_iscsi::pdu::request::LoginRequest;
use md5::Digest as _;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const TARGET: &str = "iqn.2026-01.example:lun";
pub const SECRET: &str = "twelve bytes or more";

/// A policy with two targets, the second of which has no alias.
pub fn policy(credentials: bool) -> Arc<LoginPolicy> {
    let secret = Secret::new(SECRET).unwrap();
    let record =
        |name: &str, alias: Option<&str>| TargetRecord { name: name.into(), alias: alias.map(Into::into) };
    Arc::new(LoginPolicy {
        targets: vec![record(TARGET, Some("Lunbox")), record("iqn.2026-01.example:other", None)],
        portal_group_tag: 1,
        credentials: credentials.then(|| Credentials { user: "dora".into(), secret }),
        limits: Limits::default(),
    })
}

/// A request in `stage` that wants to go to `next`, if there is a next; keys separated by blanks.
pub fn request<'a>(stage: u8, next: Option<u8>, text: &'a [u8]) -> LoginRequest<'a> {
    LoginRequest {
        immediate: true,
        transit: next.is_some(),
        continues: false,
        current_stage: stage,
        next_stage: next.unwrap_or(0),
        version_max: 0,
        version_min: 0,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 0,
        initiator_task_tag: 0x77,
        cid: 1,
        cmd_sn: 5,
        exp_stat_sn: 0,
        text,
    }
}

/// `A=1 B=2` as it stands on the wire.
pub fn wire(keys: &str) -> Vec<u8> {
    keys.split_whitespace().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

fn keys(text: &[u8]) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\0'));
    let pairs = text.split_terminator('\0').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// One exchange: stage, next stage that is asked for, keys; next stage that is granted, keys of the answer.
pub type Exchange<'a> = (u8, Option<u8>, &'a str, Option<u8>, &'a str);

/// Leads a login and compares every answer; gives the result if the full feature phase was reached.
pub fn lead(login: &mut Login, exchanges: &[Exchange<'_>]) -> Option<Negotiated> {
    let mut result = None;
    for &(stage, next, sent, granted, expected) in exchanges {
        assert!(result.is_none(), "the login is over before {sent}");
        let reply = match login.request(&request(stage, next, &wire(sent))) {
            LoginStep::Reply(reply) => reply,
            LoginStep::Done(reply, negotiated) => {
                result = Some(*negotiated);
                reply
            }
            LoginStep::Failed(_, refusal) => panic!("{sent}: {refusal}"),
        };
        assert_eq!(reply.status, LoginStatus::Success);
        assert_eq!((reply.isid, reply.tsih, reply.initiator_task_tag), ([0x80, 1, 2, 3, 4, 5], 0, 0x77));
        assert_eq!(
            (reply.current_stage, reply.transit.then_some(reply.next_stage)),
            (stage, granted),
            "{sent}"
        );
        assert_eq!(keys(&reply.text), keys(&wire(expected)), "{sent}");
    }
    result
}

const DECLARED: &str = "MaxRecvDataSegmentLength=262144";

#[test]
fn libiscsi_discovery() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[
            (
                0,
                Some(1),
                "InitiatorName=iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-ls InitiatorAlias=iscsi-ls SessionType=Discovery AuthMethod=None",
                Some(1),
                "AuthMethod=None",
            ),
            (
                1,
                Some(3),
                "HeaderDigest=None DataDigest=None InitialR2T=No ImmediateData=Yes MaxBurstLength=262144 FirstBurstLength=262144 MaxRecvDataSegmentLength=262144 DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=1 MaxOutstandingR2T=1 ErrorRecoveryLevel=0",
                Some(3),
                "HeaderDigest=None DataDigest=None InitialR2T=Irrelevant ImmediateData=Irrelevant MaxBurstLength=Irrelevant FirstBurstLength=Irrelevant MaxRecvDataSegmentLength=262144 DataPDUInOrder=Irrelevant DataSequenceInOrder=Irrelevant DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=Irrelevant MaxOutstandingR2T=Irrelevant ErrorRecoveryLevel=0",
            ),
        ],
    );
    let negotiated = negotiated.unwrap();
    assert_eq!(negotiated.session_type, SessionType::Discovery);
    assert_eq!((negotiated.target, negotiated.user), (None, None));
    assert_eq!(negotiated.initiator_alias.as_deref(), Some("iscsi-ls"));
    assert_eq!(negotiated.parameters.max_send_segment, 262_144);
}

#[test]
fn qemu_through_libiscsi() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[
            (
                0,
                Some(1),
                "InitiatorName=iqn.2008-11.org.linux-kvm InitiatorAlias=qemu TargetName=iqn.2026-01.example:lun SessionType=Normal AuthMethod=None",
                Some(1),
                "AuthMethod=None TargetPortalGroupTag=1 TargetAlias=Lunbox",
            ),
            (
                1,
                Some(3),
                "HeaderDigest=None,CRC32C DataDigest=None InitialR2T=No ImmediateData=Yes MaxBurstLength=262144 FirstBurstLength=262144 MaxRecvDataSegmentLength=262144 DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=1 MaxOutstandingR2T=1 ErrorRecoveryLevel=0",
                Some(3),
                "HeaderDigest=None DataDigest=None InitialR2T=No ImmediateData=Yes MaxBurstLength=262144 FirstBurstLength=262144 MaxRecvDataSegmentLength=262144 DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=1 MaxOutstandingR2T=1 ErrorRecoveryLevel=0",
            ),
        ],
    );
    let negotiated = negotiated.unwrap();
    assert_eq!(negotiated.initiator_name, "iqn.2008-11.org.linux-kvm");
    assert_eq!((negotiated.target, negotiated.tsih, negotiated.cid), (Some(0), 0, 1));
    assert!(negotiated.is_leading());
    let expected = Parameters {
        max_send_segment: 262_144,
        max_recv_segment: 262_144,
        initial_r2t: false,
        first_burst: 262_144,
        time2retain: 0,
        ..Parameters::default()
    };
    assert_eq!(negotiated.parameters, expected);
}

#[test]
fn open_iscsi_asks_for_more_than_it_gets() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[
            (
                0,
                Some(1),
                "InitiatorName=iqn.1993-08.org.debian:01:abc InitiatorAlias=host TargetName=IQN.2026-01.example:lun SessionType=Normal AuthMethod=None",
                Some(1),
                "AuthMethod=None TargetPortalGroupTag=1 TargetAlias=Lunbox",
            ),
            (
                1,
                Some(3),
                "HeaderDigest=CRC32C,None DataDigest=CRC32C,None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=16776192 FirstBurstLength=262144 MaxOutstandingR2T=64 MaxConnections=8 DataPDUInOrder=Yes DataSequenceInOrder=Yes MaxRecvDataSegmentLength=131072",
                Some(3),
                "HeaderDigest=CRC32C DataDigest=CRC32C DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=1048576 FirstBurstLength=262144 MaxOutstandingR2T=16 MaxConnections=4 DataPDUInOrder=Yes DataSequenceInOrder=Yes MaxRecvDataSegmentLength=262144",
            ),
        ],
    );
    let parameters = negotiated.unwrap().parameters;
    assert_eq!(parameters.digests, Digests { header: true, data: true });
    assert_eq!((parameters.max_send_segment, parameters.max_recv_segment), (131_072, 262_144));
    assert_eq!((parameters.max_burst, parameters.first_burst), (1_048_576, 262_144));
    assert_eq!((parameters.max_outstanding_r2t, parameters.max_connections), (16, 4));
}

/// Windows keeps the operational stage open for a second request and offers error recovery.
#[test]
fn windows() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[
            (
                0,
                Some(1),
                "InitiatorName=iqn.1991-05.com.microsoft:pc SessionType=Normal TargetName=iqn.2026-01.example:other AuthMethod=None",
                Some(1),
                "AuthMethod=None TargetPortalGroupTag=1",
            ),
            (
                1,
                None,
                "HeaderDigest=None,CRC32C DataDigest=None,CRC32C ErrorRecoveryLevel=2 InitialR2T=Yes ImmediateData=Yes MaxRecvDataSegmentLength=65536 MaxBurstLength=262144 FirstBurstLength=65536",
                None,
                "HeaderDigest=None DataDigest=None ErrorRecoveryLevel=0 InitialR2T=Yes ImmediateData=Yes MaxRecvDataSegmentLength=262144 MaxBurstLength=262144 FirstBurstLength=65536",
            ),
            (
                1,
                Some(3),
                "MaxConnections=1 DataPDUInOrder=No DataSequenceInOrder=No DefaultTime2Wait=0 DefaultTime2Retain=60 MaxOutstandingR2T=16",
                Some(3),
                "MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=0 DefaultTime2Retain=0 MaxOutstandingR2T=16",
            ),
        ],
    );
    let negotiated = negotiated.unwrap();
    assert_eq!(negotiated.target, Some(1));
    assert!(negotiated.parameters.initial_r2t);
    assert!(negotiated.parameters.data_pdu_in_order && negotiated.parameters.data_sequence_in_order);
    assert_eq!((negotiated.parameters.time2wait, negotiated.parameters.error_recovery_level), (0, 0));
}

/// What boot firmware does: no security stage, everything in one request.
#[test]
fn one_request_from_the_operational_stage() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[(
            1,
            Some(3),
            "InitiatorName=iqn.2010-04.org.ipxe:x TargetName=iqn.2026-01.example:lun SessionType=Normal HeaderDigest=None ImmediateData=No InitialR2T=Yes",
            Some(3),
            "TargetPortalGroupTag=1 TargetAlias=Lunbox MaxRecvDataSegmentLength=262144 HeaderDigest=None ImmediateData=No InitialR2T=Yes",
        )],
    );
    let parameters = negotiated.unwrap().parameters;
    assert_eq!((parameters.immediate_data, parameters.initial_r2t), (false, true));
    assert_eq!(parameters.max_send_segment, 8192, "nothing was declared");
}

#[test]
fn straight_from_security_to_full_feature_leaves_the_defaults() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[(
            0,
            Some(3),
            "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:lun",
            Some(3),
            "TargetPortalGroupTag=1 TargetAlias=Lunbox",
        )],
    );
    let negotiated = negotiated.unwrap();
    assert_eq!(negotiated.session_type, SessionType::Normal, "the default of SessionType");
    assert_eq!(negotiated.parameters, Parameters::default());
}

#[test]
fn rules_of_single_keys() {
    for (sent, answered) in [
        ("HeaderDigest=MD5,CRC32C,None", "HeaderDigest=CRC32C"),
        ("DataDigest=X-vendor", "DataDigest=Reject"),
        ("MaxConnections=0", "MaxConnections=Reject"),
        ("MaxConnections=65536", "MaxConnections=Reject"),
        ("MaxConnections=0x3", "MaxConnections=3"),
        ("InitialR2T=yes", "InitialR2T=Reject"),
        ("ImmediateData=", "ImmediateData=Reject"),
        ("MaxBurstLength=511", "MaxBurstLength=Reject"),
        ("MaxBurstLength=16777216", "MaxBurstLength=Reject"),
        ("FirstBurstLength=4096 MaxBurstLength=1024", "FirstBurstLength=1024 MaxBurstLength=1024"),
        ("FirstBurstLength=16777215", "FirstBurstLength=262144"),
        ("DefaultTime2Wait=3601", "DefaultTime2Wait=Reject"),
        ("DefaultTime2Wait=3600", "DefaultTime2Wait=3600"),
        ("MaxOutstandingR2T=0", "MaxOutstandingR2T=Reject"),
        ("ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject"),
        ("ErrorRecoveryLevel=1", "ErrorRecoveryLevel=0"),
        ("TaskReporting=FastAbort,ResponseFence,RFC3720", "TaskReporting=RFC3720"),
        ("TaskReporting=FastAbort", "TaskReporting=Reject"),
        ("iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1"),
        ("iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0"),
        ("iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject"),
        ("OFMarker=Yes IFMarker=No", "OFMarker=No IFMarker=No"),
        ("OFMarkInt=1~65535 IFMarkInt=2048", "OFMarkInt=Irrelevant IFMarkInt=Irrelevant"),
        (
            "X-com.example.Colour=blue RDMAExtensions=Yes",
            "X-com.example.Colour=NotUnderstood RDMAExtensions=NotUnderstood",
        ),
        ("Strange=NotUnderstood", ""),
        ("X#NodeArchitecture=Plan9", ""),
        ("SendTargets=All", "SendTargets=Reject"),
        ("MaxRecvDataSegmentLength=1024", ""),
    ] {
        let mut login = Login::new(policy(false));
        lead(
            &mut login,
            &[
                (
                    1,
                    None,
                    "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:other",
                    None,
                    &format!("{DECLARED} TargetPortalGroupTag=1"),
                ),
                (1, None, sent, None, answered),
            ],
        );
    }
}

#[test]
fn a_segment_length_out_of_range_is_rejected_and_forgotten() {
    let negotiated = lead(
        &mut Login::new(policy(false)),
        &[
            (
                1,
                None,
                "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:other",
                None,
                "TargetPortalGroupTag=1 MaxRecvDataSegmentLength=262144",
            ),
            (
                1,
                Some(3),
                "MaxRecvDataSegmentLength=511 MaxBurstLength=512",
                Some(3),
                "MaxRecvDataSegmentLength=Reject MaxBurstLength=512",
            ),
        ],
    );
    let parameters = negotiated.unwrap().parameters;
    assert_eq!(parameters.max_send_segment, 8192);
    assert_eq!(
        parameters.first_burst, 512,
        "FirstBurstLength was not negotiated, but can not be above MaxBurstLength"
    );
}

#[test]
fn a_text_in_pieces_is_answered_at_its_end() {
    let whole = wire("InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:lun HeaderDigest=CRC32C");
    let mut login = Login::new(policy(false));
    for piece in whole[..whole.len() - 1].chunks(7) {
        let more = LoginRequest { continues: true, ..request(1, None, piece) };
        let LoginStep::Reply(reply) = login.request(&more) else { panic!("must go on") };
        assert!(!reply.transit && reply.text.is_empty() && reply.status == LoginStatus::Success);
    }
    let LoginStep::Done(reply, negotiated) = login.request(&request(1, Some(3), b"\0")) else {
        panic!("must be done")
    };
    assert_eq!(keys(&reply.text)["HeaderDigest"], "CRC32C");
    assert_eq!(negotiated.initiator_name, "iqn.x:y");
}

#[test]
fn joining_a_session_leaves_the_session_wide_keys_alone() {
    let text = wire(
        "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:lun MaxBurstLength=512 ErrorRecoveryLevel=0 DataDigest=CRC32C MaxRecvDataSegmentLength=4096",
    );
    let joining = LoginRequest { tsih: 9, cid: 2, ..request(1, Some(3), &text) };
    let LoginStep::Done(reply, negotiated) = Login::new(policy(false)).request(&joining) else { panic!() };
    let expected = wire(
        "MaxRecvDataSegmentLength=262144 MaxBurstLength=Irrelevant ErrorRecoveryLevel=Irrelevant DataDigest=CRC32C",
    );
    assert_eq!(keys(&reply.text), keys(&expected), "no TargetPortalGroupTag either");
    assert_eq!(reply.tsih, 9);
    assert_eq!((negotiated.is_leading(), negotiated.tsih, negotiated.cid), (false, 9, 2));
    assert_eq!(negotiated.parameters.digests, Digests { header: false, data: true });
    assert_eq!(negotiated.parameters.max_send_segment, 4096);
}

const INTRODUCTION: &str = "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:other";

/// Leads to the challenge and gives what the target sent: algorithm, identifier, challenge.
pub fn challenged(login: &mut Login, algorithms: &str) -> (String, u8, Vec<u8>) {
    // The initiator would like to leave at once; the target stays.
    let methods = format!("{INTRODUCTION} AuthMethod=CHAP,None");
    lead(login, &[(0, Some(1), &methods, None, "AuthMethod=CHAP TargetPortalGroupTag=1")]);
    let LoginStep::Reply(reply) = login.request(&request(0, None, &wire(&format!("CHAP_A={algorithms}"))))
    else {
        panic!("must go on")
    };
    let answer = keys(&reply.text);
    let challenge = answer["CHAP_C"].strip_prefix("0x").unwrap();
    (answer["CHAP_A"].clone(), answer["CHAP_I"].parse().unwrap(), crate::bytes::hex(challenge))
}

/// CHAP_R for what [`challenged`] gave.
pub fn response((algorithm, identifier, challenge): &(String, u8, Vec<u8>)) -> String {
    let message = [&[*identifier], SECRET.as_bytes(), challenge].concat();
    let hash = match algorithm.as_str() {
        "5" => md5::Md5::digest(message).to_vec(),
        _ => sha2::Sha256::digest(message).to_vec(),
    };
    hash.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02X}"))
}

#[test]
fn chap_with_either_algorithm() {
    for (offered, chosen, length) in [("5", "5", 16), ("7,6,8,5", "7", 32), ("6,8,5,7", "5", 16)] {
        let mut login = Login::new(policy(true));
        let challenge = challenged(&mut login, offered);
        assert_eq!((challenge.0.as_str(), challenge.2.len()), (chosen, length));
        let proof = format!("CHAP_N=dora CHAP_R={}", response(&challenge));
        let negotiated =
            lead(&mut login, &[(0, Some(1), &proof, Some(1), ""), (1, Some(3), "", Some(3), DECLARED)]);
        assert_eq!(negotiated.unwrap().user.as_deref(), Some("dora"));
    }
}

#[test]
fn a_proof_may_be_followed_by_the_transit_in_a_request_of_its_own() {
    let mut login = Login::new(policy(true));
    let proof = format!("CHAP_N=dora CHAP_R={}", response(&challenged(&mut login, "5")));
    let negotiated = lead(&mut login, &[(0, None, &proof, None, ""), (0, Some(3), "", Some(3), "")]);
    assert_eq!(negotiated.unwrap().user.as_deref(), Some("dora"));
}
