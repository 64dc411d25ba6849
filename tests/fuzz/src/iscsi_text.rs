//! Hostile texts: broken keys and values, whole logins of arbitrary requests, text requests. Nothing panics or grows
//! without end, and nobody gets in without the secret.

use std::sync::Arc;

use lunbox_iscsi::chap::{Credentials, Secret};
use lunbox_iscsi::login::full_feature::{FullFeature, answer};
use lunbox_iscsi::login::{
    Limits, Login, LoginPolicy, LoginStep, Negotiated, REQUESTS_MAX, SessionType, TargetRecord,
};
use lunbox_iscsi::pdu::codes::LoginStatus;
use lunbox_iscsi::pdu::request::LoginRequest;
use lunbox_iscsi::text::{BINARY_VALUE_MAX, KEY_MAX, TEXT_MAX, TextAssembler, TextWriter, pairs, value};
use md5::Digest as _;

const SECRET: &[u8] = b"correct horse battery";

/// What an initiator may say that gets far.
const PHRASES: &[&[u8]] = &[
    b"InitiatorName=iqn.x:y\0",
    b"TargetName=iqn.2026-01.example:lun\0",
    b"TargetName=iqn.2026-01.example:gone\0",
    b"SessionType=Discovery\0",
    b"SessionType=Normal\0",
    b"AuthMethod=CHAP,None\0",
    b"AuthMethod=None\0",
    b"CHAP_A=5\0",
    b"CHAP_A=6,7\0",
    b"CHAP_N=dora\0",
    b"CHAP_N=dora\0CHAP_R=0x00112233445566778899aabbccddeeff\0",
    b"CHAP_I=1\0CHAP_C=0x00\0",
    b"HeaderDigest=CRC32C,None\0DataDigest=None\0",
    b"MaxRecvDataSegmentLength=4096\0",
    b"MaxConnections=",
    b"MaxBurstLength=",
    b"FirstBurstLength=",
    b"MaxOutstandingR2T=",
    b"InitialR2T=Yes\0ImmediateData=No\0",
    b"ErrorRecoveryLevel=2\0TaskReporting=RFC3720\0",
    b"iSCSIProtocolLevel=",
    b"DefaultTime2Wait=",
    b"DefaultTime2Retain=",
    b"SendTargets=All\0",
    b"SendTargets=\0",
    b"OFMarkInt=1~2\0IFMarker=Yes\0",
    b"X-strange=1\0",
];

/// The fuzzer's bytes, zero when used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A text of phrases, numbers and anything.
    fn text(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.byte() % 12 {
            match self.byte() {
                250.. => {
                    let length = usize::from(self.byte() % 64);
                    text.extend_from_slice(self.take(length));
                }
                220..250 => text.extend_from_slice(
                    format!("{}\0", u32::from(self.byte()) << (self.byte() % 24)).as_bytes(),
                ),
                index => text.extend_from_slice(PHRASES[usize::from(index) % PHRASES.len()]),
            }
        }
        text
    }
}

/// Whether the login succeeded.
pub fn drive(bytes: &[u8]) -> bool {
    check_pairs(bytes);
    let mut input = Input(bytes);
    let flags = input.byte();
    let policy = policy(flags & 1 != 0);
    let negotiated = lead(&mut input, &policy);
    let session_type =
        negotiated.as_ref().map_or(SessionType::Discovery, |negotiated| negotiated.session_type);
    check_text_request(&mut input, &policy, session_type);
    negotiated.is_some()
}

fn policy(credentials: bool) -> Arc<LoginPolicy> {
    let secret = Secret::new(SECRET).expect("long enough");
    Arc::new(LoginPolicy {
        targets: vec![TargetRecord { name: "iqn.2026-01.example:lun".into(), alias: Some("Lunbox".into()) }],
        portal_group_tag: 1,
        credentials: credentials.then(|| Credentials { user: "dora".into(), secret }),
        limits: Limits::default(),
    })
}

/// Arbitrary bytes as a text and as values.
fn check_pairs(bytes: &[u8]) {
    let mut writer = TextWriter::new();
    let mut read = Vec::new();
    for pair in pairs(bytes).map_while(Result::ok) {
        assert!((1..=KEY_MAX).contains(&pair.key.len()) && pair.value.len() <= BINARY_VALUE_MAX);
        writer.push(pair.key, pair.value);
        read.push((pair.key, pair.value));
        if let Some(binary) = value::binary(pair.value, 64) {
            assert!((1..=64).contains(&binary.len()));
            assert_eq!(value::binary(&value::Hex(&binary).to_string(), 64), Some(binary));
        }
        if let Some(number) = value::number(pair.value) {
            assert_eq!(value::number(&number.to_string()), Some(number));
            assert_eq!(value::number(&format!("{number:#x}")), Some(number));
        }
        if let Some(range) = value::range(pair.value) {
            assert!(range.start() <= range.end());
        }
    }
    let again: Vec<_> =
        pairs(writer.as_bytes()).map(|pair| pair.map(|pair| (pair.key, pair.value))).collect();
    assert_eq!(again, read.into_iter().map(Ok).collect::<Vec<_>>());

    let mut assembler = TextAssembler::new();
    let mut total = 0;
    for piece in std::iter::repeat_n(bytes, 64) {
        total += piece.len();
        assert_eq!(assembler.push(piece).is_ok(), total <= TEXT_MAX);
        if total > TEXT_MAX {
            break;
        }
    }
}

