//! Devices whose worker died or whose loop ended, devices of a predecessor's workers, and devices that move.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lunbox_tcmu::{EventKind, Minor};
use nix::errno::Errno;

use super::model::{World, added, reconfigured, removed};
use super::{OK, reply, size};
use crate::control::{Ask, Outcome, Overview};
use crate::service::{Condition, Notice, Setback};

/// The steps of a device that comes back.
pub(super) fn back(name: &str) -> Vec<String> {
    vec![
        format!("end {name} Cancel blocked"),
        format!("fence {name} blocked"),
        format!("start {name} blocked reset"),
    ]
}

fn ended() -> Condition {
    Condition::Ended("ring inconsistent".to_owned())
}

pub(super) fn overview(world: &World, control: &mut super::model::ModelControl) -> Overview {
    let (sender, receiver) = channel();
    world.ask(Ask::Overview(sender));
    world.step(control);
    receiver.try_recv().unwrap()
}

pub(super) fn reset(world: &World, minor: u32) -> Receiver<Result<(), String>> {
    let (answer, answered) = channel();
    world.ask(Ask::Reset { minor: Minor(minor), answer });
    answered
}

/// A control plane that gives hand-overs time.
fn patient(world: &World) -> super::model::ModelControl {
    let mut control = world.control();
    control.around.patience = Duration::from_secs(30);
    control.start().unwrap();
    control
}

/// A world with one device that was enabled before, without traces of its take-over.
pub(super) fn one(name: &str) -> (World, super::model::ModelControl) {
    let world = World::new();
    world.create(0, 1, name, "model", true);
    let control = world.started();
    world.write(name, "action/reset_ring", "");
    world.take_steps();
    (world, control)
}

#[test]
fn a_takeover_blocks_then_fences_then_resets_then_launches() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let _control = world.started();
    assert_eq!(
        world.steps(),
        ["fence f1 blocked netlink-blocked", "start f1 blocked reset netlink-blocked"],
        "the reset gives buffers away: only behind the fence"
    );
    assert_eq!(world.read("f1", "action/block_dev"), "0");
}

