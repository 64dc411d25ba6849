mod coexistence;
mod identity;
mod left;
mod model;
mod moving;
mod recovery;
mod sizes;
mod stalled;
mod start;

use std::fs;
use std::time::Duration;

use lunbox_tcmu::{Change, DeviceEvent, DeviceId, Event, EventKind, Minor};
use nix::errno::Errno;

use crate::service::{Condition, Notice};
use model::{Reply, World, added, reconfigured, removed};

const OK: Result<(), Errno> = Ok(());

fn reply(kind: &EventKind, id: u32, status: Result<(), Errno>) -> Reply {
    (kind.clone(), DeviceId(id), status)
}

fn size(bytes: u64) -> EventKind {
    EventKind::Reconfigured(Change::Size(bytes))
}

#[test]
fn an_announced_device_is_served_and_answered_once() {
    let world = World::new();
    let mut control = world.started();
    world.create(3, 70, "f1", "model", false);
    world.announce(added(3, 70));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 70, OK)]);
    assert_eq!(world.log(), ["start f1"]);
    assert_eq!(control.devices(), 1);
    assert_eq!(
        world.read("f1", "action/block_dev"),
        "",
        "a device that is just being enabled is not blocked"
    );
    assert_eq!(world.read("f1", "action/reset_ring"), "");
}

#[test]
fn what_can_not_be_served_is_answered_with_enoent_and_not_kept() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "f1", "mode", false); // the beginning of a known subtype is no subtype
    world.announce(added(0, 1));
    world.create(1, 2, "bad", "model", false);
    world.announce(added(1, 2));
    world.announce(added(9, 3)); // no such node
    world.run(&mut control);
    let mut replies = world.replies();
    replies.sort_by_key(|reply| reply.1);
    let failed = |id| reply(&EventKind::Added, id, Err(Errno::ENOENT));
    assert_eq!(replies, [failed(1), failed(2), failed(3)]);
    assert_eq!(control.devices(), 0);
    assert!(world.claimed().is_empty());
}

#[test]
fn at_start_waiting_devices_are_answered_and_enabled_ones_taken_over() {
    let world = World::new();
    world.create(0, 10, "waiting", "model", false);
    world.create(1, 11, "enabled", "model", true);
    world.create(2, 12, "foreign", "other", true);
    world.create(4, 14, "foreign-waiting", "other", false);
    let control = world.started();
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, OK)], "only who waits gets an answer");
    assert_eq!(control.devices(), 2);
    assert_eq!(world.log(), ["start waiting", "start enabled blocked reset netlink-blocked"]);
    assert_eq!(world.read("enabled", "action/block_dev"), "0");
    for name in ["waiting", "foreign", "foreign-waiting"] {
        assert_eq!(world.read(name, "action/block_dev"), "", "{name} must not be touched");
        assert_eq!(world.read(name, "action/reset_ring"), "", "{name} must not be touched");
    }
    assert_eq!(
        (world.parameter("block_netlink"), world.parameter("reset_netlink")),
        ("0".into(), "1".into())
    );
}

#[test]
fn a_device_that_was_found_is_not_answered_again_when_its_event_arrives() {
    let world = World::new();
    world.create(0, 10, "waiting", "model", false);
    world.announce(added(0, 10));
    let mut control = world.started();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, OK)]);
    assert_eq!(world.log(), ["start waiting"]);
}

#[test]
fn a_device_that_could_not_be_taken_over_is_unblocked_and_the_others_are_served() {
    let world = World::new();
    world.create(0, 10, "bad", "model", true);
    world.create(1, 11, "good", "model", true);
    let control = world.started();
    assert_eq!(control.devices(), 1);
    assert_eq!(world.read("bad", "action/block_dev"), "0");
    assert!(world.replies().is_empty());
}

#[test]
fn a_kernel_without_block_and_reset_is_served_too() {
    let world = World::new();
    world.create(0, 10, "old", "model", true);
    for file in ["core/user_0/old/action/block_dev", "core/user_0/old/action/reset_ring"] {
        fs::remove_file(world.path(file)).unwrap();
    }
    for parameter in ["block_netlink", "reset_netlink"] {
        fs::remove_file(world.path(&format!("parameters/{parameter}"))).unwrap();
    }
    assert_eq!(world.started().devices(), 1);
}

