//! Logins that must fail, and with which status (RFC 7143 clause 11.13.5).

use crate::login::{challenged, lead, policy, request, response, wire};
use lunbox_iscsi::login::{LOGIN_TEXT_MAX, Login, LoginStep, REQUESTS_MAX};
use lunbox_iscsi::pdu::codes::LoginStatus::{
    self, AuthenticationFailure, CannotIncludeInSession, InitiatorError, InvalidDuringLogin,
    MissingParameter, NotFound, SessionTypeNotSupported, UnsupportedVersion,
};
use lunbox_iscsi::pdu::request::LoginRequest;

const GOOD: &str = "InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:other";
const FIRST: (u8, Option<u8>, &str, Option<u8>, &str) = (0, None, GOOD, None, "TargetPortalGroupTag=1");

/// The status that a request fails with; the login must be over then.
fn status(login: &mut Login, request: &LoginRequest<'_>) -> LoginStatus {
    let LoginStep::Failed(reply, refusal) = login.request(request) else {
        panic!("must fail: {:?}", std::str::from_utf8(request.text))
    };
    assert_eq!(reply.status, refusal.status);
    assert!(!reply.transit && reply.text.is_empty());
    assert_eq!((reply.isid, reply.initiator_task_tag), (request.isid, request.initiator_task_tag));
    let LoginStep::Failed(again, _) = login.request(request) else { panic!("it was over") };
    assert_eq!(again.status, InvalidDuringLogin);
    refusal.status
}

#[test]
fn what_the_first_request_must_say() {
    for (keys, expected) in [
        ("", MissingParameter),
        ("TargetName=iqn.2026-01.example:lun", MissingParameter),
        ("InitiatorName=iqn.x:y", MissingParameter),
        ("InitiatorName=iqn.x:y SessionType=Normal", MissingParameter),
        ("InitiatorName=iqn.x:y TargetName=iqn.2026-01.example:nothing", NotFound),
        ("InitiatorName=iqn.x:y TargetName=", NotFound),
        ("InitiatorName= TargetName=iqn.2026-01.example:lun", InitiatorError),
        ("InitiatorName=iqn.x\u{7}y TargetName=iqn.2026-01.example:lun", InitiatorError),
        ("InitiatorName=iqn.x:y SessionType=Other", SessionTypeNotSupported),
        ("InitiatorName=iqn.x:y InitiatorName=iqn.x:y", InitiatorError),
        ("InitiatorName=iqn.x:y TargetAddress=127.0.0.1", InitiatorError),
        ("InitiatorName", InitiatorError),
        ("=iqn.x:y", InitiatorError),
    ] {
        assert_eq!(
            status(&mut Login::new(policy(false)), &request(0, Some(1), &wire(keys))),
            expected,
            "{keys}"
        );
    }
    let name = format!("InitiatorName={} {}", "n".repeat(224), "TargetName=iqn.2026-01.example:lun");
    assert_eq!(status(&mut Login::new(policy(false)), &request(0, Some(1), &wire(&name))), InitiatorError);
}

#[test]
fn headers_that_can_not_be() {
    let text = wire(GOOD);
    let good = request(0, Some(1), &text);
    for (request, expected) in [
        (LoginRequest { version_min: 1, version_max: 1, ..good }, UnsupportedVersion),
        (LoginRequest { immediate: false, ..good }, InitiatorError),
        (LoginRequest { continues: true, ..good }, InitiatorError),
        (LoginRequest { current_stage: 2, ..good }, InitiatorError),
        (LoginRequest { current_stage: 3, ..good }, InitiatorError),
        (LoginRequest { next_stage: 0, ..good }, InitiatorError),
        (LoginRequest { next_stage: 2, ..good }, InitiatorError),
        (LoginRequest { current_stage: 1, next_stage: 1, ..good }, InitiatorError),
        (LoginRequest { current_stage: 1, next_stage: 0, ..good }, InitiatorError),
    ] {
        assert_eq!(status(&mut Login::new(policy(false)), &request), expected, "{request:?}");
    }
}

#[test]
fn what_must_stay_the_same_during_a_login() {
    let later = request(0, Some(1), b"");
    for changed in [
        LoginRequest { isid: [0; 6], ..later },
        LoginRequest { tsih: 1, ..later },
        LoginRequest { cid: 2, ..later },
        LoginRequest { initiator_task_tag: 0x78, ..later },
        LoginRequest { current_stage: 1, next_stage: 3, ..later },
    ] {
        let mut login = Login::new(policy(false));
        lead(&mut login, &[FIRST]);
        assert_eq!(status(&mut login, &changed), InitiatorError, "{changed:?}");
    }
}

#[test]
fn keys_that_come_twice_or_too_late() {
    for (stage, keys) in [
        (0, "AuthMethod=None"),
        (0, "InitiatorName=iqn.x:y"),
        (0, "SessionType=Normal"),
        (1, "MaxBurstLength=1024"),
        (1, "AuthMethod=None"),
        (1, "CHAP_A=5"),
        (1, "TargetName=iqn.2026-01.example:lun"),
    ] {
        let mut login = Login::new(policy(false));
        lead(
            &mut login,
            &[
                (
                    0,
                    Some(1),
                    &format!("{GOOD} AuthMethod=None"),
                    Some(1),
                    "AuthMethod=None TargetPortalGroupTag=1",
                ),
                (1, None, "MaxBurstLength=1024", None, "MaxBurstLength=1024 MaxRecvDataSegmentLength=262144"),
            ],
        );
        let wrong = request(stage, None, &[]);
        assert_eq!(
            status(&mut login, &LoginRequest { text: &wire(keys), ..wrong }),
            InitiatorError,
            "{keys}"
        );
    }
    let mut login = Login::new(policy(false));
    lead(&mut login, &[FIRST]);
    assert_eq!(status(&mut login, &request(0, None, &wire("SessionType=Normal"))), InitiatorError);
}

