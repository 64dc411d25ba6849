//! Logins as seen from outside; the negotiation itself is tested beside its code.

use std::time::{Duration, Instant};

use lunbox_iscsi::chap::{Credentials, Secret};
use lunbox_iscsi::{Server, ServerLimits, StartError};

use crate::support::pdu::{Pdu, answer, keys_text};
use crate::support::{Bench, Initiator, Login, options};

fn values(reply: &Pdu) -> Vec<String> {
    let text = String::from_utf8(reply.data.clone()).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_login_gives_a_session_its_handle_and_numbers() {
    let bench = Bench::new();
    let mut initiator = bench.connect();
    let reply = initiator.try_login(&Login::generous());
    assert_eq!((reply.get16(36), reply.flags()), (0, 0x87), "status, T with CSG 1 and NSG 3");
    assert_ne!(reply.get16(14), 0, "TSIH");
    assert_eq!((reply.exp_cmd_sn(), reply.max_cmd_sn()), (100, 227));
    let values = values(&reply);
    for wanted in ["TargetPortalGroupTag=1", "TargetAlias=tests", "InitialR2T=No", "MaxOutstandingR2T=16"] {
        assert!(values.iter().any(|value| value == wanted), "{wanted} in {values:?}");
    }
    bench.wait("a session", |status| status.sessions == 1 && status.connections == 1);
}

#[test]
fn an_unknown_target_is_not_found() {
    let bench = Bench::new();
    let mut initiator = bench.connect();
    let reply = initiator.try_login(&Login::default().key("TargetName", "iqn.2026-11.org.example:other"));
    assert_eq!(reply.get16(36), 0x0203);
    initiator.expect_end();
    bench.wait("a failed login", |status| status.logins_failed == 1 && status.connections == 0);
}

#[test]
fn other_pdus_before_login_close_the_connection() {
    let bench = Bench::new();
    let mut initiator = bench.connect();
    initiator.command("Fr", 512, &[0x28; 10]);
    initiator.expect_end();
    assert!(bench.script.begun().is_empty());
}

fn credentials() -> Credentials {
    Credentials { user: "operator".to_owned(), secret: Secret::new(*b"correct horse battery").unwrap() }
}

#[test]
fn whoever_has_no_secret_does_not_get_in() {
    let delay = Duration::from_millis(50);
    let limits = ServerLimits { refusal_delay: delay, ..ServerLimits::default() };
    let (options, script, _) = options(limits, Some(credentials()));
    let server = Server::start(options).unwrap();
    let mut initiator = Initiator::connect(server.address());
    let begin = Instant::now();
    let reply = initiator.try_login(&Login::default());
    assert_eq!(reply.get16(36), 0x0201);
    assert!(begin.elapsed() >= delay);
    initiator.expect_end();

    let mut initiator = Initiator::connect(server.address());
    let login = Login::default();
    let mut names: Vec<(&str, &str)> = login.keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    names.push(("AuthMethod", "CHAP"));
    let reply = initiator.login_step(&login, 0, 1, false, &keys_text(&names));
    assert_eq!((reply.get16(36), values(&reply).contains(&"AuthMethod=CHAP".to_owned())), (0, true));
    let reply = initiator.login_step(&login, 0, 1, false, &keys_text(&[("CHAP_A", "5")]));
    assert!(values(&reply).iter().any(|value| value.starts_with("CHAP_C=0x")), "{reply:?}");
    let wrong = keys_text(&[("CHAP_N", "operator"), ("CHAP_R", "0x00112233445566778899aabbccddeeff")]);
    let begin = Instant::now();
    let reply = initiator.login_step(&login, 0, 1, true, &wrong);
    assert_eq!(reply.get16(36), 0x0201);
    assert!(begin.elapsed() >= delay, "secrets can not be guessed quickly");
    initiator.expect_end();
    assert!(script.begun().is_empty());
    drop(server);
}

#[test]
fn an_address_for_everybody_needs_credentials() {
    let (mut options, ..) = options(ServerLimits::default(), None);
    options.listen = "0.0.0.0:0".parse().unwrap();
    let error = Server::start(options).unwrap_err();
    assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
    assert!(error.to_string().contains("--chap-secret-file"), "{error}");
}

#[test]
fn an_address_in_use_is_named_with_the_remedy() {
    let bench = Bench::new();
    let (mut options, ..) = options(ServerLimits::default(), None);
    options.listen = bench.address();
    let error = Server::start(options).unwrap_err();
    assert!(matches!(error, StartError::AddressInUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&bench.address().to_string()) && text.contains("--listen 127.0.0.1:0"), "{text}");
}

#[test]
fn a_server_without_luns_does_not_start() {
    let (mut options, ..) = options(ServerLimits::default(), None);
    options.luns.clear();
    assert!(matches!(Server::start(options), Err(StartError::Luns { count: 0 })));
}

#[test]
fn a_second_login_on_a_connection_is_rejected() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let mut again = Pdu::new(0x43, 0x87).put32(16, 9).put32(24, initiator.cmd_sn);
    again.bhs[13] = 1;
    initiator.send_as_is(&again);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x04);
    initiator.expect_silence();
}

#[test]
fn an_answer_that_is_held_back_holds_nobody_else() {
    let limits = ServerLimits { refusal_delay: Duration::from_secs(3600), ..ServerLimits::default() };
    let (mut options, ..) = options(limits, Some(credentials()));
    options.limits.connections = 1;
    let server = Server::start(options).unwrap();
    let mut guesser = Initiator::connect(server.address());
    let login = Login::default();
    let names: Vec<(&str, &str)> = login.keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut pdu = Pdu::new(0x43, 0x87).put32(16, 1).data(&keys_text(&names));
    pdu.bhs[13] = 1;
    guesser.send_as_is(&pdu);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.status().logins_failed == 0 {
        assert!(Instant::now() < deadline, "the guess was not looked at");
        std::thread::yield_now();
    }
    // The only place is taken by whoever waits, and given to the next one.
    let mut other = Initiator::connect(server.address());
    let mut keys = names.clone();
    keys.push(("AuthMethod", "CHAP"));
    assert_eq!(other.login_step(&login, 0, 1, false, &keys_text(&keys)).get16(36), 0);
    guesser.expect_end();
    assert_eq!(server.stop(Duration::from_secs(20)), Ok(()));
}
