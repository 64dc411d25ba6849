//! Sizes that handlers find: the kernel is told of them, and nobody waits for that.

use std::fs;

use lunbox_tcmu::EventKind;
use nix::sys::stat::Mode;

use super::model::{World, added, reconfigured, removed};
use super::{OK, reply, size};
use crate::service::Notice;

fn found(world: &World) -> Vec<String> {
    world.log().into_iter().filter(|line| line.starts_with("found")).collect()
}

#[test]
fn the_kernel_is_told_behind_the_answer_to_whoever_enables_the_device() {
    let world = World::new();
    world.write_later("f1", "control", "");
    let mut control = world.started();
    world.hold("f1");
    world.create(0, 1, "f1", "model", false);
    world.announce(added(0, 1));
    world.run_until(&mut control, |world| world.log() == ["start f1"]);
    world.notify(0, Notice::Resized(8192)); // the device is quicker than the job's result
    world.step(&mut control);
    assert_eq!((found(&world), world.read("f1", "control")), (vec![], String::new()));
    world.release();
    world.run(&mut control);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 1, OK)]);
    assert_eq!(found(&world), ["found f1 8192 after 1 replies"]);
    assert_eq!(world.read("f1", "control"), "dev_size=8192");
    assert!(world.told().contains(&"device_changed user_0/f1".to_owned()), "{:?}", world.told());
}

#[test]
fn what_is_found_during_a_change_counts_behind_it_and_the_last_word_wins() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.write("f1", "control", "");
    let mut control = world.started();
    world.hold("f1");
    world.announce(reconfigured(0, 1, size(1024)));
    world.run_until(&mut control, |world| world.log().contains(&"resize f1 1024".to_owned()));
    for bytes in [4096, 2048] {
        world.notify(0, Notice::Resized(bytes));
    }
    world.step(&mut control);
    assert!(found(&world).is_empty());
    world.release();
    world.run(&mut control);
    assert_eq!(found(&world), ["found f1 2048 after 1 replies"]);
    assert_eq!(world.read("f1", "control"), "dev_size=2048");
}

#[test]
fn a_worker_that_finds_sizes_without_pause_has_one_job_at_a_time() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.write("f1", "control", "");
    let mut control = world.started();
    for blocks in 1..=1000 {
        world.notify(0, Notice::Resized(512 * blocks));
    }
    world.run(&mut control);
    assert_eq!(found(&world), ["found f1 512 after 0 replies", "found f1 512000 after 0 replies"]);
    assert_eq!(world.read("f1", "control"), "dev_size=512000");
}

#[test]
fn what_is_no_size_is_not_passed_on() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.write("f1", "control", "untouched");
    let mut control = world.started();
    world.notify(0, Notice::Resized(1000));
    world.run(&mut control);
    assert_eq!(world.read("f1", "control"), "untouched");
}

#[test]
fn a_kernel_that_could_not_be_told_is_told_later() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.notify(0, Notice::Resized(8192));
    world.run(&mut control);
    world.write("f1", "control", "");
    control.later.hurry();
    world.run(&mut control);
    world.run(&mut control);
    assert_eq!(world.read("f1", "control"), "dev_size=8192");
    assert!(control.later.next().is_none(), "it was done");
}

#[test]
fn another_device_of_the_name_keeps_its_size() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let mut control = world.started();
    world.write("f1", "statistics/scsi_dev/indx", "2");
    world.write("f1", "control", "untouched");
    world.notify(0, Notice::Resized(8192));
    world.run(&mut control);
    assert_eq!(found(&world).len(), 1);
    assert_eq!(world.read("f1", "control"), "untouched");
}

#[test]
fn a_removal_does_not_wait_for_a_write_that_hangs() {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    let path = world.path("core/user_0/f1/control");
    // Whoever opens it for writing waits for a reader, as for a directory that is locked.
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut control = world.started();
    world.notify(0, Notice::Resized(8192));
    world.run_until(&mut control, |world| !found(world).is_empty());
    world.announce(removed(0, 1));
    world.run_until(&mut control, |world| world.replies() == [reply(&EventKind::Removed, 1, OK)]);
    assert_eq!(control.devices(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "dev_size=8192");
    world.run(&mut control);
}
