//! `RegisterHandler`: programs that serve a subtype themselves.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod common;

use std::future::pending;
use std::time::{Duration, Instant};

use common::{Daemon, MANAGER, PrivateBus, check, managed, me, register, subtypes, wait_for};
use zbus::connection::Builder;
use zbus::{Connection, fdo, interface};

const PREFIX: &str = "org.kernel.TCMUService1.HandlerManager1";

/// What libtcmu exports for a handler of its own.
struct Other;

#[interface(name = "org.kernel.TCMUService1")]
impl Other {
    #[zbus(out_args("is_valid", "message"))]
    async fn check_config(&self, configstr: &str) -> fdo::Result<(bool, String)> {
        match configstr {
            "foo/good" => Ok((true, "OK".to_owned())),
            "foo/bad" => Ok((false, "no such disk".to_owned())),
            "foo/silent" => Ok((false, String::new())),
            "foo/error" => Err(fdo::Error::Failed("out of order".to_owned())),
            "foo/hang" => pending().await,
            other => panic!("{other}"),
        }
    }
}

async fn other(bus: &PrivateBus, subtype: &str) -> Connection {
    let builder = Builder::address(bus.address().as_str()).serve_at(format!("{MANAGER}/{subtype}"), Other);
    builder.name(format!("{PREFIX}.{subtype}")).build().await.unwrap()
}

fn no(message: &str) -> (bool, String) {
    (false, message.to_owned())
}

/// DB-7, as recorded.
#[test]
fn a_name_that_nobody_has_or_that_is_none_is_refused_in_tcmu_runners_words() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let missing = format!("Cannot find handler bus name: {PREFIX}.foo");
        assert_eq!(register(&client, "foo", "help").await.unwrap(), no(&missing));
        for bad in [
            "",
            "foo bar",
            "9p",
            "a-b",
            "a.b",
            "../a",
            "HandlerManager1",
            &"x".repeat(65),
            &"x".repeat(1 << 20),
        ] {
            let reply = register(&client, bad, "help").await.unwrap();
            assert_eq!(reply, no("failed to watch for DBus handler name"), "{}", bad.len());
        }
        assert_eq!(subtypes(&client).await.into_keys().collect::<Vec<_>>(), ["file"]);
    });
    assert!(daemon.external.lock().unwrap().is_empty());
}

/// DB-7, DB-8, DB-9, DB-10, DB-12.
#[test]
fn an_external_handler_is_shown_asked_and_forgotten_when_it_goes() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let other = other(&bus, "foo").await;
        assert_eq!(register(&client, "foo", "Help on foo").await.unwrap(), (true, "succeeded".to_owned()));
        assert_eq!(*daemon.external.lock().unwrap(), [("foo".to_owned(), true)]);
        assert_eq!(subtypes(&client).await["foo"], "Help on foo");
        assert_eq!(check(&client, "foo", "foo/good").await.unwrap(), (true, "OK".to_owned()));
        assert_eq!(check(&client, "foo", "foo/bad").await.unwrap(), no("no such disk"));
        assert_eq!(check(&client, "foo", "foo/silent").await.unwrap(), no("unknown"));
        assert_eq!(check(&client, "foo", "foo/error").await.unwrap(), no("out of order"));
        // The daemon itself was never asked.
        assert!(daemon.asked.lock().unwrap().is_empty());
        other.close().await.unwrap();
    });
    wait_for("it is forgotten", || {
        daemon.external.lock().unwrap().last() == Some(&("foo".to_owned(), false))
    });
    zbus::block_on(async {
        let client = bus.client().await;
        let until = Instant::now() + common::TIME;
        while managed(&client).await.unwrap().len() != 1 {
            assert!(Instant::now() < until);
        }
        assert!(check(&client, "foo", "foo/good").await.is_err());
        // The next one starts anew.
        let _other = other(&bus, "foo").await;
        assert!(register(&client, "foo", "").await.unwrap().0);
    });
}

/// DB-8: tcmu-runner's main loop waited, netlink included.
#[test]
fn an_external_handler_that_does_not_answer_holds_up_nobody_and_is_given_up() {
    let bus = PrivateBus::new();
    let _service = bus.serve(&Daemon::new(), &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let _other = other(&bus, "foo").await;
        assert!(register(&client, "foo", "").await.unwrap().0);
        let begin = Instant::now();
        let slow = std::thread::spawn({
            let address = bus.address();
            move || {
                zbus::block_on(async {
                    // As patient as the usual libraries.
                    let client = Builder::address(address.as_str())
                        .method_timeout(Duration::from_secs(25))
                        .build()
                        .await
                        .unwrap();
                    check(&client, "foo", "foo/hang").await.unwrap()
                })
            }
        });
        // Meanwhile everything else goes on.
        while !slow.is_finished() {
            let asked = Instant::now();
            assert_eq!(managed(&client).await.unwrap().len(), 2);
            assert!(asked.elapsed() < Duration::from_secs(4));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(slow.join().unwrap(), no("the program that serves \"foo\" does not answer"));
        // It may take as long as tcmu-runner allowed, less what the reply needs on its way.
        assert!(begin.elapsed() > Duration::from_secs(15));
    });
}

/// DB-11.
#[test]
fn a_subtype_that_there_is_can_not_be_registered_whoever_has_it() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let _spoof = other(&bus, "file").await;
        let taken = no("subtype \"file\" is taken by a handler of the daemon");
        assert_eq!(register(&client, "file", "mine").await.unwrap(), taken);
        assert_eq!(subtypes(&client).await["file"], "Help on file.\nTwo lines.");
        let _other = other(&bus, "foo").await;
        assert!(register(&client, "foo", "first").await.unwrap().0);
        assert_eq!(
            register(&client, "foo", "second").await.unwrap(),
            no("subtype \"foo\" is registered already")
        );
        assert_eq!(subtypes(&client).await["foo"], "first");
        let long = register(&client, "bar", &"x".repeat(4097)).await.unwrap();
        assert_eq!(long, no("the help text has 4097 bytes; at most 4096"));
        // While the other one is there.
        assert_eq!(*daemon.external.lock().unwrap(), [("foo".to_owned(), true)]);
    });
}

/// DB-11: root only. Here somebody else is root.
#[test]
fn only_root_registers() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.try_serve(&daemon, &["file"], me() + 1).unwrap();
    zbus::block_on(async {
        let client = bus.client().await;
        let _other = other(&bus, "foo").await;
        assert_eq!(register(&client, "foo", "").await.unwrap(), no("only root may register a handler"));
        assert_eq!(subtypes(&client).await.into_keys().collect::<Vec<_>>(), ["file"]);
    });
    assert!(daemon.external.lock().unwrap().is_empty());
}