/// A login of arbitrary requests. Now and then the initiator knows the secret.
fn lead(input: &mut Input<'_>, policy: &Arc<LoginPolicy>) -> Option<Negotiated> {
    let mut login = Login::new(Arc::clone(policy));
    let mut challenge: Option<(u8, u8, Vec<u8>)> = None;
    let mut proven = false;
    let mut stage = 0;
    for _ in 0..=REQUESTS_MAX {
        let flags = input.byte();
        let mut text = input.text();
        if let (Some((algorithm, identifier, bytes)), true) = (&challenge, flags & 0x30 == 0x30) {
            let message = [&[*identifier], SECRET, bytes].concat();
            let response = match algorithm {
                5 => md5::Md5::digest(message).to_vec(),
                _ => sha2::Sha256::digest(message).to_vec(),
            };
            text = format!("CHAP_N=dora\0CHAP_R={}\0", value::Hex(&response)).into_bytes();
            proven = true;
        }
        let request = LoginRequest {
            immediate: true,
            transit: flags & 0x80 != 0,
            continues: flags & 0xc0 == 0x40,
            current_stage: if flags & 0x0f == 0x0f { input.byte() & 3 } else { stage },
            next_stage: if flags & 1 == 0 { 3 } else { flags >> 1 & 3 },
            version_max: 0,
            version_min: u8::from(flags == 0xfe),
            isid: [0x80, 1, 2, 3, 4, 5],
            tsih: if flags & 0x3c == 0x24 { 7 } else { 0 },
            initiator_task_tag: 0x77,
            cid: 1,
            cmd_sn: 1,
            exp_stat_sn: 1,
            text: &text,
        };
        let (reply, negotiated) = match login.request(&request) {
            LoginStep::Reply(reply) => (reply, None),
            LoginStep::Done(reply, negotiated) => (reply, Some(negotiated)),
            LoginStep::Failed(reply, refusal) => {
                assert_ne!(reply.status, LoginStatus::Success);
                assert!(!refusal.why.is_empty() && !reply.transit && reply.text.is_empty());
                assert!(matches!(login.request(&request), LoginStep::Failed(..)), "it was over");
                return None;
            }
        };
        assert_eq!(reply.status, LoginStatus::Success);
        assert!(reply.text.len() <= 8192 && (request.transit || !reply.transit));
        if reply.transit {
            stage = reply.next_stage;
        }
        if let Some(sent) = sent_challenge(&reply.text) {
            challenge = Some(sent);
        }
        if let Some(negotiated) = negotiated {
            assert!(reply.transit && reply.next_stage == 3);
            check(&negotiated, policy, proven);
            return Some(*negotiated);
        }
    }
    panic!("a login that has no end");
}

fn sent_challenge(text: &[u8]) -> Option<(u8, u8, Vec<u8>)> {
    let find = |key: &str| pairs(text).flatten().find(|pair| pair.key == key).map(|pair| pair.value);
    let algorithm = find("CHAP_A")?.parse().expect("a number");
    let identifier = find("CHAP_I").expect("comes along").parse().expect("a byte");
    let bytes = value::binary(find("CHAP_C").expect("comes along"), 32).expect("a challenge");
    Some((algorithm, identifier, bytes))
}

fn check(negotiated: &Negotiated, policy: &LoginPolicy, proven: bool) {
    assert_eq!(negotiated.user.is_some(), policy.credentials.is_some());
    assert!(proven || policy.credentials.is_none(), "nobody gets in without the secret");
    assert!((1..=223).contains(&negotiated.initiator_name.len()));
    assert_eq!(negotiated.target.is_some(), negotiated.session_type == SessionType::Normal);
    let p = &negotiated.parameters;
    assert!(p.first_burst <= p.max_burst && p.first_burst >= 512 && p.max_burst < 1 << 24);
    assert!((512..1 << 24).contains(&p.max_send_segment));
    assert!(p.max_recv_segment == 8192 || p.max_recv_segment == policy.limits.max_recv_data_segment);
    assert!((1..=policy.limits.max_connections).contains(&p.max_connections));
    assert!((1..=policy.limits.max_outstanding_r2t).contains(&p.max_outstanding_r2t));
    assert!(p.data_pdu_in_order && p.data_sequence_in_order && p.error_recovery_level == 0);
    assert!(p.time2wait <= 3600 && p.time2retain <= 3600);
}

fn check_text_request(input: &mut Input<'_>, policy: &LoginPolicy, session_type: SessionType) {
    let reply_max = 512 + u32::from(input.byte());
    let context = FullFeature {
        session_type,
        targets: &policy.targets,
        target: (session_type == SessionType::Normal).then_some(0),
        portal: std::net::SocketAddr::from(([127, 0, 0, 1], 3260)),
        portal_group_tag: 1,
        reply_max,
    };
    let text = input.text();
    for text in [&text[..], input.0] {
        if let Ok(answer) = answer(text, &context) {
            assert!(u32::try_from(answer.text.len()).is_ok_and(|length| length <= reply_max));
            assert!(pairs(&answer.text).all(|pair| pair.is_ok()));
            assert!(answer.max_send_segment.is_none_or(|length| (512..1 << 24).contains(&length)));
        }
    }
}
