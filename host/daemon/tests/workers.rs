//! The control plane with real workers: the program itself as compiler and worker, jailed as far as this user may, on
//! emulated rings. Only netlink, sysfs and configfs are made up.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use lunbox_control::{Answer, DeviceHealth, Request, Service, WorkerState};
use lunbox_daemon::control::Outcome;
use lunbox_tcmu::Minor;
use lunbox_wire::{Ending, Report, Request as Asked};

use support::{Load, Machine, wait_until};

#[test]
fn a_device_is_served_by_a_worker_that_is_replaced_when_it_is_killed() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let load = Load::begin(&disk);
    let daemon = machine.start("one");
    load.goes_on(100);
    for round in 1..=3 {
        let worker = daemon.worker();
        worker.kill();
        wait_until("another worker serves it", || {
            daemon.pool.alive().iter().any(|other| other.pid() != worker.pid() && other.devices() == 1)
        });
        load.goes_on(100);
        assert_eq!(daemon.pool.report()[0].restarts, round);
    }
    load.end();
    assert_eq!(daemon.stop(), Outcome::Signal);
    disk.check();
}

#[test]
fn the_death_of_one_tenants_worker_is_nothing_to_another_tenant() {
    let machine = Machine::new();
    let (disk, other) = (machine.create(0, "disk"), machine.create(1, "other"));
    let daemon = machine.start_under(
        "version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{ device = \"other\" }]\nown_worker_per_device = true\n",
    );
    let mut tenants: Vec<_> = daemon.pool.report().into_iter().map(|worker| worker.tenant).collect();
    tenants.sort();
    assert_eq!(tenants, ["acme", "default"]);
    let (load, neighbour) = (Load::begin(&disk), Load::begin(&other));
    load.goes_on(100);
    neighbour.goes_on(100);
    // What the take-over did is over now.
    neighbour.end();
    machine.forget_touches();
    let neighbour = Load::begin(&other);
    let victim = daemon.pool.alive().into_iter().find(|worker| worker.hello().tenant == "default").unwrap();
    victim.kill();
    neighbour.goes_on(100);
    load.goes_on(100);
    assert!(!machine.untouched("disk") && machine.untouched("other"));
    load.end();
    assert_eq!(neighbour.end(), 0, "the neighbour was told BUSY");
    daemon.stop();
    disk.check();
    other.check();
}

#[test]
fn workers_outlive_their_supervisor_and_the_next_one_adopts_them() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    // The first supervisor is played by hand, so that it can vanish.
    let (link, pid) = machine.by_hand("one", &disk);
    let load = Load::begin(&disk);
    load.goes_on(100);
    drop(link);
    load.goes_on(100);
    let daemon = machine.start("one");
    let worker = daemon.worker();
    assert_eq!((worker.pid(), worker.adopted()), (pid, true));
    load.goes_on(100);
    assert!(machine.untouched("disk"), "neither blocked nor reset");
    // And it is supervised like any other.
    worker.kill();
    wait_until("another worker serves it", || {
        daemon.pool.alive().iter().any(|other| other.pid() != pid && other.devices() == 1)
    });
    load.goes_on(100);
    load.end();
    daemon.stop();
    disk.check();
}

#[test]
fn devices_move_to_workers_of_the_new_build_without_block_and_reset() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let (link, pid) = machine.by_hand("old", &disk);
    let load = Load::begin(&disk);
    load.goes_on(100);
    drop(link);
    let daemon = machine.start("new");
    wait_until("the old worker has left", || {
        let alive = daemon.pool.alive();
        alive.len() == 1 && alive[0].pid() != pid && alive[0].devices() == 1
    });
    load.goes_on(100);
    assert!(machine.untouched("disk"), "neither blocked nor reset");
    assert_eq!(load.end(), 0, "no command was sent back");
    daemon.stop();
    disk.check();
}

#[test]
fn a_single_process_serves_too_and_takes_over_from_workers() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let (link, pid) = machine.by_hand("one", &disk);
    let load = Load::begin(&disk);
    load.goes_on(100);
    drop(link);
    let daemon = machine.start_in_threads("one");
    wait_until("the worker has left, and another one serves", || {
        let alive = daemon.pool.alive();
        alive.len() == 1 && alive[0].pid() != pid && alive[0].devices() == 1
    });
    let report = daemon.pool.report();
    assert_eq!((report.len(), report[0].devices), (1, 1));
    assert!(report[0].jail.is_empty() && report[0].pid == i32::try_from(std::process::id()).unwrap());
    load.goes_on(100);
    assert_eq!(load.end(), 0, "no command was sent back");
    daemon.stop();
    disk.check();
}

#[test]
fn a_socket_without_a_worker_is_removed_and_a_worker_that_is_mute_is_ended() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let stale = machine.sockets().join("stale.sock");
    drop(lunbox_wire::listener::Listener::bind(&stale).unwrap());
    // It serves, and then it is stopped as with SIGSTOP: it can not answer.
    let (link, pid) = machine.by_hand("one", &disk);
    let stopped = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(stopped, nix::sys::signal::Signal::SIGSTOP).unwrap();
    drop(link);
    machine.free(Minor(0));
    let daemon = machine.start("one");
    assert!(!stale.exists());
    let worker = daemon.worker();
    assert_ne!(worker.pid(), pid);
    let load = Load::begin(&disk);
    load.goes_on(50);
    load.end();
    daemon.stop();
    disk.check();
}

