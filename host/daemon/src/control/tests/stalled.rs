//! Devices that can not be brought back, moved or stopped at once, and what that is to others.

use std::fs;
use std::time::Duration;

use lunbox_tcmu::{EventKind, Minor};

use super::model::{World, reconfigured, removed};
use super::recovery::{back, one, overview, reset};
use super::{OK, reply, size};
use crate::control::jobs::MAX_RECOVERIES;
use crate::control::time_to_stop;
use crate::job::{Job, Reason};
use crate::service::Condition;

#[test]
fn a_device_whose_directory_is_going_or_not_to_be_seen_is_not_started_on_a_ring_that_was_not_reset() {
    let (world, mut control) = one("f1");
    fs::remove_dir_all(world.path("core/user_0/f1")).unwrap();
    world.strike(0, "f1", Condition::Lost);
    world.run(&mut control);
    assert!(world.take_steps().is_empty());
    assert!(!world.path("core/user_0/f1").exists(), "nothing is touched there");
    assert_eq!(overview(&world, &mut control).devices[0].state, "lost");
    // It can be seen again: a reset gives it a new start.
    world.create(0, 1, "f1", "model", true);
    let answered = reset(&world, 0);
    world.run(&mut control);
    assert_eq!((answered.try_recv(), world.take_steps()), (Ok(Ok(())), back("f1")));
}

#[test]
fn a_directory_that_goes_while_a_takeover_or_a_revival_waits_ends_it() {
    let (world, mut control) = one("f1");
    world.create(1, 2, "f2", "model", true);
    for name in ["f1", "f2"] {
        world.stall(name);
    }
    world.strike(0, "f1", Condition::Lost);
    let job = Job::admit(Minor(1), Reason::TakeOver, Duration::ZERO);
    control.begin(Minor(1), None, job);
    let fences = |world: &World| world.steps().iter().filter(|step| step.starts_with("fence")).count();
    world.run_until(&mut control, |world| fences(world) == 2);
    for name in ["f1", "f2"] {
        fs::remove_dir_all(world.path(&format!("core/user_0/{name}"))).unwrap();
        world.unstall(name);
    }
    world.run(&mut control);
    assert!(!world.steps().iter().any(|step| step.starts_with("start")), "{:?}", world.steps());
    assert_eq!(control.devices(), 1);
}

#[test]
fn a_takeover_waits_for_a_dead_process_that_has_the_node_open_until_it_is_gone() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.keep_busy(110); // every 50 ms one: longer than anybody waits who wants an answer
    let control = world.started();
    assert_eq!(control.devices(), 1);
    assert_eq!(world.steps().last().unwrap(), "start f1 blocked reset netlink-blocked");
}

#[test]
fn a_removal_ends_a_takeover_that_waits_for_the_node() {
    let (world, mut control) = one("f1");
    world.create(1, 2, "f2", "model", true);
    world.keep_busy(usize::MAX);
    let job = Job::admit(Minor(1), Reason::TakeOver, Duration::MAX);
    control.begin(Minor(1), None, job);
    world.announce(removed(1, 2));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 2, OK)]);
    assert_eq!(world.read("f2", "action/block_dev"), "");
    assert!(world.steps().is_empty() && control.devices() == 1);
}

#[test]
fn a_device_that_can_not_be_handed_over_stays_where_it_is_and_others_move() {
    let world = World::new();
    for (minor, name) in [(0, "stays"), (1, "b")] {
        world.create(minor, 1 + minor, name, "model", true);
        world.leave(minor, 1 + minor, name, true);
    }
    let mut control = world.started();
    world.run(&mut control);
    assert_eq!(world.steps(), ["end stays HandOver", "end b HandOver", "fence b", "start b"]);
    assert_eq!(overview(&world, &mut control).devices[0].state, "serving");
    assert_eq!(world.read("stays", "action/reset_ring"), "");
}

