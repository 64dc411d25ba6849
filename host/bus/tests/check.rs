//! `CheckConfig`: replies, bounds, and that nobody waits for anybody.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod common;

use std::sync::Arc;

use common::{Daemon, PrivateBus, check, managed, me, wait_for};
use lunbox_bus::{MAX_MESSAGE, NAME};

const BUSY: &str = "too many checks; try again in a moment";

/// DB-5, DB-6, INT-1.
#[test]
fn replies_are_tcmu_runners_and_one_line() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let mut replies = Vec::new();
        for config in
            ["file//tmp/a", "file/bad /tmp/a", "file/silent", "file/panic", "file/lines", "file/endless"]
        {
            replies.push(check(&client, "file", config).await.unwrap());
        }
        let expected = [
            (true, "success"),
            (false, "bad /tmp/a"),
            (false, "unknown"),
            (false, "unknown"),
            (false, "no option \"x\" file takes path"),
        ];
        for (reply, expected) in replies.iter().zip(expected) {
            assert_eq!((reply.0, reply.1.as_str()), expected);
        }
        assert!(!replies[5].0 && replies[5].1.len() <= MAX_MESSAGE, "{}", replies[5].1.len());
    });
    let asked = daemon.asked.lock().unwrap();
    assert_eq!(asked[0], ("file".to_owned(), "file//tmp/a".to_owned()));
}

/// Bad input: huge and malformed arguments are answered, and the service goes on.
#[test]
fn huge_and_malformed_arguments_are_answered_and_reach_nobody() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let huge = "x".repeat(16 << 20);
        let (good, message) = check(&client, "file", &huge).await.unwrap();
        assert_eq!((good, message.as_str()), (false, "the configuration has 16777216 bytes; at most 4096"));
        let path = "/org/kernel/TCMUService1/file";
        let calls = [
            client.call_method(Some(NAME), path, Some(NAME), "CheckConfig", &7_u32).await,
            client.call_method(Some(NAME), path, Some(NAME), "CheckConfig", &()).await,
            client.call_method(Some(NAME), path, Some(NAME), "CheckConfig", &("a", 1_i32)).await,
        ];
        for call in calls {
            let error = call.unwrap_err().to_string();
            assert!(error.contains("InvalidArgs") || error.contains("invalid"), "{error}");
        }
        for (path, method) in [("/org/kernel/TCMUService1/none", "CheckConfig"), (path, "Unregister")] {
            let error = client.call_method(Some(NAME), path, Some(NAME), method, &"a").await.unwrap_err();
            assert!(error.to_string().contains("Unknown"), "{error}");
        }
        assert_eq!(check(&client, "file", "file/a").await.unwrap().1, "success");
    });
    assert_eq!(daemon.asked.lock().unwrap().len(), 1);
}

#[test]
fn a_user_other_than_root_who_asks_too_often_is_told_so() {
    let bus = PrivateBus::new();
    let daemon = Daemon::new();
    let _service = bus.try_serve(&daemon, &["file"], me() + 1).unwrap();
    zbus::block_on(async {
        let (one, other) = (bus.client().await, bus.client().await);
        let mut refused = 0;
        let begin = std::time::Instant::now();
        for round in 0..100 {
            // A second connection is no second user.
            let client = if round % 2 == 0 { &one } else { &other };
            let (good, message) = check(client, "file", "file/a").await.unwrap();
            assert!(good || message == BUSY, "{message}");
            refused += u32::from(!good);
        }
        let allowed = begin.elapsed().as_secs() * 10 + 30;
        assert!(u64::from(100 - refused) <= allowed, "{refused} refused");
        assert!(refused >= 1, "100 checks within {:?}", begin.elapsed());
    });
}

/// Starts a check that waits, as another client; `true`: it came through.
fn waiting_check(bus: &Arc<PrivateBus>) -> std::thread::JoinHandle<(bool, String)> {
    let bus = Arc::clone(bus);
    std::thread::spawn(move || {
        zbus::block_on(async { check(&bus.client().await, "file", "file/wait").await.unwrap() })
    })
}

/// targetcli and gluster-block make what they are not told is bad: root's checks are all made, one after another if need be.
#[test]
fn of_a_hundred_checks_of_roots_at_once_none_is_refused() {
    let bus = Arc::new(PrivateBus::new());
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    let checks: Vec<_> = (0..10)
        .map(|_| {
            let bus = Arc::clone(&bus);
            std::thread::spawn(move || {
                zbus::block_on(async {
                    let client = bus.client().await;
                    for _ in 0..10 {
                        assert_eq!(
                            check(&client, "file", "file/a").await.unwrap(),
                            (true, "success".to_owned())
                        );
                    }
                });
            })
        })
        .collect();
    for check in checks {
        check.join().unwrap();
    }
    assert_eq!(daemon.asked.lock().unwrap().len(), 100);
}

/// "Never on the control thread": here: not on the thread of the bus either.
#[test]
fn checks_that_take_long_hold_up_nothing_and_more_than_four_wait_for_their_turn() {
    let bus = Arc::new(PrivateBus::new());
    let daemon = Daemon::new();
    let _service = bus.serve(&daemon, &["file"]);
    let waiting: Vec<_> = (0..4).map(|_| waiting_check(&bus)).collect();
    wait_for("four checks run", || daemon.asked.lock().unwrap().len() == 4);
    zbus::block_on(async {
        let client = bus.client().await;
        assert_eq!(managed(&client).await.unwrap().len(), 1);
    });
    let fifth = waiting_check(&bus);
    // It may only be on its way yet; it is never one of more than four.
    zbus::block_on(async {
        assert_eq!(managed(&bus.client().await).await.unwrap().len(), 1);
    });
    assert_eq!(daemon.asked.lock().unwrap().len(), 4);
    daemon.open_gate();
    wait_for("the fifth runs", || daemon.asked.lock().unwrap().len() == 5);
    (0..4).for_each(|_| daemon.open_gate());
    for check in waiting.into_iter().chain([fifth]) {
        assert_eq!(check.join().unwrap(), (true, "success".to_owned()));
    }
    zbus::block_on(async {
        assert!(check(&bus.client().await, "file", "file/a").await.unwrap().0);
    });
}

/// An unprivileged user can not keep root from checking.
#[test]
fn of_the_four_places_others_than_root_have_two() {
    let bus = Arc::new(PrivateBus::new());
    let daemon = Daemon::new();
    // We are not the trusted user then.
    let _service = bus.try_serve(&daemon, &["file"], me() + 1).unwrap();
    let waiting: Vec<_> = (0..2).map(|_| waiting_check(&bus)).collect();
    wait_for("two checks run", || daemon.asked.lock().unwrap().len() == 2);
    zbus::block_on(async {
        let client = bus.client().await;
        assert_eq!(check(&client, "file", "file/a").await.unwrap(), (false, BUSY.to_owned()));
    });
    (0..2).for_each(|_| daemon.open_gate());
    for check in waiting {
        assert!(check.join().unwrap().0);
    }
}
