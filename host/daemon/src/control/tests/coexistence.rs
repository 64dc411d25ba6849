//! Devices of other daemons (NL-12, DB-10), devices that nobody waits for (NL-7), and handlers that come later.

use std::time::Duration;

use lunbox_tcmu::{Change, DeviceEvent, DeviceId, Event, EventKind, Minor};
use nix::errno::Errno;

use super::model::{World, added, removed};
use super::{OK, reply, size};
use crate::control::Ask;
use crate::foreign::Unclaimed;

/// An event as the kernel sends it, with the name.
pub fn named(kind: EventKind, minor: u32, id: u32, name: &str) -> Event {
    Event::Device(DeviceEvent {
        kind,
        device_id: Some(DeviceId(id)),
        minor: Some(Minor(minor)),
        name: Some(name.to_owned()),
        wants_reply: true,
    })
}

/// Every event of one device.
fn life(world: &World, minor: u32, id: u32, name: &str) {
    for kind in [
        EventKind::Added,
        size(4096),
        EventKind::Reconfigured(Change::WriteCache(true)),
        EventKind::Reconfigured(Change::Unknown),
        EventKind::Removed,
    ] {
        world.announce(named(kind, minor, id, name));
    }
}

#[test]
fn events_of_a_subtype_that_another_daemon_registered_are_left_alone() {
    let world = World::new();
    world.create(2, 22, "standing", "glfs", true);
    world.foreign.add("glfs");
    let mut control = world.started();
    world.create(0, 10, "f1", "glfs", false);
    life(&world, 0, 10, "tcm-user/0/f1/glfs//x");
    life(&world, 5, 55, "tcm-user/0/gone/glfs//x");
    world.run(&mut control);
    assert!(world.replies().is_empty() && world.take_steps().is_empty(), "{:?}", world.replies());
    assert_eq!(world.read("standing", "action/block_dev"), "");
    // Its daemon has gone, and nobody else will answer. The kernel waits for the newest event only; a node that has gone
    // waits for nothing.
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 10, OK)]);
}

#[test]
fn subtypes_that_nobody_claims_are_refused_or_left_alone_as_it_is_set() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 10, "f1", "other", false);
    world.create(1, 11, "f2", "model", false);
    let other = |kind| named(kind, 0, 10, "tcm-user/0/f1/other//x");
    world.foreign.set_unclaimed(Unclaimed::Leave);
    life(&world, 0, 10, "tcm-user/0/f1/other//x");
    world.announce(named(EventKind::Added, 1, 11, "tcm-user/0/f2/model//x"));
    world.run(&mut control);
    assert_eq!(world.take_replies(), [reply(&EventKind::Added, 11, OK)], "ours are served");
    world.foreign.set_unclaimed(Unclaimed::Answer);
    world.run(&mut control);
    assert_eq!(
        world.take_replies(),
        [reply(&EventKind::Removed, 10, OK)],
        "who waits from before is answered"
    );
    world.announce(other(EventKind::Added));
    world.announce(other(EventKind::Removed));
    world.announce(other(size(4096)));
    world.run(&mut control);
    let mut replies = world.replies();
    replies.sort_by_key(|(kind, ..)| format!("{kind:?}"));
    assert_eq!(
        replies,
        [
            reply(&EventKind::Added, 10, Err(Errno::ENOENT)),
            reply(&size(4096), 10, Err(Errno::ENODEV)),
            reply(&EventKind::Removed, 10, OK),
        ]
    );
}

#[test]
fn what_is_served_here_is_answered_whoever_registers_its_subtype() {
    let world = World::new();
    world.create(0, 10, "f1", "model", true);
    let mut control = world.started();
    world.foreign.add("model");
    for kind in [size(8192), EventKind::Removed] {
        world.announce(named(kind, 0, 10, "tcm-user/0/f1/model//x"));
    }
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&size(8192), 10, OK), reply(&EventKind::Removed, 10, OK)]);
    assert_eq!(control.devices(), 0);
}

