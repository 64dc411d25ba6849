//! Events that were left to another daemon are answered when that has gone (DB-9, DB-10): nobody waits for good.

use std::fs;

use lunbox_tcmu::{Event, EventKind};
use nix::errno::Errno;

use super::coexistence::named;
use super::model::{ModelControl, World};
use super::{OK, reply, size};
use crate::foreign::Unclaimed;

/// A control plane that leaves `subtype` to another daemon, and a device of it whose `enable` waits for that.
fn waiting(subtype: &str) -> (World, ModelControl) {
    let world = World::new();
    let mut control = world.started();
    world.foreign.add(subtype);
    world.create(0, 10, "f1", subtype, false);
    world.announce(announced(subtype));
    world.run(&mut control);
    assert!(world.replies().is_empty() && world.log().is_empty(), "it is another daemon's");
    (world, control)
}

fn announced(subtype: &str) -> Event {
    named(EventKind::Added, 0, 10, &format!("tcm-user/0/f1/{subtype}//x"))
}

#[test]
fn an_enable_that_waits_for_a_daemon_that_has_gone_is_refused_once() {
    let (world, mut control) = waiting("glfs");
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, Err(Errno::ENOENT))]);
    // Another comes and goes.
    world.foreign.add("glfs");
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies().len(), 1);
}

#[test]
fn an_enable_that_waits_for_another_daemon_is_refused_when_nobodys_subtypes_are() {
    let world = World::new();
    let mut control = world.started();
    world.foreign.set_unclaimed(Unclaimed::Leave);
    world.foreign.add("glfs");
    for (minor, id, subtype) in [(0, 10, "rbd"), (1, 11, "glfs")] {
        world.create(minor, id, subtype, subtype, false);
        world.announce(named(EventKind::Added, minor, id, &format!("tcm-user/0/{subtype}/{subtype}//x")));
    }
    world.run(&mut control);
    assert!(world.replies().is_empty());
    world.foreign.set_unclaimed(Unclaimed::Answer);
    world.run(&mut control);
    assert_eq!(
        world.take_replies(),
        [reply(&EventKind::Added, 10, Err(Errno::ENOENT))],
        "glfs is somebody's"
    );
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 11, Err(Errno::ENOENT))]);
}

/// It may be a moment until the end of a process has closed its UIO nodes.
#[test]
fn an_enable_is_served_if_the_subtype_is_ours_as_soon_as_the_other_daemon_has_gone() {
    let (world, mut control) = waiting("model");
    world.create(1, 11, "f2", "model", true);
    world.announce(named(EventKind::Added, 1, 11, "tcm-user/0/f2/model//x"));
    world.run(&mut control);
    world.keep_busy(2);
    world.foreign.remove("model");
    world.serve_until(&mut control, |world| {
        world.log().len() == 2 && world.read("f2", "action/block_dev") == "0" && !world.replies().is_empty()
    });
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, OK)]);
    let mut log = world.log();
    log.sort();
    assert_eq!(log, ["start f1", "start f2 blocked reset"], "what the other daemon served is taken over");
}

#[test]
fn an_enable_that_the_other_daemon_has_answered_is_not_answered_again() {
    let (world, mut control) = waiting("glfs");
    world.write("f1", "enable", "1\n");
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert!(world.replies().is_empty(), "{:?}", world.replies());
    assert_eq!(control.left.len(), 0);
}

#[test]
fn a_removal_and_a_change_that_wait_for_a_daemon_that_has_gone_are_answered() {
    let (world, mut control) = waiting("glfs");
    world.announce(named(size(4096), 0, 10, "tcm-user/0/f1/glfs//x"));
    world.create(1, 11, "f2", "glfs", false);
    world.announce(named(EventKind::Removed, 1, 11, "tcm-user/0/f2/glfs//x"));
    world.run(&mut control);
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(
        world.replies(),
        [reply(&size(4096), 10, Err(Errno::ENODEV)), reply(&EventKind::Removed, 11, OK)]
    );
}

/// The kernel would take the answer to the older for one to the newer, and lose that.
#[test]
fn only_the_newest_event_of_a_device_is_answered() {
    let (world, mut control) = waiting("glfs");
    world.foreign.remove("glfs");
    world.announce(named(EventKind::Removed, 0, 10, "tcm-user/0/f1/glfs//x"));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 10, OK)]);
}

#[test]
fn a_removal_that_comes_while_the_enable_before_it_is_looked_at_is_answered_alone() {
    let (world, mut control) = waiting("glfs");
    fs::remove_dir_all(world.path("core/user_0/f1")).unwrap();
    world.foreign.remove("glfs");
    world.step(&mut control);
    assert!(!control.jobs.is_empty(), "the look waits for the removal's event");
    world.announce(named(EventKind::Removed, 0, 10, "tcm-user/0/f1/glfs//x"));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 10, OK)]);
}

#[test]
fn an_enable_behind_which_a_removal_waits_is_refused() {
    let (world, mut control) = waiting("glfs");
    fs::remove_dir_all(world.path("core/user_0/f1")).unwrap();
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, Err(Errno::ENOENT))]);
}

/// The kernel's reset has ended every event.
#[test]
fn after_a_reset_of_netlink_nothing_from_before_is_answered() {
    let (world, mut control) = waiting("glfs");
    world.announce(named(size(4096), 0, 10, "tcm-user/0/f1/glfs//x"));
    world.run(&mut control);
    assert_eq!(control.left.len(), 1);
    fs::write(world.path("parameters/reset_netlink"), "").unwrap();
    world.announce(Event::Overrun);
    world.serve_until(&mut control, |world| {
        world.parameter("reset_netlink") == "1" && world.parameter("block_netlink") == "0"
    });
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert!(world.replies().is_empty(), "{:?}", world.replies());
}

#[test]
fn nodes_that_have_gone_are_not_remembered_for_good() {
    let (world, mut control) = waiting("glfs");
    for minor in 1..1000 {
        world.announce(named(EventKind::Removed, minor, 1000 + minor, "tcm-user/0/gone/glfs//x"));
    }
    world.run(&mut control);
    assert!(control.left.len() <= 65, "{}", control.left.len());
    world.foreign.remove("glfs");
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 10, Err(Errno::ENOENT))], "what is there is kept");
}