#[test]
fn a_device_whose_worker_died_is_blocked_fenced_reset_launched_and_unblocked() {
    let (world, mut control) = one("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run(&mut control);
    assert_eq!(world.take_steps(), back("f1"));
    assert_eq!(world.read("f1", "action/block_dev"), "0");
    assert_eq!(control.devices(), 1);
    let overview = overview(&world, &mut control);
    assert_eq!((overview.devices[0].state, overview.devices[0].revivals), ("serving", 1));
    assert!(world.told().ends_with(&["device_ended user_0/f1".into(), "device_revived user_0/f1".into()]));
    // The same notice again, late: it serves.
    world.notify(0, Notice::Lost);
    world.run(&mut control);
    assert!(world.take_steps().is_empty());
}

#[test]
fn nothing_is_reset_or_launched_while_operations_of_the_dead_worker_are_left() {
    let (world, mut control) = one("f1");
    world.create(1, 2, "other", "model", false);
    world.stall("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    // Others come and go meanwhile.
    world.announce(added(1, 2));
    world.run_until(&mut control, |world| !world.replies().is_empty());
    assert_eq!(world.read("f1", "action/reset_ring"), "");
    assert_eq!(world.read("f1", "action/block_dev"), "1", "new commands are answered BUSY");
    assert_eq!(overview(&world, &mut control).devices[0].state, "working");
    assert!(overview(&world, &mut control).devices[0].detail.contains("waiting for operations"));
    world.unstall("f1");
    world.run(&mut control);
    assert_eq!(world.steps().last().unwrap(), "start f1 blocked reset");
    assert_eq!(world.read("f1", "action/block_dev"), "0");
}

#[test]
fn a_removal_ends_the_wait_for_operations_that_never_end() {
    let (world, mut control) = one("f1");
    world.stall("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    world.announce(removed(0, 1));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!(world.log().last().unwrap(), "stop f1 after 0 replies");
    assert_eq!(control.devices(), 0);
    assert_eq!(world.read("f1", "action/reset_ring"), "", "its buffers may be in use");
}

#[test]
fn a_removal_ends_a_takeover_that_waits_for_operations() {
    let world = World::new();
    world.create(0, 1, "f1", "model", false);
    let mut control = world.started();
    world.create(0, 1, "f1", "model", true);
    world.stall("f1");
    let job = crate::job::Job::admit(Minor(0), crate::job::Reason::TakeOver, Duration::ZERO);
    world.announce(removed(0, 1));
    world.run(&mut control);
    control.begin(Minor(0), None, job);
    world
        .run_until(&mut control, |world| world.steps().last().is_some_and(|step| step == "fence f1 blocked"));
    world.take_replies();
    world.announce(removed(0, 1));
    world.run(&mut control);
    assert_eq!(world.take_replies(), [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!((control.devices(), world.read("f1", "action/reset_ring")), (0, String::new()));
    assert!(world.claimed().is_empty());
}

#[test]
fn recoveries_that_hang_hold_up_neither_admissions_nor_removals_of_those_that_wait() {
    let world = World::new();
    let hanging = u32::try_from(crate::control::jobs::MAX_RECOVERIES).unwrap() + 1;
    for minor in 0..hanging {
        let name = format!("d{minor}");
        world.create(minor, 1000 + minor, &name, "model", true);
    }
    let mut control = world.started();
    world.take_steps();
    for minor in 0..hanging {
        let name = format!("d{minor}");
        world.stall(&name);
        world.strike(minor, &name, Condition::Lost);
    }
    let fences = |world: &World| world.steps().iter().filter(|step| step.starts_with("fence")).count();
    world.run_until(&mut control, |world| fences(world) == crate::control::jobs::MAX_RECOVERIES);
    world.create(500, 1, "new", "model", false);
    world.announce(added(500, 1));
    world.run_until(&mut control, |world| !world.replies().is_empty());
    assert_eq!(world.take_replies(), [reply(&EventKind::Added, 1, OK)]);
    // All of them, the one without a thread included.
    for minor in 0..hanging {
        world.announce(removed(minor, 1000 + minor));
    }
    world.run(&mut control);
    assert_eq!(world.replies().len(), usize::try_from(hanging).unwrap());
    assert_eq!(control.devices(), 1);
}

#[test]
fn a_worker_that_dies_during_a_change_of_size_answers_it_and_comes_back() {
    let (world, mut control) = one("f1");
    world.hold("f1");
    world.announce(reconfigured(0, 1, size(8192)));
    world.run_until(&mut control, |world| world.steps() == ["resize f1 8192"]);
    world.strike(0, "f1", Condition::Lost);
    world.step(&mut control);
    assert_eq!(world.steps().len(), 1, "a job has the device");
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&size(8192), 1, Err(Errno::EAGAIN))]);
    assert_eq!(world.take_steps()[1..], back("f1"));
}

#[test]
fn a_worker_that_dies_during_a_stop_does_not_keep_it_from_ending() {
    let (world, mut control) = one("f1");
    world.hold("f1");
    world.announce(removed(0, 1));
    world.run_until(&mut control, |world| world.steps() == ["stop f1 after 0 replies"]);
    world.strike(0, "f1", Condition::Lost);
    world.step(&mut control);
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!((world.steps().len(), control.devices()), (1, 0));
}

#[test]
fn a_worker_that_dies_during_a_start_is_tried_again_behind_the_fence() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "f1", "model", false);
    world.set_back("f1", &[Setback::Lost, Setback::Lost]);
    world.announce(added(0, 1));
    world.run(&mut control);
    // Whoever enables it is told soon if it has no locks.
    assert_eq!(
        world.steps(),
        ["new f1", "fence f1", "start f1", "fence f1", "start f1", "fence f1", "start f1"]
    );
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, OK)]);
}

#[test]
fn a_start_whose_workers_all_die_is_refused() {
    let world = World::new();
    let mut control = world.started();
    world.create(0, 1, "f1", "model", false);
    world.set_back("f1", &[Setback::Lost, Setback::Lost, Setback::Lost]);
    world.announce(added(0, 1));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, Err(Errno::ENOENT))]);
    assert_eq!(control.devices(), 0);
    assert!(world.claimed().is_empty());
}