/// An announced node whose event carries no name is left alone as soon as its name was read.
#[test]
fn a_foreign_device_is_known_by_its_node_too() {
    let world = World::new();
    let mut control = world.started();
    world.foreign.add("glfs");
    world.create(0, 10, "f1", "glfs", false);
    world.announce(added(0, 10));
    world.run(&mut control);
    assert!(world.replies().is_empty() && world.claimed().is_empty());
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, Err(Errno::ENOENT))]);
}

/// `nl_reply_supported=-1`: `enable` does not wait, so that after lost events only a look finds the device.
#[test]
fn enabled_devices_whose_events_were_lost_are_taken_over() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "quiet", "model", true);
    world.create(1, 2, "foreign", "other", true);
    world.create(2, 3, "served", "model", false);
    world.announce(added(2, 3));
    world.run(&mut control);
    world.announce(Event::Overrun);
    world.serve_until(&mut control, |world| world.log().iter().any(|line| line.starts_with("start quiet")));
    assert_eq!(world.replies(), [reply(&EventKind::Added, 3, OK)], "nobody waits for an answer");
    assert_eq!(world.log(), ["start served", "start quiet blocked reset"]);
    assert_eq!(world.read("quiet", "action/block_dev"), "0");
    assert_eq!(world.read("foreign", "action/block_dev"), "");
    assert_eq!(world.read("served", "action/block_dev"), "", "what is served is not touched");
    // And by its event, if that comes.
    world.create(3, 4, "told", "model", true);
    world.announce(added(3, 4));
    world.run(&mut control);
    assert_eq!(world.log()[2..], ["start told"]);
}

#[test]
fn when_handlers_come_what_waits_for_them_is_served() {
    let world = World::new();
    let mut control = world.started();
    // Left alone before, so that their writers still wait.
    world.create(0, 1, "waiting", "model", false);
    world.create(1, 2, "enabled", "model", true);
    world.run(&mut control);
    assert!(world.log().is_empty());
    world.ask(Ask::LookAgain);
    world.serve_until(&mut control, |world| {
        world.log().len() == 2 && world.read("enabled", "action/block_dev") == "0"
    });
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, OK)]);
    assert_eq!(world.log(), ["start waiting", "start enabled blocked reset"]);
}

/// NL-6.
#[test]
fn an_event_of_a_known_device_without_its_number_is_answered() {
    let world = World::new();
    world.create(0, 10, "f1", "model", true);
    let mut control = world.started();
    for kind in [size(8192), EventKind::Removed] {
        world.announce(Event::Device(DeviceEvent {
            kind,
            device_id: None,
            minor: Some(Minor(0)),
            name: None,
            wants_reply: true,
        }));
    }
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&size(8192), 10, OK), reply(&EventKind::Removed, 10, OK)]);
}

/// NL-11: a flood of events, half of which never come.
#[test]
fn two_hundred_and_fifty_six_creates_with_lost_events_are_all_answered_once() {
    let world = World::new();
    let mut control = world.started();
    for number in 0..256 {
        world.create(number, 1000 + number, &format!("d{number}"), "model", false);
    }
    for number in (0..256).step_by(2) {
        world.announce(added(number, 1000 + number));
    }
    world.announce(Event::Overrun);
    world.serve_until(&mut control, |world| world.replies().len() >= 256);
    world.run(&mut control);
    let mut answered: Vec<_> = world.replies().into_iter().map(|(_, id, status)| (id.0, status)).collect();
    answered.sort_by_key(|reply| reply.0);
    assert_eq!(answered, (1000..1256).map(|id| (id, OK)).collect::<Vec<_>>());
    assert_eq!(control.devices(), 256);
    world.take_replies();
    for number in 0..256 {
        world.announce(removed(number, 1000 + number));
    }
    world.run_until(&mut control, |world| world.replies().len() == 256);
    world.step(&mut control);
    assert!(control.settle(Duration::from_secs(30)).unwrap());
    assert_eq!(control.devices(), 0);
}