#[test]
fn a_worker_that_greets_as_anothers_is_ended_and_its_devices_are_taken_over() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let (link, pid) = machine.by_hand("one", &disk);
    let process = lunbox_wire::peer::Process::open(pid).unwrap();
    // It listens where the supervisor has put the worker of another tenant.
    let sockets = machine.sockets();
    std::fs::rename(sockets.join("default.sock"), sockets.join("acme.sock")).unwrap();
    drop(link);
    machine.free(Minor(0));
    let daemon = machine.start("one");
    assert!(process.has_ended().unwrap() && !sockets.join("acme.sock").exists());
    let worker = daemon.worker();
    assert_eq!((worker.pid() == pid, worker.hello().tenant.as_str()), (false, "default"));
    let load = Load::begin(&disk);
    load.goes_on(50);
    load.end();
    daemon.stop();
    disk.check();
}

#[test]
fn a_device_that_policy_has_given_to_another_tenant_moves_to_its_worker_without_block_and_reset() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let (link, pid) = machine.by_hand("one", &disk);
    let load = Load::begin(&disk);
    load.goes_on(100);
    drop(link);
    let daemon =
        machine.start_under("version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{ device = \"disk\" }]\n");
    wait_until("its tenant's worker serves it", || {
        let alive = daemon.pool.alive();
        alive.iter().any(|worker| worker.hello().tenant == "acme" && worker.devices() == 1)
            && alive.iter().all(|worker| worker.pid() != pid || worker.devices() == 0)
    });
    load.goes_on(100);
    assert!(machine.untouched("disk"), "neither blocked nor reset");
    assert_eq!(load.end(), 0, "no command was sent back");
    daemon.stop();
    disk.check();
}

#[test]
fn the_control_socket_shows_resets_and_hands_over() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let mut daemon = machine.start("one");
    let load = Load::begin(&disk);
    load.goes_on(100);
    let show = || match daemon.door.answer(Request::DeviceShow { device: "disk".to_owned() }) {
        Ok(Answer::Device(device)) => *device,
        other => panic!("{other:?}"),
    };
    let device = show();
    assert_eq!((device.name.as_str(), device.minor, device.restarts), ("user_0/disk", 0, 0));
    assert_eq!((device.health, device.tenant.as_str()), (DeviceHealth::Serving, "default"));
    assert_eq!(device.worker, Some(daemon.worker().pid()));
    assert!(device.counters.commands >= 100 && device.counters.bytes_written > 0);
    let [grant] = device.grants.as_slice() else { panic!("{:?}", device.grants) };
    assert!(grant.locked && !grant.shared && grant.size == device.size, "{grant:?}");
    assert!(grant.locator.ends_with("/disk"));

    let Ok(Answer::Status(status)) = daemon.door.answer(Request::Status) else { panic!("no status") };
    assert_eq!((status.phase.as_str(), status.workers, status.devices_serving), ("serving", 1, 1));
    assert_eq!(status.handlers[0].subtype, "file");
    assert!(status.memory_bytes > 0 && status.jail.iter().any(|part| part == "seccomp"), "{status:?}");
    let Ok(Answer::Workers(workers)) = daemon.door.answer(Request::WorkerList) else { panic!("no workers") };
    assert_eq!((workers.len(), workers[0].devices, workers[0].state), (1, 1, WorkerState::Running));

    let reset = daemon.door.answer(Request::DeviceReset { device: "user_0/disk".to_owned() });
    assert_eq!(reset, Ok(Answer::Done));
    assert_eq!((show().restarts, show().health), (1, DeviceHealth::Serving));
    load.goes_on(100);
    let unknown = daemon.door.answer(Request::DeviceReset { device: "nothing".to_owned() }).unwrap_err();
    assert!(unknown.message.contains("user_0/disk"), "{unknown}");

    assert_eq!(daemon.door.answer(Request::Handover), Ok(Answer::Done));
    daemon.door.answered(&Request::Handover);
    assert_eq!(daemon.has_left(), Outcome::HandOver);
    load.goes_on(100);
    load.end();
    disk.check();
}

#[test]
fn what_is_no_handler_is_refused_by_the_compiler_in_one_line() {
    let machine = Machine::new();
    let error = machine.compile(b"\0asm\x0d\0\x01\0garbage").unwrap_err().to_string();
    assert!(!error.contains('\n') && !error.is_empty(), "{error}");
    let manifest = machine.handler("file").manifest.clone();
    assert_eq!(manifest.description.subtype, "file");
}

#[test]
fn a_hand_made_stop_is_answered() {
    let machine = Machine::new();
    let disk = machine.create(0, "disk");
    let (link, _) = machine.by_hand("one", &disk);
    link.send(&Asked::Stop { call: 2, minor: 0, how: Ending::Drain, patience_ms: 5000 }, &[]).unwrap();
    loop {
        match link.receive::<Report>().unwrap().unwrap().0 {
            Report::Done { call: 2 } => break,
            Report::Notice { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