#[test]
fn a_hand_over_whose_storage_does_not_let_go_becomes_a_revival_and_holds_up_no_other() {
    let world = World::new();
    for (minor, name) in [(0, "a"), (1, "b")] {
        world.create(minor, 1 + minor, name, "model", true);
        world.leave(minor, 1 + minor, name, true);
    }
    world.stall("a");
    let mut control = world.started();
    world.run_until(&mut control, |world| {
        let steps = world.steps();
        steps.contains(&"fence a blocked".to_owned()) && steps.contains(&"start b".to_owned())
    });
    assert_eq!(world.read("a", "action/reset_ring"), "", "its buffers may be in use");
    world.unstall("a");
    world.run(&mut control);
    assert_eq!(world.steps().last().unwrap(), "start a blocked reset");
}

#[test]
fn recoveries_of_one_tenant_that_hang_hold_up_no_other_tenants() {
    let world = World::new();
    let hanging = u32::try_from(MAX_RECOVERIES).unwrap() + 1;
    for minor in 0..hanging {
        world.create(minor, 1000 + minor, &format!("blue-{minor}"), "model", true);
    }
    world.create(500, 1, "red-0", "model", true);
    let mut control = world.started();
    world.take_steps();
    for minor in 0..hanging {
        let name = format!("blue-{minor}");
        world.stall(&name);
        world.strike(minor, &name, Condition::Lost);
    }
    let fences = |world: &World| world.steps().iter().filter(|step| step.starts_with("fence blue")).count();
    world.run_until(&mut control, |world| fences(world) == MAX_RECOVERIES);
    world.strike(500, "red-0", Condition::Lost);
    world.run_until(&mut control, |world| {
        world.steps().last().is_some_and(|step| step == "start red-0 blocked reset")
    });
    for minor in 0..hanging {
        world.unstall(&format!("blue-{minor}"));
    }
    world.run(&mut control);
    let starts = world.steps().iter().filter(|step| step.starts_with("start blue")).count();
    assert_eq!(starts, MAX_RECOVERIES + 1);
}

#[test]
fn a_job_without_a_thread_waits_for_one_and_its_device_is_kept() {
    let (world, mut control) = one("f1");
    let threads = std::mem::replace(&mut control.threads, |_, _| Err(std::io::Error::other("none left")));
    world.announce(reconfigured(0, 1, size(8192)));
    world.step(&mut control);
    world.step(&mut control);
    assert!(control.starved && world.steps().is_empty() && world.replies().is_empty());
    control.threads = threads;
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&size(8192), 1, OK)]);
    assert_eq!((world.steps(), control.devices()), (vec!["resize f1 8192".to_owned()], 1));
    assert!(!control.starved);
}

#[test]
fn whoever_resets_a_device_that_can_not_be_blocked_is_told_and_it_serves_on() {
    let (world, mut control) = one("f1");
    fs::remove_file(world.path("core/user_0/f1/action/block_dev")).unwrap();
    fs::create_dir(world.path("core/user_0/f1/action/block_dev")).unwrap();
    let answered = reset(&world, 0);
    world.run(&mut control);
    let reason = answered.try_recv().unwrap().unwrap_err();
    assert!(reason.contains("block_dev"), "{reason}");
    assert!(world.steps().is_empty());
    assert_eq!(overview(&world, &mut control).devices[0].state, "serving");
}

#[test]
fn stopping_all_devices_ends_before_a_service_manager_loses_its_patience() {
    let patience = Duration::from_secs(5);
    let time = |devices| time_to_stop(devices, patience);
    assert_eq!(time(0), Duration::ZERO);
    assert!(time(1) > 2 * patience && time(32) == time(1) && time(33) == 2 * time(1));
    assert!(time(5000) + Duration::from_secs(10) < Duration::from_secs(90));
}

#[test]
fn a_device_that_is_lost_while_commands_are_let_in_again_is_brought_back_behind_that() {
    let (world, mut control) = one("f1");
    let threads = std::mem::replace(&mut control.threads, |_, _| Err(std::io::Error::other("none left")));
    let name = control.registry.served(Minor(0)).unwrap().name.clone();
    control.submit(Minor(0), Job::Unblock { minor: Minor(0), name });
    world.strike(0, "f1", Condition::Lost);
    let refused = reset(&world, 0);
    world.step(&mut control);
    assert!(refused.try_recv().unwrap().unwrap_err().contains("try again later"));
    assert_eq!(overview(&world, &mut control).devices[0].state, "lost", "no job is at it");
    control.threads = threads;
    world.run(&mut control);
    assert_eq!(world.steps(), back("f1"));
}