#[test]
fn after_a_failed_start_netlink_is_not_left_blocked() {
    let world = World::new();
    fs::remove_file(world.path("parameters/reset_netlink")).unwrap();
    fs::create_dir(world.path("parameters/reset_netlink")).unwrap(); // not writable, and not absent
    let error = world.control().start().unwrap_err();
    assert!(error.to_string().contains("reset_netlink"), "{error}");
    assert_eq!(world.parameter("block_netlink"), "0");
}

#[test]
fn a_removal_is_answered_when_the_device_has_stopped() {
    let world = World::new();
    world.create(0, 10, "f1", "model", true);
    let mut control = world.started();
    world.announce(removed(0, 10));
    world.run(&mut control);
    assert_eq!(world.log().last().unwrap(), "stop f1 after 0 replies");
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 10, OK)]);
    assert_eq!(control.devices(), 0);
    assert!(world.claimed().is_empty());
    assert_eq!(world.read("f1", "action/block_dev"), "0", "from the start; not touched by the removal");
    world.announce(removed(0, 10));
    world.announce(removed(7, 77));
    world.run(&mut control);
    assert_eq!(world.replies().len(), 3, "a removal is always answered, whoever the device was");
    assert!(world.replies().iter().all(|(kind, _, status)| *kind == EventKind::Removed && status.is_ok()));
}

#[test]
fn reconfigurations_are_done_or_refused_with_the_right_error() {
    let world = World::new();
    world.create(0, 10, "f1", "model", true);
    let mut control = world.started();
    let changes = [
        (size(8192), OK),
        (size(13), Err(Errno::EINVAL)), // the model refuses it
        (EventKind::Reconfigured(Change::Config("file//x".into())), Err(Errno::EOPNOTSUPP)),
        (EventKind::Reconfigured(Change::WriteCache(true)), OK),
        (EventKind::Reconfigured(Change::WriteCache(false)), Err(Errno::EOPNOTSUPP)), // the model refuses it
        (EventKind::Reconfigured(Change::Unknown), Err(Errno::EOPNOTSUPP)),
    ];
    let mut expected = Vec::new();
    for (kind, status) in changes {
        world.announce(reconfigured(0, 10, kind.clone()));
        world.run(&mut control);
        expected.push(reply(&kind, 10, status));
        assert_eq!(world.replies(), expected);
    }
    world.announce(reconfigured(5, 55, size(4096)));
    world.run(&mut control);
    assert_eq!(world.replies().last().unwrap(), &reply(&size(4096), 55, Err(Errno::ENODEV)));
    let asked: Vec<_> =
        world.log()[1..].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        asked,
        ["resize", "resize", "change", "change", "change"],
        "unknown attributes reach no device"
    );
}

#[test]
fn a_slow_device_holds_up_nobody_but_its_own_events() {
    let world = World::new();
    let mut control = world.started();
    world.hold("slow");
    world.create(0, 1, "slow", "model", false);
    world.create(1, 2, "quick", "model", false);
    world.announce(added(0, 1));
    world.announce(removed(0, 1)); // nobody waited for the first answer
    world.announce(added(1, 2));
    world.run_until(&mut control, |world| world.replies().len() == 1);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 2, OK)]);
    world.release();
    world.run(&mut control);
    let expected = [reply(&EventKind::Added, 1, OK), reply(&EventKind::Removed, 1, OK)];
    assert_eq!(world.replies()[1..], expected);
    assert_eq!(control.devices(), 1);
}

#[test]
fn an_event_that_lacks_something_is_answered_if_it_has_an_id() {
    let world = World::new();
    let mut control = world.started();
    let event = |kind, id| {
        Event::Device(DeviceEvent { kind, device_id: id, minor: None, name: None, wants_reply: true })
    };
    world.announce(event(EventKind::Added, Some(DeviceId(4))));
    world.announce(event(EventKind::Removed, Some(DeviceId(5))));
    world.announce(event(EventKind::Added, None));
    world.run(&mut control);
    let expected = [reply(&EventKind::Added, 4, Err(Errno::ENOENT)), reply(&EventKind::Removed, 5, OK)];
    assert_eq!(world.replies(), expected);
}