#[test]
fn a_worker_that_dies_while_a_device_comes_back_is_tried_again_as_often_as_it_takes() {
    let (world, mut control) = one("f1");
    world.set_back("f1", &vec![Setback::Lost; 7]);
    world.strike(0, "f1", Condition::Lost);
    world.run(&mut control);
    let starts = world.steps().iter().filter(|step| step.starts_with("start")).count();
    assert_eq!(starts, 8);
    assert_eq!(overview(&world, &mut control).devices[0].state, "serving");
}

#[test]
fn a_device_that_ends_again_and_again_is_given_up_and_a_reset_gives_it_a_new_start() {
    let (world, mut control) = one("f1");
    let broken = Setback::Refused("broken".to_owned());
    world.set_back("f1", &[broken.clone(), broken]);
    world.strike(0, "f1", ended());
    world.run(&mut control);
    let starts = |world: &World| world.steps().iter().filter(|step| step.starts_with("start")).count();
    assert_eq!(starts(&world), 3);
    world.strike(0, "f1", ended());
    world.run(&mut control);
    let state = overview(&world, &mut control).devices[0].clone();
    assert_eq!((state.state, state.detail.as_str()), ("ended", "ring inconsistent"));
    assert_eq!(starts(&world), 3, "given up");
    assert!(world.told().contains(&"warning user_0/f1".to_owned()));
    world.take_steps();
    world.write("f1", "action/reset_ring", "");
    let answered = reset(&world, 0);
    world.run(&mut control);
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    assert_eq!(world.take_steps(), back("f1"));
}

#[test]
fn a_reset_of_a_device_that_serves_cancels_what_runs_and_of_a_busy_one_is_refused() {
    let (world, mut control) = one("f1");
    let first = reset(&world, 0);
    world.stall("f1");
    world.run_until(&mut control, |world| world.steps().len() == 2);
    let second = reset(&world, 0);
    world.step(&mut control);
    assert!(second.try_recv().unwrap().unwrap_err().contains("try again later"));
    world.unstall("f1");
    world.run(&mut control);
    assert_eq!(first.try_recv(), Ok(Ok(())));
    assert_eq!(world.take_steps(), back("f1"));
    // One that could not be taken over is tried again.
    world.create(1, 2, "bad", "model", true);
    let third = reset(&world, 1);
    world.run(&mut control);
    assert_eq!(third.try_recv(), Ok(Ok(())), "it was tried; the log tells what came of it");
    assert_eq!(world.take_steps(), ["fence bad blocked", "start bad blocked reset"]);
}

#[test]
fn a_reset_that_a_removal_overtakes_is_answered() {
    let (world, mut control) = one("f1");
    world.stall("f1");
    let answered = reset(&world, 0);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    world.announce(removed(0, 1));
    world.run(&mut control);
    assert!(answered.try_recv().unwrap().is_err());
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
}

#[test]
fn adopted_devices_go_on_undisturbed() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.write("f1", "action/block_dev", "1"); // the predecessor was about to stop it
    world.leave(0, 1, "f1", false);
    let mut control = world.started();
    assert_eq!(control.devices(), 1);
    assert!(world.steps().is_empty(), "neither fenced nor started");
    assert_eq!(world.read("f1", "action/reset_ring"), "");
    assert_eq!(world.read("f1", "action/block_dev"), "0");
    assert!(world.replies().is_empty());
    // It is a device like any other.
    world.announce(reconfigured(0, 1, size(8192)));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&size(8192), 1, OK)]);
}

#[test]
fn an_enable_that_the_predecessor_did_not_answer_is_answered_once() {
    let world = World::new();
    world.create(0, 1, "f1", "model", false);
    world.leave(0, 1, "f1", false);
    let mut control = world.started();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, OK)]);
    world.announce(lunbox_tcmu::Event::Overrun);
    world.serve_until(&mut control, |world| world.parameter("block_netlink") == "0");
    assert_eq!(world.replies().len(), 1, "whoever looks again finds it answered");
}

#[test]
fn an_adopted_device_whose_node_has_gone_is_ended_in_its_worker() {
    let world = World::new();
    world.create(1, 2, "new", "model", false);
    world.leave(0, 1, "gone", false);
    world.leave(1, 3, "old", false); // its node belongs to another device now
    let mut control = world.started();
    world.run(&mut control);
    let log = world.log();
    assert!(log.iter().any(|line| line.starts_with("stop gone")), "{log:?}");
    assert!(log.iter().any(|line| line.starts_with("stop old")), "{log:?}");
    assert!(!control.registry.entries().any(|(minor, _)| minor == Minor(0)));
}

