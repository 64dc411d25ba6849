//! The name, and a bus that is not there, comes, and goes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod common;

use std::time::{Duration, Instant};

use common::{Daemon, PrivateBus, announced, register, subtypes, wait_for};
use lunbox_bus::{Bus, BusError, NAME, Options, Timing};

/// DB-1: no replacement, no queue.
#[test]
fn a_second_service_is_told_who_has_the_name() {
    let bus = PrivateBus::new();
    let first = bus.serve(&Daemon::new(), &["file"]);
    let error = bus.try_serve(&Daemon::new(), &["other"], common::me()).unwrap_err();
    let BusError::NameTaken { holder } = &error else { panic!("{error}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(error.to_string().contains("systemctl stop tcmu-runner"), "{error}");
    assert!(first.is_up());
    first.stop();
    assert!(!first.is_up());
    // Nothing of the second one waits for the name.
    let third = bus.serve(&Daemon::new(), &["third"]);
    assert!(third.is_up());
    zbus::block_on(async {
        let client = bus.client().await;
        assert_eq!(subtypes(&client).await.into_keys().collect::<Vec<_>>(), ["third"]);
        let reply = client
            .call_method(
                Some("org.freedesktop.DBus"),
                "/org/freedesktop/DBus",
                Some("org.freedesktop.DBus"),
                "ListQueuedOwners",
                &NAME,
            )
            .await
            .unwrap();
        assert_eq!(reply.body().deserialize::<Vec<String>>().unwrap().len(), 1);
    });
}

/// Looked at before any device is touched; the name is taken when all are served.
#[test]
fn whether_the_name_is_free_can_be_seen_without_taking_it() {
    let mut bus = PrivateBus::without_daemon();
    assert!(Bus::check_free(Some(&bus.address()), 0).is_ok(), "no bus");
    bus.start();
    assert!(Bus::check_free(Some(&bus.address()), 0).is_ok(), "nobody");
    let service = bus.serve(&Daemon::new(), &["file"]);
    let error = Bus::check_free(Some(&bus.address()), 0).unwrap_err();
    assert!(matches!(error, BusError::NameTaken { holder: Some(holder) } if holder == std::process::id()));
    service.stop();
    assert!(Bus::check_free(Some(&bus.address()), 0).is_ok(), "nobody any more");
    // One that says nothing.
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("bus");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let begin = Instant::now();
    assert!(Bus::check_free(Some(&format!("unix:path={}", socket.display())), 0).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// The name is there only when everything is: who waits for it sees all handlers.
#[test]
fn who_sees_the_name_sees_the_handlers() {
    let bus = PrivateBus::new();
    let service = bus.serve(&Daemon::new(), &["a", "b", "c"]);
    assert!(service.is_up());
    zbus::block_on(async {
        assert_eq!(subtypes(&bus.client().await).await.len(), 3);
    });
}

#[test]
fn without_a_bus_the_service_starts_and_finds_it_when_it_comes() {
    let mut bus = PrivateBus::without_daemon();
    let begin = Instant::now();
    let service = bus.serve(&Daemon::new(), &["file"]);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(!service.is_up());
    service.set_handlers(announced(&["file", "zbc"]));
    bus.start();
    wait_for("it is on the bus", || service.is_up());
    zbus::block_on(async {
        assert_eq!(subtypes(&bus.client().await).await.len(), 2);
    });
}

#[test]
fn a_bus_that_goes_and_comes_again_has_the_service_again_and_external_handlers_have_time_to_register() {
    let mut bus = PrivateBus::new();
    let daemon = Daemon::new();
    let timing = Timing { registration: Duration::from_millis(500), ..Timing::default() };
    let service = Bus::start(Options { timing, ..bus.options(&["file"]) }, daemon.clone()).unwrap();
    zbus::block_on(async {
        let client = bus.client().await;
        let other = bus.client().await;
        other.request_name("org.kernel.TCMUService1.HandlerManager1.foo").await.unwrap();
        assert!(register(&client, "foo", "").await.unwrap().0);
        bus.kill();
    });
    wait_for("it has noticed", || !service.is_up());
    // Its program may still answer the kernel.
    assert_eq!(*daemon.external.lock().unwrap(), [("foo".to_owned(), true)]);
    bus.start();
    wait_for("it is on the bus", || service.is_up());
    zbus::block_on(async {
        assert_eq!(subtypes(&bus.client().await).await.into_keys().collect::<Vec<_>>(), ["file"]);
    });
    wait_for("it is given up", || daemon.external.lock().unwrap().last() == Some(&("foo".to_owned(), false)));
}

/// DB-10, before the program has registered: a restart of ours is none of its.
#[test]
fn a_program_that_has_its_name_before_there_is_a_service_is_seen_and_awaited() {
    const NAME_OF: &str = "org.kernel.TCMUService1.HandlerManager1";
    let bus = PrivateBus::new();
    let other = zbus::block_on(async {
        let other = bus.client().await;
        other.request_name(format!("{NAME_OF}.foo")).await.unwrap();
        other
    });
    assert!(Bus::check_free(Some(&bus.address()), common::me() + 1).unwrap().is_empty(), "not root's");
    let awaited = Bus::check_free(Some(&bus.address()), common::me()).unwrap();
    assert_eq!(awaited, ["foo"]);
    let daemon = Daemon::new();
    let _service = Bus::start(Options { awaited, ..bus.options(&["file"]) }, daemon.clone()).unwrap();
    assert!(daemon.external.lock().unwrap().is_empty(), "it knows already");
    // It ends without having registered: noticed at once.
    zbus::block_on(other.close()).unwrap();
    wait_for("it has gone", || *daemon.external.lock().unwrap() == [("foo".to_owned(), false)]);
}

/// A name that is taken when nobody waits for the start any more ends nothing.
#[test]
fn a_name_that_is_found_taken_too_late_is_tried_again_until_it_is_free() {
    let bus = PrivateBus::new();
    let first = bus.serve(&Daemon::new(), &["first"]);
    let timing = Timing { start: Duration::ZERO, ..Timing::default() };
    let second = Bus::start(Options { timing, ..bus.options(&["second"]) }, Daemon::new()).unwrap();
    wait_for("it has found out", || second.trouble().is_some_and(|trouble| trouble.contains(NAME)));
    first.stop();
    wait_for("it has the name", || second.is_up());
    zbus::block_on(async {
        assert_eq!(subtypes(&bus.client().await).await.into_keys().collect::<Vec<_>>(), ["second"]);
    });
}

/// A daemon that is stopped is not held up by a bus that says nothing.
#[test]
fn a_bus_that_accepts_and_says_nothing_does_not_hold_up_the_end() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("bus");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let options = Options {
        address: Some(format!("unix:path={}", socket.display())),
        handlers: announced(&["file"]),
        ..Options::default()
    };
    let service = Bus::start(options, Daemon::new()).unwrap();
    assert!(!service.is_up());
    let begin = Instant::now();
    service.stop();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}