#[test]
fn a_kernel_that_wants_no_answers_gets_none() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "f1", "model", false);
    for kind in [EventKind::Added, size(13), EventKind::Removed] {
        world.announce(Event::Device(DeviceEvent {
            kind,
            device_id: None,
            minor: Some(Minor(0)),
            name: None,
            wants_reply: false,
        }));
        world.run(&mut control);
    }
    assert!(world.replies().is_empty());
    assert_eq!(world.log(), ["start f1", "resize f1 13", "stop f1 after 0 replies"]);
}

#[test]
fn lost_events_are_made_up_for() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "lost", "model", false);
    world.create(1, 2, "told", "model", false);
    world.announce(Event::Overrun);
    world.announce(added(1, 2));
    world.serve_until(&mut control, |world| {
        // The reset ends what is left, so it must come after the answers.
        world.replies().len() == 2 && world.parameter("block_netlink") == "0"
    });
    let mut ids: Vec<_> = world.replies().into_iter().map(|(_, id, status)| (id, status)).collect();
    ids.sort_by_key(|reply| reply.0);
    assert_eq!(ids, [(DeviceId(1), OK), (DeviceId(2), OK)]);
}

#[test]
fn shutting_down_stops_the_newest_first_and_keeps_commands_away_meanwhile() {
    let world = World::new();
    world.create(5, 1, "a", "model", true);
    let mut control = world.started();
    for (minor, name) in [(3, "b"), (4, "c")] {
        world.create(minor, minor, name, "model", false);
        world.announce(added(minor, minor));
        world.run(&mut control);
    }
    control.shut_down().unwrap();
    assert_eq!(control.devices(), 0);
    let log = world.log();
    let mut stopped: Vec<_> = log[3..].to_vec();
    stopped.sort();
    assert_eq!(
        stopped,
        [
            "stop a after 2 replies blocked",
            "stop b after 2 replies blocked",
            "stop c after 2 replies blocked"
        ]
    );
    for name in ["a", "b", "c"] {
        assert_eq!(world.read(name, "action/block_dev"), "0");
    }
}

#[test]
fn the_order_of_shutting_down_is_the_reverse_of_serving() {
    let mut registry = crate::registry::Registry::default();
    for minor in [5, 3, 4] {
        let name = lunbox_tcmu::DeviceName::parse("tcm-user/0/x/model/").unwrap();
        assert!(registry.serve(Minor(minor), DeviceId(minor), name, ()).is_none());
    }
    assert_eq!(registry.newest_first(), [Minor(4), Minor(3), Minor(5)]);
}

#[test]
fn while_shutting_down_new_devices_are_left_to_the_successor_and_removals_are_answered() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.create(1, 2, "f2", "model", false);
    world.announce(added(1, 2));
    world.announce(removed(7, 7));
    control.shut_down().unwrap();
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 7, OK)]);
    let _successor = world.started();
    assert_eq!(world.replies()[1..], [reply(&EventKind::Added, 2, OK)]);
}

#[test]
fn a_device_that_does_not_stop_does_not_keep_the_daemon_from_ending() {
    let world = World::new();
    world.create(0, 1, "stuck", "model", true);
    let mut control = world.started();
    world.hold("stuck");
    control.shut_down().unwrap();
    assert_eq!(control.devices(), 1);
    world.release();
}

#[test]
fn the_serial_number_is_read_when_an_inquiry_asks_for_it() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    for serial in ["first", "second"] {
        world.write("f1", "wwn/vpd_unit_serial", &format!("T10 VPD Unit Serial Number: {serial}\n"));
        world.notify(0, Notice::IdentityWanted);
        world.run_until(&mut control, |world| world.log().last().unwrap() == &format!("serial f1 {serial}"));
    }
    fs::remove_file(world.path("core/user_0/f1/wwn/vpd_unit_serial")).unwrap();
    world.notify(0, Notice::IdentityWanted);
    world.run_until(&mut control, |world| world.log().len() == 4);
    assert_eq!(world.log()[3], "serial f1 second", "an INQUIRY is answered with what was known");
}

