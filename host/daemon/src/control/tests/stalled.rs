//! Devices that can not be brought back, moved or stopped at once, and what that is to others.

use std::fs;
use std::time::{Duration, Instant};

use lunbox_tcmu::{EventKind, Minor};
use nix::errno::Errno;

use super::model::{World, reconfigured, removed};
use super::recovery::{back, one, overview, reset};
use super::{OK, reply, size};
use crate::control::jobs::{MAX_JOBS, MAX_RECOVERIES};
use crate::control::later::Chore;
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
fn a_takeover_waits_for_a_dead_process_that_has_the_node_open_and_holds_up_neither_the_start_nor_others() {
    let world = World::new();
    for (minor, name) in [(0, "f1"), (1, "f2")] {
        world.create(minor, 1 + minor, name, "model", true);
    }
    world.keep_busy(usize::MAX);
    let begun = Instant::now();
    let mut control = world.started();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(control.jobs.is_empty() && world.steps().is_empty() && control.devices() == 0);
    // Whoever changes it meanwhile had better try again.
    world.announce(reconfigured(0, 1, size(8192)));
    world.announce(removed(1, 2));
    world.run(&mut control);
    assert_eq!(
        world.replies(),
        [reply(&size(8192), 1, Err(Errno::EAGAIN)), reply(&EventKind::Removed, 2, OK)]
    );
    control.later.hurry();
    world.run(&mut control);
    assert!(world.steps().is_empty(), "still busy");
    world.keep_busy(0);
    control.later.hurry();
    world.run(&mut control);
    assert_eq!(
        world.steps(),
        ["fence f1 blocked", "start f1 blocked reset"],
        "and nothing of the one that went"
    );
    assert_eq!((control.devices(), world.read("f1", "action/block_dev")), (1, "0".to_owned()));
    assert_eq!(control.later.next(), None);
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

#[test]
fn a_change_of_size_does_not_wait_for_a_recovery_that_may_take_for_ever() {
    let (world, mut control) = one("f1");
    let again = |bytes| reply(&size(bytes), 1, Err(Errno::EAGAIN));
    world.hold("f1");
    world.announce(reconfigured(0, 1, size(4096)));
    world.announce(reconfigured(0, 1, size(8192)));
    world.run_until(&mut control, |world| world.steps() == ["resize f1 4096"]);
    world.stall("f1");
    world.strike(0, "f1", Condition::Lost);
    world.step(&mut control);
    world.release();
    // The one that waited when the recovery began, and one that comes later.
    world.run_until(&mut control, |world| world.replies().len() == 2);
    world.run_until(&mut control, |world| world.steps().last().is_some_and(|step| step.starts_with("fence")));
    world.announce(reconfigured(0, 1, size(16384)));
    world.run_until(&mut control, |world| world.replies().len() == 3);
    assert_eq!(world.take_replies(), [again(4096), again(8192), again(16384)]);
    world.announce(removed(0, 1));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
}

#[test]
fn commands_that_could_not_be_let_in_again_are_let_in_later() {
    let (world, mut control) = one("f1");
    let file = world.path("core/user_0/f1/action/block_dev");
    world.hold("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| world.steps().len() == 3);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    world.release();
    world.run(&mut control);
    assert_eq!(overview(&world, &mut control).devices[0].state, "serving");
    for _ in 0..3 {
        assert!(control.later.is_waiting(Chore::Unblock, Minor(0)));
        control.later.hurry();
        world.run(&mut control);
    }
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "1").unwrap();
    control.later.hurry();
    world.run(&mut control);
    assert_eq!(world.read("f1", "action/block_dev"), "0");
    assert_eq!((control.later.next(), world.take_steps()), (None, back("f1")));
}

#[test]
fn a_device_whose_directory_can_not_be_seen_for_a_while_comes_back_by_itself() {
    let (world, mut control) = one("f1");
    fs::remove_dir_all(world.path("core/user_0/f1")).unwrap();
    world.strike(0, "f1", Condition::Lost);
    for _ in 0..5 {
        world.run(&mut control);
        assert!(control.later.is_waiting(Chore::Mend, Minor(0)));
        control.later.hurry();
    }
    world.create(0, 1, "f1", "model", true);
    world.run(&mut control);
    assert_eq!(world.take_steps(), back("f1"));
    assert_eq!(world.told().iter().filter(|told| told.starts_with("device_ended")).count(), 1);
    assert_eq!(control.later.next(), None);
}

#[test]
fn stops_of_one_tenants_devices_that_take_long_hold_up_no_other_tenants() {
    let world = World::new();
    let stopping = u32::try_from(MAX_JOBS).unwrap() + 1;
    for minor in 0..stopping {
        world.create(minor, 1000, "blue-slow", "model", true);
    }
    world.create(500, 1, "red-0", "model", true);
    let mut control = world.started();
    world.take_steps();
    world.hold("blue-slow");
    for minor in 0..stopping {
        world.announce(removed(minor, 1000));
    }
    world.run_until(&mut control, |world| world.steps().len() == MAX_JOBS);
    world.announce(reconfigured(500, 1, size(8192)));
    world.announce(removed(500, 1));
    world.run_until(&mut control, |world| world.replies().len() == 2);
    assert_eq!(world.take_replies(), [reply(&size(8192), 1, OK), reply(&EventKind::Removed, 1, OK)]);
    world.release();
    world.run(&mut control);
    assert_eq!((world.replies().len(), control.devices()), (MAX_JOBS + 1, 0));
}