#[test]
fn a_target_with_credentials_lets_nobody_in_without_proof() {
    for (request, what) in [
        (request(1, Some(3), &wire(GOOD)), "security stage skipped"),
        (request(0, Some(1), &wire(GOOD)), "no AuthMethod"),
        (request(0, Some(3), &wire(GOOD)), "no AuthMethod, straight to the end"),
        (request(0, Some(1), &wire(&format!("{GOOD} AuthMethod=None"))), "None"),
        (request(0, Some(1), &wire(&format!("{GOOD} AuthMethod=KRB5,SRP,None"))), "no CHAP"),
        (request(0, Some(1), &wire(&format!("{GOOD} CHAP_A=5"))), "CHAP before AuthMethod"),
        (request(0, Some(1), &wire(&format!("{GOOD} CHAP_N=dora CHAP_R=0x00"))), "proof without a challenge"),
        (
            request(0, Some(1), &wire("InitiatorName=iqn.x:y SessionType=Discovery AuthMethod=None")),
            "discovery",
        ),
    ] {
        assert_eq!(status(&mut Login::new(policy(true)), &request), AuthenticationFailure, "{what}");
    }
}

#[test]
fn a_target_without_credentials_can_check_nobody() {
    let keys = format!("{GOOD} AuthMethod=CHAP");
    assert_eq!(
        status(&mut Login::new(policy(false)), &request(0, Some(1), &wire(&keys))),
        AuthenticationFailure
    );
}

#[test]
fn chap_that_goes_wrong() {
    for proof in [
        "CHAP_N=dora CHAP_R=0x00112233445566778899aabbccddeeff",
        "CHAP_N=dora",
        "CHAP_R=0x00112233445566778899aabbccddeeff",
        "CHAP_N=dora CHAP_R=0x",
        "CHAP_N=dora CHAP_R=17",
        "CHAP_N=dora CHAP_R=0x00112233445566778899aabbccddeeff CHAP_I=1 CHAP_C=0x00",
    ] {
        let mut login = Login::new(policy(true));
        challenged(&mut login, "5");
        assert_eq!(status(&mut login, &request(0, Some(1), &wire(proof))), AuthenticationFailure, "{proof}");
    }
    let mut login = Login::new(policy(true));
    lead(
        &mut login,
        &[(0, None, &format!("{GOOD} AuthMethod=CHAP"), None, "AuthMethod=CHAP TargetPortalGroupTag=1")],
    );
    assert_eq!(status(&mut login, &request(0, None, &wire("CHAP_A=6,8"))), AuthenticationFailure);
}

/// The response is right each time.
#[test]
fn a_right_response_is_not_enough() {
    for rest in ["CHAP_N=anna", "CHAP_N=dora CHAP_A=5", "CHAP_N=dora CHAP_I=1 CHAP_C=0x00112233", ""] {
        let mut login = Login::new(policy(true));
        let proof = format!("CHAP_R={} {rest}", response(&challenged(&mut login, "7")));
        assert_ne!(status(&mut login, &request(0, Some(1), &wire(&proof))), LoginStatus::Success, "{rest}");
    }
    // An answer to somebody else's challenge.
    let stale = challenged(&mut Login::new(policy(true)), "7");
    let mut login = Login::new(policy(true));
    challenged(&mut login, "7");
    let proof = format!("CHAP_N=dora CHAP_R={}", response(&stale));
    assert_eq!(status(&mut login, &request(0, Some(1), &wire(&proof))), AuthenticationFailure);
}

#[test]
fn the_security_stage_is_not_left_before_the_proof() {
    let mut login = Login::new(policy(true));
    challenged(&mut login, "7");
    lead(&mut login, &[(0, Some(3), "", None, ""), (0, Some(1), "", None, "")]);
    let operational = request(1, Some(3), b"");
    assert_eq!(status(&mut login, &operational), InitiatorError);
}

#[test]
fn a_discovery_session_can_not_be_joined() {
    let text = wire("InitiatorName=iqn.x:y SessionType=Discovery");
    let joining = LoginRequest { tsih: 3, ..request(0, Some(3), &text) };
    assert_eq!(status(&mut Login::new(policy(false)), &joining), CannotIncludeInSession);
}

#[test]
fn requests_and_text_are_bounded() {
    let mut login = Login::new(policy(false));
    lead(&mut login, &[FIRST]);
    for _ in 1..REQUESTS_MAX {
        lead(&mut login, &[(0, None, "", None, "")]);
    }
    assert_eq!(status(&mut login, &request(0, None, b"")), InitiatorError);

    let mut login = Login::new(policy(false));
    let piece = vec![b'A'; LOGIN_TEXT_MAX / 4];
    for _ in 0..4 {
        let more = LoginRequest { continues: true, ..request(0, None, &piece) };
        assert!(matches!(login.request(&more), LoginStep::Reply(_)));
    }
    let more = LoginRequest { continues: true, ..request(0, None, b"A") };
    assert_eq!(status(&mut login, &more), InitiatorError);

    let strange: String = (0..1000).map(|n| format!("Strange{n}=1 ")).collect();
    let text = wire(&format!("{GOOD} {strange}"));
    assert_eq!(
        status(&mut Login::new(policy(false)), &request(0, None, &text)),
        InitiatorError,
        "no room to answer"
    );
}

#[test]
fn the_end_of_a_login_is_its_end() {
    let mut login = Login::new(policy(false));
    lead(&mut login, &[(0, Some(3), GOOD, Some(3), "TargetPortalGroupTag=1")]).unwrap();
    assert_eq!(status(&mut login, &request(0, None, b"")), InvalidDuringLogin);
}