#[test]
fn a_worker_that_asks_for_a_serial_number_without_pause_has_one_job_at_a_time() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.write("f1", "wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n");
    for _ in 0..1000 {
        world.notify(0, Notice::IdentityWanted);
    }
    world.run(&mut control);
    let answers = world.log().iter().filter(|line| *line == "serial f1 abc").count();
    // What was asked after the number was read is answered by a second look.
    assert_eq!(answers, 2);
}

#[test]
fn a_serial_number_asked_for_during_a_job_is_given_after_it() {
    let world = World::new();
    world.write_later("f1", "wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n");
    let mut control = world.started();
    world.hold("f1");
    world.create(0, 1, "f1", "model", false);
    world.announce(added(0, 1));
    world.run_until(&mut control, |world| world.log() == ["start f1"]);
    world.notify(0, Notice::IdentityWanted); // the device is quicker than the job's result
    world.step(&mut control);
    world.release();
    world.run(&mut control);
    assert_eq!(world.log(), ["start f1", "serial f1 abc"]);

    world.hold("f1");
    world.announce(reconfigured(0, 1, size(8192)));
    world.run_until(&mut control, |world| world.log().len() == 3);
    world.notify(0, Notice::IdentityWanted);
    world.step(&mut control);
    world.release();
    world.run(&mut control);
    assert_eq!(world.log()[2..], ["resize f1 8192", "serial f1 abc"]);
}

#[test]
fn a_device_whose_node_has_gone_is_forgotten_without_an_answer() {
    let world = World::new();
    world.create(0, 1, "gone", "model", true);
    world.create(1, 2, "broken", "model", true);
    let mut control = world.started();
    fs::remove_dir_all(world.path("class/uio0")).unwrap();
    world.strike(0, "gone", Condition::Ended("end of file".into()));
    world.strike(1, "broken", Condition::Ended("ring inconsistent".into()));
    world.run_until(&mut control, |world| world.claimed() == [1]);
    world.run(&mut control);
    assert_eq!(control.devices(), 1, "a broken device is kept and brought back");
    assert!(world.log().contains(&"stop gone after 0 replies".to_owned()));
    assert!(world.replies().is_empty());
}

#[test]
fn a_node_that_was_given_to_another_device_is_served_anew() {
    let world = World::new();
    world.create(0, 1, "old", "model", true);
    let mut control = world.started();
    world.create(0, 2, "new", "model", false);
    world.announce(added(0, 2));
    world.run(&mut control);
    assert_eq!(world.log()[1..], ["stop old after 0 replies", "start new"]);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 2, OK)]);
    world.announce(removed(0, 1)); // late, about the old one
    world.run(&mut control);
    assert_eq!(control.devices(), 1);
}

#[test]
fn a_panic_in_a_job_is_answered() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "panic", "model", false);
    world.announce(added(0, 1));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, Err(Errno::EIO))]);
    assert!(world.claimed().is_empty());
}

#[test]
fn two_hundred_and_fifty_six_devices_come_and_go_without_a_lost_answer() {
    let world = World::new();
    let mut control = world.started();
    for kind in [EventKind::Added, EventKind::Removed] {
        for minor in 0..256 {
            if kind == EventKind::Added {
                world.create(minor, 1000 + minor, &format!("d{minor}"), "model", false);
                world.announce(added(minor, 1000 + minor));
            } else {
                world.announce(removed(minor, 1000 + minor));
            }
        }
        world.run(&mut control);
        let mut ids: Vec<_> = world
            .take_replies()
            .into_iter()
            .map(|answer| {
                assert_eq!((&answer.0, answer.2), (&kind, OK));
                answer.1.0
            })
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (1000..1256).collect::<Vec<_>>());
    }
    assert_eq!(control.devices(), 0);
}

