//! Workers as processes, in their jail, on emulated rings. This program starts itself again as the worker.

#![allow(clippy::unwrap_used, reason = "a test without a harness")]

mod support;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use lunbox_emulator::ResetMode;
use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::peer::Peer;
use lunbox_wire::{Ending, Link, Request};
use lunbox_worker::process::{Arguments, main as worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{Client, Load, Rig, SOON, wait_until};

const TESTS: &[(&str, fn())] = &[
    ("a_worker_outlives_its_supervisor_and_hands_over", a_worker_outlives_its_supervisor_and_hands_over),
    ("a_killed_worker_is_replaced_under_load", a_killed_worker_is_replaced_under_load),
    ("sigterm_ends_an_orphan_and_nobody_else", sigterm_ends_an_orphan_and_nobody_else),
    ("an_orphan_without_devices_ends", an_orphan_without_devices_ends),
    ("a_log_that_nobody_takes_stops_nothing", a_log_that_nobody_takes_stops_nothing),
    ("a_jailed_worker_logs_to_the_file_that_it_is_sent", a_jailed_worker_logs_to_the_file_that_it_is_sent),
    ("the_jail_holds_and_an_idle_worker_is_small", the_jail_holds_and_an_idle_worker_is_small),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "worker") {
        return worker(&Arguments {
            tenant: "test".to_owned(),
            build: words.get(1).cloned().unwrap_or_default(),
            level: words.get(2).cloned().unwrap_or_default(),
            user: None,
            open_files: 1024,
            required: false,
        });
    }
    // As the usual harness has it: names to run, names to skip, and options without meaning here.
    let (mut only, mut skip) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--skip" => skip.extend(words.next()),
            option if option.starts_with('-') => {}
            _ => only.push(word),
        }
    }
    let named = |name: &str, words: &[&String]| words.iter().any(|word| name.contains(word.as_str()));
    let wanted = |name: &str| (only.is_empty() || named(name, &only)) && !named(name, &skip);
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        // A panic ends the process with an error, and the name stands above it.
        println!("test {name} ...");
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

struct Worker {
    child: Child,
    path: PathBuf,
}