#[test]
fn an_adopted_device_whose_worker_dies_at_once_comes_back() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.break_quietly("f1", Condition::Lost);
    world.leave(0, 1, "f1", false);
    let mut control = world.started();
    world.run(&mut control);
    assert_eq!(control.devices(), 1);
    assert!(world.log().last().unwrap().starts_with("start f1 blocked reset"));
}

#[test]
fn devices_of_another_build_move_one_at_a_time_without_block_and_reset() {
    let world = World::new();
    for (minor, name) in [(0, "a"), (1, "b")] {
        world.create(minor, 1 + minor, name, "model", true);
        world.leave(minor, 1 + minor, name, true);
    }
    world.stall("a");
    let mut control = patient(&world);
    assert_eq!(world.read("a", "action/block_dev"), "0", "as at every adoption");
    world.write("a", "action/block_dev", "");
    world.run_until(&mut control, |world| world.steps().len() == 2);
    assert_eq!(world.steps(), ["end a HandOver", "fence a"]);
    world.unstall("a");
    world.run(&mut control);
    assert_eq!(
        world.steps(),
        ["end a HandOver", "fence a", "start a", "end b HandOver", "fence b", "start b"]
    );
    for name in ["a", "b"] {
        assert_eq!(world.read(name, "action/reset_ring"), "", "{name}: no command is sent back");
    }
    assert_eq!(world.read("a", "action/block_dev"), "");
    assert_eq!(world.told().iter().filter(|told| told.starts_with("device_handed_over")).count(), 2);
}

#[test]
fn a_hand_over_that_fails_becomes_a_revival() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.leave(0, 1, "f1", true);
    world.set_back("f1", &[Setback::Refused("the new build refuses".to_owned())]);
    let mut control = world.started();
    world.run(&mut control);
    let steps = world.steps();
    assert_eq!(steps[..3], ["end f1 HandOver", "fence f1", "start f1"]);
    assert_eq!(steps[3..], back("f1"));
    assert_eq!(overview(&world, &mut control).devices[0].state, "serving");
}

#[test]
fn a_loop_that_does_not_end_for_the_hand_over_is_cancelled_instead() {
    let world = World::new();
    world.create(0, 1, "clings", "model", true);
    world.leave(0, 1, "clings", true);
    let mut control = world.started();
    world.run(&mut control);
    let mut expected = vec!["end clings HandOver".to_owned()];
    expected.extend(back("clings"));
    assert_eq!(world.steps(), expected);
}

#[test]
fn a_removal_during_a_hand_over_ends_it() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.leave(0, 1, "f1", true);
    world.stall("f1");
    let mut control = patient(&world);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    world.announce(removed(0, 1));
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!(control.devices(), 0);
}

#[test]
fn whoever_asks_for_a_hand_over_ends_the_supervisor_and_no_device() {
    let (world, mut control) = one("f1");
    let stop = nix::sys::eventfd::EventFd::new().unwrap();
    world.ask(Ask::HandOver);
    assert_eq!(control.serve(std::os::fd::AsFd::as_fd(&stop)).unwrap(), Outcome::HandOver);
    drop(control);
    assert!(world.steps().is_empty(), "nothing was done to it");
}

#[test]
fn a_shutdown_does_not_wait_for_recoveries() {
    let (world, mut control) = one("f1");
    world.stall("f1");
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| world.steps().len() == 2);
    control.shut_down().unwrap();
    assert_eq!(control.devices(), 0);
    assert_eq!(world.read("f1", "action/reset_ring"), "", "its buffers may be in use");
    assert_eq!(world.read("f1", "action/block_dev"), "0", "commands wait for the successor");
}

#[test]
fn a_device_whose_worker_dies_during_the_shutdown_is_not_started_again() {
    let (world, mut control) = one("f1");
    control.phase = crate::control::Phase::Stopping;
    world.strike(0, "f1", Condition::Lost);
    world.run(&mut control);
    assert!(world.steps().is_empty());
    control.shut_down().unwrap();
    assert_eq!(control.devices(), 0);
}
