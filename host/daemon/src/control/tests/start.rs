//! Starting when somebody wants the program to end, and adoption of what has gone meanwhile.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_tcmu::{DeviceId, EventKind};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::model::World;
use super::{OK, reply};

fn stop(raised: u64) -> Arc<EventFd> {
    let stop = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    stop.write(raised).unwrap();
    Arc::new(stop)
}

#[test]
fn a_start_that_is_to_end_begins_nothing_and_keeps_what_it_adopted() {
    let world = World::new();
    world.create(0, 10, "waiting", "model", false);
    world.create(1, 11, "enabled", "model", true);
    world.create(2, 12, "adopted", "model", true);
    world.leave(2, 12, "adopted", false);
    let stop = stop(1);
    let mut control = world.control();
    control.start_unless(Some(stop.as_fd())).unwrap();
    assert!(world.steps().is_empty() && world.replies().is_empty());
    assert_eq!(
        (world.parameter("block_netlink"), world.parameter("reset_netlink")),
        (String::new(), String::new())
    );
    assert_eq!(control.devices(), 1);
    control.shut_down().unwrap();
    assert_eq!(world.log(), ["stop adopted after 0 replies blocked"]);
}

#[test]
fn a_start_that_waits_for_a_device_ends_when_it_is_told_to_and_does_not_leave_netlink_blocked() {
    let world = World::new();
    world.create(0, 10, "slow", "model", true);
    world.hold("slow");
    let stop = stop(0);
    let mut control = world.control();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while world.log().is_empty() {
                std::thread::yield_now();
            }
            stop.write(1).unwrap();
        });
        control.start_unless(Some(stop.as_fd())).unwrap();
    });
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(world.log(), ["start slow blocked reset netlink-blocked"]);
    assert_eq!(world.parameter("block_netlink"), "0");
    world.release();
}

#[test]
fn a_device_that_was_made_anew_under_its_name_is_served_when_the_one_before_it_has_been_ended() {
    let world = World::new();
    world.create(0, 2, "f1", "model", false);
    // Its worker has the node of the device that was there before.
    world.leave(0, 1, "f1", false);
    let control = world.started();
    assert_eq!(world.log(), ["stop f1 after 0 replies", "start f1"]);
    assert_eq!(world.replies(), [reply(&EventKind::Added, 2, OK)]);
    assert_eq!(control.devices(), 1);
    assert!(control.registry.find(DeviceId(2)).is_some() && control.registry.find(DeviceId(1)).is_none());
}