impl Worker {
    fn start(folder: &Path, build: &str, level: &str, stderr: Stdio) -> (Self, Link) {
        let path = folder.join(format!("{build}.sock"));
        let (ours, theirs) = Link::pair().unwrap();
        let listener = Listener::bind(&path).unwrap();
        let mut command = Command::new("/proc/self/exe");
        lunbox_jail::scrub(&mut command);
        let child = command
            .args(["worker", build, level])
            .stdin(theirs.into_fd())
            .stdout(listener.into_fd())
            .stderr(stderr)
            .spawn()
            .unwrap();
        (Self { child, path }, ours)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// A successor's connection.
    fn knock(&self) -> Link {
        let link = connect(&self.path).unwrap();
        let peer = Peer::of(&link).unwrap();
        assert_eq!(peer.credentials.pid, self.pid(), "who listens is the worker");
        assert!(!peer.process.has_ended().unwrap());
        link
    }

    fn ends_well(mut self) {
        let mut status = None;
        wait_until("the worker ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ended already, or a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_worker_outlives_its_supervisor_and_hands_over() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(3);
    let (first, link) = Worker::start(folder.path(), "one", "info", Stdio::inherit());
    let (mut supervisor, hello, devices) = Client::new(link);
    assert_eq!((hello.build.as_str(), hello.tenant.as_str(), hello.pid), ("one", "test", first.pid()));
    assert!(devices.is_empty());
    rig.start(&mut supervisor).unwrap();
    let load = Load::begin(&rig.initiator, 1);
    load.goes_on(200);

    // As the kernel closes it when the process is killed.
    drop(supervisor);
    load.goes_on(500);

    // A command that waits for the supervisor is asked for again.
    let inquiry = rig.initiator.clone();
    let inquiry = std::thread::spawn(move || inquiry.inquiry_page(0x80).unwrap());
    let (mut successor, hello, devices) = Client::new(first.knock());
    assert_eq!((hello.devices, devices), (1, vec![rig.device.clone()]));
    load.goes_on(200);
    let mut handles = successor.handles(3);
    assert_eq!(handles.len(), 5);
    let ring: Vec<OwnedFd> = handles.drain(..3).collect();
    drop(handles);

    let (second, link) = Worker::start(folder.path(), "two", "info", Stdio::inherit());
    let (mut other, ..) = Client::new(link);
    for round in 0..5 {
        let (from, to) =
            if round % 2 == 0 { (&mut successor, &mut other) } else { (&mut other, &mut successor) };
        from.stop(3, Ending::HandOver).unwrap();
        assert!(from.status().is_empty());
        let ring = ring.iter().map(|fd| fd.try_clone().unwrap()).collect();
        to.start(&rig.device, &rig.descriptors(ring)).unwrap();
        load.goes_on(200);
    }
    support::good(&inquiry.join().unwrap());

    // The first has no device any more.
    successor.leave();
    first.ends_well();
    load.goes_on(200);
    assert!(load.end() > 1000);
    assert_eq!(other.stop(3, Ending::Drain), Ok(()));
    other.leave();
    second.ends_well();
    rig.initiator.check().unwrap();
}

fn a_killed_worker_is_replaced_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(0);
    let (mut worker, link) = Worker::start(folder.path(), "0", "info", Stdio::inherit());
    let (mut supervisor, ..) = Client::new(link);
    rig.start(&mut supervisor).unwrap();
    let load = Load::begin(&rig.initiator, 100_000);
    for round in 1..=5 {
        load.goes_on(200);
        worker.child.kill().unwrap();
        worker.child.wait().unwrap();
        assert!(
            supervisor.link.receive_within::<lunbox_wire::Report>(SOON).unwrap().is_none(),
            "the link has ended"
        );
        rig.initiator.with_kernel(|kernel| kernel.block());
        rig.initiator.with_kernel(|kernel| kernel.reset_ring(ResetMode::Busy));
        let link;
        (worker, link) = Worker::start(folder.path(), &round.to_string(), "info", Stdio::inherit());
        (supervisor, ..) = Client::new(link);
        rig.start(&mut supervisor).unwrap();
        rig.initiator.with_kernel(|kernel| kernel.unblock());
    }
    load.goes_on(200);
    load.end();
    assert_eq!(supervisor.stop(0, Ending::Drain), Ok(()));
    supervisor.leave();
    worker.ends_well();
}

fn sigterm_ends_an_orphan_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(1);
    let (worker, link) = Worker::start(folder.path(), "w", "debug", Stdio::inherit());
    let (mut supervisor, ..) = Client::new(link);
    rig.start(&mut supervisor).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGPIPE] {
        worker.signal(signal);
    }
    support::good(&rig.initiator.write(0, &support::pattern(1, 4096)).unwrap());
    assert_eq!(supervisor.status().len(), 1, "it lives and answers");
    drop(supervisor);
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2] {
        worker.signal(signal);
    }
    support::good(&rig.initiator.write(8, &support::pattern(2, 4096)).unwrap());
    let (supervisor, _, devices) = Client::new(worker.knock());
    assert_eq!(devices.len(), 1, "an orphan ends by SIGTERM only");
    drop(supervisor);
    // It notices that it is an orphan before or after the signal: so again and again.
    let load = Load::begin(&rig.initiator, 1);
    load.goes_on(50);
    load.end();
    let mut worker = worker;
    let mut status = None;
    wait_until("the orphan ends", || {
        let _ = kill(Pid::from_raw(worker.pid()), Signal::SIGTERM);
        status = worker.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{status:?}");
    assert!(matches!(connect(&worker.path), Err(lunbox_wire::LinkError::Gone)), "nobody listens there");
    rig.initiator.check().unwrap();
}

fn an_orphan_without_devices_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (worker, link) = Worker::start(folder.path(), "w", "info", Stdio::inherit());
    drop(Client::new(link));
    worker.ends_well();
    // And one whose supervisor died before it said a word.
    let (worker, link) = Worker::start(folder.path(), "v", "info", Stdio::inherit());
    drop(link);
    worker.ends_well();
}

fn a_log_that_nobody_takes_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for closed in [false, true] {
        let rig = Rig::new(1);
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = (!closed).then_some(reader);
        let build = if closed { "closed" } else { "full" };
        let (worker, link) = Worker::start(folder.path(), build, "trace", writer.into());
        let (mut supervisor, ..) = Client::new(link);
        // Each start and stop leaves lines, far more than 64 KiB in all.
        for _ in 0..400 {
            rig.start(&mut supervisor).unwrap();
            supervisor.stop(1, Ending::Drain).unwrap();
        }
        rig.start(&mut supervisor).unwrap();
        support::good(&rig.initiator.write(0, &support::pattern(1, 4096)).unwrap());
        supervisor.stop(1, Ending::Drain).unwrap();
        supervisor.leave();
        worker.ends_well();
        drop(reader);
    }
}

