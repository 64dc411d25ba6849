//! Devices of workers of another build that can not be moved at once, and daemons that end meanwhile.

use std::os::fd::AsFd;

use lunbox_tcmu::{EventKind, Minor};
use nix::sys::eventfd::EventFd;

use super::model::{ModelControl, World, removed};
use super::recovery::{one, overview};
use super::{OK, reply};
use crate::control::jobs::MAX_RECOVERIES;
use crate::control::later::Chore;
use crate::control::{Outcome, Phase};
use crate::service::{Condition, Setback};

/// A world in which a predecessor's workers of another build serve these devices.
fn outdated(names: &[&str]) -> World {
    let world = World::new();
    for (minor, name) in (0..).zip(names) {
        world.create(minor, 1 + minor, name, "model", true);
        world.leave(minor, 1 + minor, name, true);
    }
    world
}

fn states(world: &World, control: &mut ModelControl) -> Vec<&'static str> {
    overview(world, control).devices.into_iter().map(|device| device.state).collect()
}

#[test]
fn a_loop_for_which_no_other_worker_can_be_had_is_asked_nothing_and_moves_when_there_is_one() {
    let world = outdated(&["a", "b"]);
    for name in ["a", "b"] {
        world.set_homeless(name, true);
    }
    let mut control = world.started();
    world.run(&mut control);
    assert!(world.steps().is_empty(), "{:?}", world.steps());
    assert_eq!(states(&world, &mut control), ["serving"; 2]);
    world.set_homeless("b", false);
    control.later.hurry();
    world.run(&mut control);
    assert_eq!(world.take_steps(), ["end b HandOver", "fence b", "start b"]);
    assert!(control.later.is_waiting(Chore::HandOver, Minor(0)));
    world.set_homeless("a", false);
    control.later.hurry();
    world.run(&mut control);
    assert_eq!(world.take_steps(), ["end a HandOver", "fence a", "start a"]);
    assert!(control.outdated.is_empty() && control.later.next().is_none());
    assert_eq!(world.read("a", "action/reset_ring"), "");
}

#[test]
fn moves_wait_for_nothing_of_another_tenant_and_not_for_recoveries() {
    let world = outdated(&["blue-a", "red-b"]);
    world.set_homeless("red-b", true);
    world.hold("blue-a in its old worker");
    let waiting = u32::try_from(MAX_RECOVERIES).unwrap();
    for minor in 10..10 + waiting {
        world.create(minor, 1000 + minor, &format!("red-{minor}"), "model", true);
    }
    let mut control = world.started();
    world.take_steps();
    for minor in 10..10 + waiting {
        let name = format!("red-{minor}");
        world.stall(&name);
        world.strike(minor, &name, Condition::Lost);
    }
    let fences = |world: &World| world.steps().iter().filter(|step| step.starts_with("fence red")).count();
    world.run_until(&mut control, |world| fences(world) == MAX_RECOVERIES);
    world.set_homeless("red-b", false);
    control.later.hurry();
    world.run_until(&mut control, |world| world.steps().contains(&"start red-b".to_owned()));
    assert!(!world.steps().iter().any(|step| step.contains("blue")));
    world.release();
    for minor in 10..10 + waiting {
        world.unstall(&format!("red-{minor}"));
    }
    world.run(&mut control);
    assert!(world.steps().contains(&"start blue-a".to_owned()));
}

#[test]
fn a_hand_over_that_fails_while_the_device_is_removed_is_not_followed_by_a_revival() {
    let world = outdated(&["f1"]);
    world.set_back("f1", &[Setback::Refused("the new build refuses".to_owned())]);
    world.hold("f1");
    let mut control = world.started();
    world.run_until(&mut control, |world| world.steps().len() == 3);
    world.announce(removed(0, 1));
    world.step(&mut control);
    // A revival would wait for ever.
    world.stall("f1");
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!(world.steps()[3..], ["stop f1 after 0 replies"]);
}

#[test]
fn who_is_told_to_end_while_it_starts_moves_nothing() {
    let world = outdated(&["f1"]);
    let stop = EventFd::new().unwrap();
    stop.write(1).unwrap();
    let mut control = world.control();
    control.start_unless(Some(stop.as_fd())).unwrap();
    assert_eq!(control.serve(stop.as_fd()).unwrap(), Outcome::Signal);
    control.withdraw().unwrap();
    assert!(world.steps().is_empty() && control.jobs.is_empty());
    assert_eq!((control.devices(), control.outdated.len()), (1, 1));
}

#[test]
fn who_was_told_something_else_than_to_end_moves_devices_afterwards() {
    let world = outdated(&["f1"]);
    let stop = EventFd::new().unwrap();
    stop.write(1).unwrap();
    let mut control = world.control();
    control.start_unless(Some(stop.as_fd())).unwrap();
    assert!(stop.read().is_ok());
    world.serve_until(&mut control, |world| world.steps().contains(&"start f1".to_owned()));
}

#[test]
fn who_leaves_waits_for_a_device_that_is_just_moving_and_moves_no_other() {
    let world = outdated(&["a", "b"]);
    world.hold("a");
    let mut control = world.started();
    world.run_until(&mut control, |world| world.steps().len() == 3);
    std::thread::scope(|scope| {
        // However the two meet: it leaves only when the device is served again.
        scope.spawn(|| world.release());
        control.withdraw().unwrap();
    });
    assert!(control.jobs.is_empty());
    assert_eq!(world.steps(), ["end a HandOver", "fence a", "start a"]);
    assert_eq!(states(&world, &mut control), ["serving"; 2]);
}

#[test]
fn a_removal_of_another_device_puts_a_move_off_and_no_more() {
    let world = outdated(&["f1"]);
    world.hold("f1 in its old worker");
    let mut control = world.started();
    world.announce(removed(0, 77)); // late, of one that had the node before
    world.step(&mut control);
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 77, OK)]);
    assert_eq!(world.steps(), ["end f1 HandOver", "fence f1", "start f1"]);
}

#[test]
fn a_move_that_is_halted_before_the_loop_was_asked_leaves_it_alone() {
    let world = outdated(&["f1"]);
    world.hold("f1 in its old worker");
    let mut control = world.started();
    let ticket = control.moving[""];
    control.phase = Phase::Stopping;
    assert!(control.jobs.halt(ticket).is_none(), "a thread works on it");
    world.release();
    world.run(&mut control);
    assert!(world.steps().is_empty());
    assert_eq!(states(&world, &mut control), ["serving"]);
}

#[test]
fn who_leaves_cuts_recoveries_short_that_wait_and_commands_wait_for_the_successor() {
    let (world, mut control) = one("f1");
    world.stall("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    control.withdraw().unwrap();
    assert!(control.jobs.is_empty() && world.steps().len() == 2);
    assert_eq!(world.read("f1", "action/reset_ring"), "", "its buffers may be in use");
    assert_eq!(world.read("f1", "action/block_dev"), "0");
}