#[test]
fn a_removal_during_the_shutdown_is_answered_before_the_device_has_stopped() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.hold("f1");
    let minor = Minor(0);
    control.phase = super::Phase::Stopping;
    control.retire(minor, true);
    world.run_until(&mut control, |world| world.log().len() == 2);
    assert_eq!(world.log()[1], "stop f1 after 0 replies blocked");
    world.announce(reconfigured(0, 1, size(8192)));
    world.announce(removed(0, 1));
    world.step(&mut control);
    let expected = [reply(&size(8192), 1, Err(Errno::EAGAIN)), reply(&EventKind::Removed, 1, OK)];
    assert_eq!(world.replies(), expected, "rmdir holds the lock that the job may need");
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), expected, "not a second time");
    assert_eq!(control.devices(), 0);
}

#[test]
fn a_removal_that_was_asked_for_is_still_answered_after_the_stop_alone() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.hold("f1");
    world.announce(removed(0, 1));
    world.run_until(&mut control, |world| world.log().len() == 2);
    assert!(world.replies().is_empty());
    world.release();
    control.shut_down().unwrap();
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
}

#[test]
fn a_device_that_is_being_removed_is_not_blocked_at_shutdown() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    fs::remove_dir_all(world.path("core/user_0/f1")).unwrap();
    control.shut_down().unwrap();
    assert_eq!(world.log()[1], "stop f1 after 0 replies");
    assert_eq!(control.devices(), 0);
}

#[test]
fn an_admission_that_hangs_is_answered_once_and_its_node_is_free_for_the_next() {
    let world = World::new();
    let mut control = world.impatient(Duration::from_millis(100));
    world.hold("hangs");
    world.create(0, 1, "hangs", "model", false);
    world.announce(added(0, 1));
    world.announce(removed(0, 1));
    world.run_until(&mut control, |world| world.replies().len() == 2);
    let expected = [reply(&EventKind::Added, 1, Err(Errno::ENOENT)), reply(&EventKind::Removed, 1, OK)];
    assert_eq!(world.replies(), expected);
    assert_eq!(control.devices(), 0);
    // It succeeds at last: it must not stay.
    world.release();
    world.run_until(&mut control, |world| world.log().len() == 2 && world.claimed().is_empty());
    assert_eq!(world.log(), ["start hangs", "stop hangs after 2 replies"]);
    control.around.admission = Duration::from_secs(30);
    world.create(0, 2, "next", "model", false);
    world.announce(added(0, 2));
    world.run(&mut control);
    assert_eq!(world.replies()[2..], [reply(&EventKind::Added, 2, OK)]);
    assert_eq!(control.devices(), 1);
}

#[test]
fn a_takeover_that_hangs_is_served_late_but_a_removal_does_not_wait_for_it() {
    let world = World::new();
    let mut control = world.started();
    control.around.admission = Duration::from_millis(50);
    world.hold("late");
    for (minor, id) in [(0, 1), (1, 2)] {
        world.create(minor, id, "late", "model", true);
        control.begin(
            Minor(minor),
            None,
            super::Job::admit(Minor(minor), super::Reason::TakeOver, Duration::ZERO),
        );
    }
    world.run_until(&mut control, |world| world.log().len() == 2);
    world.announce(removed(1, 2));
    world.run_until(&mut control, |world| world.replies().len() == 1);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 2, OK)]);
    world.release();
    world.run_until(&mut control, |world| world.claimed() == [0]);
    world.run(&mut control);
    assert_eq!(control.devices(), 1);
}

#[test]
fn devices_are_stopped_while_as_many_admissions_hang_as_there_may_be() {
    let world = World::new();
    world.create(100, 1000, "served", "model", true);
    let mut control = world.started();
    world.hold("hangs");
    let hanging = u32::try_from(super::MAX_JOBS).unwrap() + 1;
    for minor in 0..hanging {
        world.create(minor, minor, "hangs", "model", false);
        world.announce(added(minor, minor));
    }
    world.run_until(&mut control, |world| world.log().len() == super::MAX_JOBS + 1);
    world.announce(removed(100, 1000));
    world.run_until(&mut control, |world| !world.replies().is_empty());
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1000, OK)]);
    world.release();
    world.run(&mut control);
    assert_eq!(control.devices(), usize::try_from(hanging).unwrap());
}

#[test]
fn a_node_that_a_predecessor_has_open_still_is_tried_again() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.keep_busy(3);
    let control = world.started();
    assert_eq!(control.devices(), 1);
}