fn a_jailed_worker_logs_to_the_file_that_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(1);
    let (worker, link) = Worker::start(folder.path(), "w", "info", Stdio::null());
    let (mut supervisor, ..) = Client::new(link);
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let log_to = |supervisor: &mut Client, path: Option<&Path>| {
        let file = path.map(|path| File::options().append(true).create(true).open(path).unwrap());
        let file: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        supervisor.link.send(&Request::Log {}, &file).unwrap();
        // Requests are carried out one after the other.
        supervisor.status();
    };
    log_to(&mut supervisor, Some(&first));
    rig.start(&mut supervisor).unwrap();
    let line = format!(" {} [INFO] finish:", worker.pid());
    wait_until("a line", || {
        let text = read(&first);
        text.contains(&line) && text.ends_with(" file/disk1: serving\n")
    });

    // As after a rotation.
    log_to(&mut supervisor, Some(&second));
    supervisor.stop(1, Ending::Drain).unwrap();
    wait_until("a line", || read(&second).contains(" file/disk1: stopped\n"));
    assert!(!read(&first).contains("stopped"), "the old file gets nothing more");

    // Levels change while it runs.
    worker.signal(Signal::SIGHUP);
    supervisor.status();
    supervisor.link.send(&Request::Level { level: "debug".to_owned() }, &[]).unwrap();
    wait_until("a line for who looks for faults", || {
        worker.signal(Signal::SIGHUP);
        supervisor.status();
        read(&second).contains("[DEBUG]")
    });
    supervisor.link.send(&Request::Level { level: "crit".to_owned() }, &[]).unwrap();
    rig.start(&mut supervisor).unwrap();
    supervisor.stop(1, Ending::Drain).unwrap();
    supervisor.link.send(&Request::Level { level: "info".to_owned() }, &[]).unwrap();
    rig.start(&mut supervisor).unwrap();

    // An orphan logs there still.
    drop(supervisor);
    wait_until("a line of the orphan", || read(&second).contains("the supervisor is gone"));
    assert_eq!(read(&second).matches("file/disk1: serving").count(), 1, "at crit there was none");
    let (mut successor, ..) = Client::new(worker.knock());
    log_to(&mut successor, None);
    successor.stop(1, Ending::Drain).unwrap();
    successor.leave();
    worker.ends_well();
    assert_eq!(read(&second).matches("file/disk1: stopped").count(), 1, "after that to no file");
}

fn the_jail_holds_and_an_idle_worker_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let rigs: Vec<Rig> = (0..8).map(Rig::new).collect();
    let (worker, link) = Worker::start(folder.path(), "w", "info", Stdio::inherit());
    let (mut supervisor, hello, _) = Client::new(link);
    let root = nix::unistd::geteuid().is_root();
    for part in ["no-new-privs", "seccomp", "capabilities", "namespaces"] {
        assert!(
            !root || hello.jail.iter().any(|word| word == part),
            "{part} is not in force: {:?}",
            hello.jail
        );
    }
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let empty = resident();
    for rig in &rigs {
        rig.start(&mut supervisor).unwrap();
        // Nobody here tells names, which an INQUIRY would wait for.
        support::good(&rig.initiator.test_unit_ready().unwrap());
    }
    let full = resident();
    println!("resident: {empty} KiB without devices, {full} KiB with {}", rigs.len());
    assert!(empty <= 24 << 10, "an idle worker has {empty} KiB");
    assert!(full - empty <= 2048 * 8, "eight idle devices take {} KiB", full - empty);
    if root {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
        let value = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|rest| rest.trim().to_owned())
                .unwrap()
        };
        assert_eq!(value("Seccomp:"), "2");
        assert_eq!(value("CapEff:").trim_start_matches('0'), "");
        assert_eq!(value("NoNewPrivs:"), "1");
        assert_eq!(value("Name:"), "lunbox-w");
    }
    for rig in &rigs {
        assert_eq!(supervisor.stop(rig.device.minor, Ending::Drain), Ok(()));
    }
    supervisor.leave();
    worker.ends_well();
}
