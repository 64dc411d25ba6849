//! The commands that talk to `lunboxd`, against a daemon that only answers.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use lunbox_control::{
    Answer, BusReport, Code, CommandReport, CountersReport, DeviceHealth, DeviceReport, DeviceStatistics,
    EventKind, EventReport, GrantReport, HandlerReport, LimitsReport, Refusal, Request, Server, ServerHandle,
    Service, StatisticsReport, StatusReport, Teller, TraceReport, Tracing, WorkerReport, WorkerState,
    find_device,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use support::{LIMIT, Running, Said, lunbox, lunbox_with};

/// Answers, and remembers what it was told to do.
struct Daemon {
    devices: Vec<DeviceReport>,
    told: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    fn find(&self, asked: &str) -> Result<&DeviceReport, Refusal> {
        find_device(asked, self.devices.iter().map(|device| (device.name.as_str(), device)))
    }

    /// Each time that it is asked a second has passed, and each device has done as much as its number says.
    fn statistics(&self) -> StatisticsReport {
        let told = self.told.lock().expect("no test fails with it");
        let asked = told.iter().filter(|request| **request == Request::Statistics).count();
        let asked = u64::try_from(asked).expect("a small number");
        let of = |device: &DeviceReport| DeviceStatistics {
            name: device.name.clone(),
            minor: device.minor,
            health: device.health,
            counters: CountersReport {
                commands: asked * u64::from(device.minor) * 1000,
                in_flight: 3,
                ..CountersReport::default()
            },
            ..DeviceStatistics::default()
        };
        let devices = self.devices.iter().map(of).collect();
        StatisticsReport { at: asked * 1000, devices, ..StatisticsReport::default() }
    }
}

impl Service for Daemon {
    fn answer(&self, request: Request) -> Result<Answer, Refusal> {
        self.told.lock().expect("no test fails with it").push(request.clone());
        match request {
            Request::Status => Ok(Answer::Status(Box::new(StatusReport {
                program: "0.1.0 (test)".to_owned(),
                pid: 42,
                phase: "serving".to_owned(),
                uptime_ms: 3_723_000,
                policy: Some("/etc/lunbox/policy.toml".to_owned()),
                jail: vec!["seccomp".to_owned()],
                handlers: vec![handler()],
                workers: 1,
                devices: self.devices.len().try_into().unwrap_or(u64::MAX),
                bus: Some(BusReport {
                    name: "org.kernel.TCMUService1".to_owned(),
                    up: false,
                    trouble: Some("no such socket".to_owned()),
                }),
                ..StatusReport::default()
            }))),
            Request::WorkerList => Ok(Answer::Workers(vec![worker("zeta"), worker("acme")])),
            Request::DeviceList => Ok(Answer::Devices(self.devices.clone())),
            Request::DeviceShow { device } => Ok(Answer::Device(Box::new(self.find(&device)?.clone()))),
            Request::DeviceReset { device } => {
                let found = self.find(&device)?;
                if found.health == DeviceHealth::Reviving {
                    return Err(Refusal::new(Code::Busy, format!("{} is being revived already", found.name)));
                }
                Ok(Answer::Done)
            }
            Request::Handover => Ok(Answer::Done),
            Request::Statistics => Ok(Answer::Statistics(Box::new(self.statistics()))),
            other => Err(Refusal::new(Code::Failed, format!("{other:?}"))),
        }
    }

    fn trace(&self, device: &str, mut teller: Teller) -> Result<Tracing, Refusal> {
        self.find(device)?;
        for id in 0..5 {
            let command = CommandReport {
                id,
                cdb: vec![0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0],
                cdb_length: 10,
                ..CommandReport::default()
            };
            teller.tell(TraceReport { commands: vec![command], lost: u64::from(id == 2) * 1234 });
        }
        // The device's loop ends here.
        Ok(Box::new(()))
    }
}

fn handler() -> HandlerReport {
    HandlerReport {
        subtype: "file".to_owned(),
        name: "Files and block devices".to_owned(),
        version: "0.1.0".to_owned(),
        digest: "ab".repeat(32),
    }
}

fn worker(tenant: &str) -> WorkerReport {
    WorkerReport {
        tenant: tenant.to_owned(),
        pid: 4711,
        state: WorkerState::Running,
        build: "0.1.0".to_owned(),
        user: "65534:65534".to_owned(),
        jail: vec!["seccomp".to_owned(), "landlock".to_owned()],
        memory_bytes: 20 << 20,
        ..WorkerReport::default()
    }
}

fn device(number: u32) -> DeviceReport {
    DeviceReport {
        name: format!("user_{}/disk{number}", number % 7),
        minor: number,
        config: format!("file//srv/disk{number}"),
        tenant: "acme".to_owned(),
        worker: Some(4711),
        health: DeviceHealth::Serving,
        handler: Some(handler()),
        size: 10 << 30,
        block_size: 512,
        grants: vec![GrantReport {
            locator: format!("/srv/disk{number}"),
            locked: true,
            size: 10 << 30,
            ..GrantReport::default()
        }],
        options: BTreeMap::from([("cache".to_owned(), "8M".to_owned())]),
        limits: LimitsReport { memory_bytes: 64 << 20, ..LimitsReport::default() },
        counters: CountersReport { commands: 1_234_567, ..CountersReport::default() },
        ..DeviceReport::default()
    }
}

struct Place {
    server: ServerHandle,
    path: PathBuf,
    told: Arc<Mutex<Vec<Request>>>,
    _directory: tempfile::TempDir,
}

fn place(devices: Vec<DeviceReport>) -> Place {
    let directory = tempfile::tempdir().expect("the test can use a directory for temporary files");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    let path = directory.path().join("control.sock");
    let told = Arc::default();
    let server =
        Server::start(&path, Arc::new(Daemon { devices, told: Arc::clone(&told) })).expect("it can listen");
    Place { server, path, told, _directory: directory }
}

impl Place {
    fn ask(&self, arguments: &[&str]) -> Said {
        let socket = self.path.to_str().expect("a plain path");
        lunbox(&[arguments, &["--socket", socket]].concat())
    }

    fn ask_json(&self, arguments: &[&str]) -> Value {
        let said = self.ask(&[arguments, &["--json"]].concat());
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn status_and_workers() {
    let place = place(vec![device(1)]);
    let said = place.ask(&["status"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    contains(
        &said.stdout,
        &[
            "lunboxd 0.1.0 (test), process 42",
            "serving",
            "1h 2m",
            "/etc/lunbox/policy.toml",
            "file: Files and",
            "handlers: no such socket",
        ],
    );
    let status = place.ask_json(&["status"]);
    assert_eq!((&status["pid"], &status["control"]["connections"]), (&42.into(), &1.into()));
    let said = place.ask(&["worker", "list"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("TENANT") && lines[1].starts_with("acme") && lines[2].starts_with("zeta"));
    contains(lines[1], &["4711", "running", "20 MiB", "65534:65534", "seccomp landlock"]);
    assert_eq!(place.ask_json(&["worker", "list"])["workers"][0]["tenant"], "acme");
    // The same by the variable.
    let said = lunbox_with(&["status"], &[("LUNBOX_SOCKET", place.path.to_str().unwrap())]);
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn many_devices_are_listed_in_order() {
    let place = place((0..500).rev().map(device).collect());
    let said = place.ask(&["device", "list"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!((said.status, lines.len()), (Some(0), 501));
    assert!(!said.stdout.contains('\x1b'), "no colours on a pipe");
    assert!(
        lines[1].starts_with("user_0/disk0 ") && lines[500].starts_with("user_6/disk496 "),
        "{}",
        lines[500]
    );
    let config = lines[0].find("CONFIG").unwrap();
    assert!(lines[1..].iter().all(|line| line[config..].starts_with("file//srv/disk")), "columns line up");
    contains(lines[1], &["acme", "serving", "10 GiB", "1,234,567"]);
    let list = place.ask_json(&["device", "list"]);
    assert_eq!(list["devices"].as_array().unwrap().len(), 500);
    assert_eq!(list["devices"][0]["grants"][0]["locator"], "/srv/disk0");
    let said = Place::ask(&self::place(Vec::new()), &["device", "list"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""));
    assert!(said.stderr.contains("no devices"), "{said:?}");
}

#[test]
fn a_device_is_shown_by_each_of_its_names() {
    let place = place(vec![device(1), device(2)]);
    for name in ["user_1/disk1", "tcm-user/1/disk1", "disk1"] {
        let said = place.ask(&["device", "show", name]);
        assert_eq!(said.status, Some(0), "{said:?}");
        contains(
            &said.stdout,
            &["user_1/disk1 (/dev/uio1", "process 4711", "/srv/disk1 (read and write, 10 GiB)", "cache = 8M"],
        );
    }
    assert_eq!(place.ask_json(&["device", "show", "disk2"])["limits"]["memory_bytes"], 64 << 20);
    for json in [&[][..], &["--json"]] {
        let said = place.ask(&[&["device", "show", "disk"], json].concat());
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
        contains(&said.stderr, &["there is: user_1/disk1, user_2/disk2", "lunbox device list"]);
        assert_eq!(said.stderr.starts_with("{\"error\":"), !json.is_empty());
    }
}

#[test]
fn what_a_stranger_wrote_does_not_steer_the_terminal() {
    let evil = DeviceReport { config: "file//\x1b]0;owned\x07\n".to_owned(), ..device(1) };
    let place = place(vec![evil]);
    for arguments in [&["device", "list"][..], &["device", "show", "disk1"]] {
        let said = place.ask(arguments);
        assert!(said.status == Some(0) && !said.stdout.contains(['\x1b', '\x07']), "{said:?}");
        assert!(said.stdout.contains("\\u{1b}]0;owned"), "{said:?}");
    }
}

#[test]
fn what_is_to_be_done_is_done_once() {
    let reviving = DeviceReport { health: DeviceHealth::Reviving, ..device(2) };
    let place = place(vec![device(1), reviving]);
    let said = place.ask(&["device", "reset", "disk1"]);
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", "disk1 is reset"));
    assert_eq!(place.ask_json(&["device", "reset", "user_1/disk1"])["reset"], "user_1/disk1");
    let said = place.ask(&["device", "reset", "disk2"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("user_2/disk2 is being revived already"), "{said:?}");
    let said = place.ask(&["handover"]);
    assert!(said.status == Some(0) && said.stderr.contains("workers go on"), "{said:?}");
    let reset = |name: &str| Request::DeviceReset { device: name.to_owned() };
    assert_eq!(
        *place.told.lock().unwrap(),
        [reset("disk1"), reset("user_1/disk1"), reset("disk2"), Request::Handover]
    );
}

/// Publishes until a follower has something to read: it joins whenever its process gets there.
fn publish_until_heard(place: &Place, running: &Running) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "no event arrives");
        place.server.publish(event());
        if let Some(line) = running.line_if_there() {
            return line;
        }
    }
}

fn event() -> EventReport {
    EventReport {
        at: 1_795_344_000_000,
        device: Some("user_0/disk".to_owned()),
        worker: None,
        kind: EventKind::WorkerLost,
        text: "killed by signal 9".to_owned(),
    }
}

#[test]
fn events_are_followed_to_the_daemons_end() {
    let place = place(Vec::new());
    let socket = place.path.to_str().unwrap().to_owned();
    let mut text = Running::start(&["events", "--socket", &socket]);
    let line = publish_until_heard(&place, &text);
    contains(&line, &["2026-11-22T10:40:00.000Z", "worker_lost", "user_0/disk", "killed by signal 9"]);
    let mut json = Running::start(&["events", "--json", "--socket", &socket]);
    let line: Value = serde_json::from_str(&publish_until_heard(&place, &json)).unwrap();
    assert_eq!((&line["kind"], &line["at"]), (&"worker_lost".into(), &1_795_344_000_000_u64.into()));
    let mut killed = Running::start(&["events", "--socket", &socket]);
    publish_until_heard(&place, &killed);
    // Not SIGINT: whoever runs the tests in the background may have had it ignored, and that is inherited.
    killed.signal(Signal::SIGTERM);
    assert_eq!(killed.wait().code(), None, "ended by the signal");
    drop(place);
    assert_eq!(text.wait().code(), Some(1));
    assert!(text.errors().contains("lunboxd has ended"));
    assert_eq!(json.wait().code(), Some(1));
}

#[test]
fn rates_are_told_once_or_again_and_again() {
    let place = place(vec![device(1), device(2)]);
    let said = place.ask(&["top", "--once", "--interval", "0.1", "--sort", "iops"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines.len() == 4 && lines[1].starts_with("DEVICE"), "{said:?}");
    contains(lines[2], &["user_2/disk2", "serving", " 2,000 ", " 3 "]);
    contains(lines[3], &["user_1/disk1", " 1,000 "]);
    assert!(!said.stdout.contains('\x1b'), "{said:?}");
    let said = place.ask(&["top", "--count", "3", "--interval", "0.1", "--json"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let looks: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 3);
    assert!(looks.iter().all(|look| look["devices"][0]["iops"] == 1000), "{looks:?}");
}

#[test]
fn rates_go_on_when_the_daemon_was_restarted() {
    let Place { server, path, told, _directory } = place(vec![device(1)]);
    let socket = path.to_str().unwrap();
    let mut running = Running::start(&["top", "--json", "--interval", "0.1", "--socket", socket]);
    let look = || -> Value { serde_json::from_str(&running.line()).unwrap() };
    assert_eq!(look()["devices"][0]["device"], "user_1/disk1");
    drop(server);
    running.error_with("waiting for it");
    // The next daemon has another device: its lines are none of those from before.
    let server = Server::start(&path, Arc::new(Daemon { devices: vec![device(2)], told })).unwrap();
    let deadline = Instant::now() + LIMIT;
    while look()["devices"][0]["device"] == "user_1/disk1" {
        assert!(Instant::now() < deadline, "the lines of the first daemon do not end");
    }
    // The second look at it: what happened between two.
    let rates = look();
    assert_eq!(
        (&rates["devices"][0]["device"], rates["devices"].as_array().unwrap().len()),
        (&"user_2/disk2".into(), 1)
    );
    assert_eq!(rates["devices"][0]["iops"], 2000, "{rates}");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), None, "ended by the signal");
    drop(server);
}

#[test]
fn commands_are_followed_to_the_devices_end() {
    let place = place(vec![device(1)]);
    let said = place.ask(&["trace", "disk1"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{said:?}");
    contains(lines[0], &["READ(10)", "lba 256 blocks 8", "GOOD"]);
    contains(&said.stderr, &["1,234 commands are missing", "loop has ended"]);
    let said = place.ask(&["trace", "disk1", "--count", "4", "--json"]);
    assert_eq!((said.status, said.stdout.lines().count()), (Some(0), 5), "and what was lost: {said:?}");
    let first: Value = serde_json::from_str(said.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&first["name"], &first["lba"]), (&"READ(10)".into(), &256.into()));
    let said = place.ask(&["trace", "other"]);
    assert!(said.status == Some(1) && said.stderr.contains("user_1/disk1"), "{said:?}");
}

#[test]
fn a_look_at_the_system_tells_what_to_do() {
    let place = place(vec![DeviceReport {
        health: DeviceHealth::Stopped,
        trouble: Some("its storage has gone".to_owned()),
        ..device(1)
    }]);
    let root = tempfile::tempdir().unwrap();
    let (path, bundle) = (root.path().to_str().unwrap(), root.path().join("report.tar.gz"));
    fs::create_dir_all(root.path().join("run/dbus")).unwrap();
    fs::write(root.path().join("run/dbus/system_bus_socket"), "").unwrap();
    let said = place.ask(&["doctor", "--root", path, "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(said.status, Some(1), "{said:?}");
    contains(
        &said.stdout,
        &[
            "problem  configfs",
            "mount -t configfs",
            "runs as process 42",
            "its storage has gone",
            "lunboxd is not on it, so targetcli does not see our handlers: no such socket",
        ],
    );
    assert!(bundle.exists() && said.stderr.contains("look at it before you send it"), "{said:?}");
    let said = place.ask(&["doctor", "--root", path, "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.status, &report["findings"][0]["verdict"]), (Some(1), &"problem".into()));
    let said = place.ask(&["doctor", "--root", path, "--bundle", bundle.to_str().unwrap()]);
    assert!(said.status == Some(1) && said.stderr.contains("name a file that does not exist"), "{said:?}");
}

#[test]
fn a_daemon_that_is_not_there_or_not_ours() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    drop(UnixListener::bind(path("dead")).unwrap());
    for arguments in [
        &["status"][..],
        &["worker", "list"],
        &["device", "list"],
        &["device", "reset", "x"],
        &["events"],
        &["top"],
        &["trace", "x"],
        &["handover"],
    ] {
        for socket in [path("missing"), path("dead")] {
            let said = lunbox(&[arguments, &["--socket", &socket]].concat());
            assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{arguments:?}");
            contains(&said.stderr, &[&socket, "systemctl start lunboxd", "--socket"]);
        }
    }
    // A daemon of another version, and something else altogether.
    let listener = UnixListener::bind(path("other")).unwrap();
    for (line, part) in [
        (
            r#"{"id":1,"error":{"code":"version","message":"this lunboxd speaks version 9"}}"#,
            "speaks version 9",
        ),
        (r#"{"id":1,"ok":{"devices-v9":{}}}"#, "the same release"),
        (r#"{"id":1,"ok":{"workers":[]}}"#, "no answer to DeviceList"),
        ("220 mail.example ESMTP", "the same release"),
    ] {
        let socket = path("other");
        let running = std::thread::spawn(move || lunbox(&["device", "list", "--socket", &socket]));
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        writeln!(stream, "{line}").unwrap();
        let said = running.join().unwrap();
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains(part), "{said:?}");
    }
    // One that closes the connection.
    let socket = path("other");
    let running = std::thread::spawn(move || lunbox(&["status", "--socket", &socket]));
    drop(listener.accept().unwrap());
    let said = running.join().unwrap();
    assert!(said.status == Some(1) && said.stderr.contains("without an answer"), "{said:?}");
}

fn policy(place: &Path, text: &str) -> String {
    let path = place.join("policy.toml");
    fs::write(&path, text).expect("the test can use a directory for temporary files");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn a_policy_that_is_right() {
    let place = tempfile::tempdir().unwrap();
    let said = lunbox(&["policy", "example"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    let file = policy(place.path(), &said.stdout);
    let said = lunbox(&["policy", "check", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    contains(&said.stdout, &["nothing is wrong", "acme", "backup", "/srv/acme/cluster/*", "memory 64 MiB"]);
    assert!(said.stderr.contains("warning: tenant backup: there is no /srv/backup"), "{said:?}");

    let given = ["--device", "3/disk=file//srv/acme/x", "--device", "0/disk=zbc//dev/x"];
    let said = lunbox(&[&["policy", "check", &file][..], &given].concat());
    assert_eq!(said.status, Some(1), "one of the two would be refused");
    contains(&said.stdout, &["user_3/disk = file//srv/acme/x", "refused", "may not use handler \"zbc\""]);
    assert!(!said.stdout.contains("backup"), "only the rules that apply: {said:?}");
    let said = lunbox(&[&["policy", "check", &file, "--json"][..], &given].concat());
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["devices"][0]["tenant"], "acme");
    assert_eq!(report["devices"][0]["refused"], Value::Null);
    assert_eq!(
        (&report["devices"][1]["tenant"], &report["tenants"][2]["name"]),
        (&"default".into(), &"default".into())
    );
    assert_eq!(report["tenants"][0]["limits"]["cpu_per_call_us"], 50_000);
}

#[test]
fn what_is_right_but_probably_not_meant_is_warned_about() {
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("disk");
    fs::write(&disk, "").unwrap();
    let tenant = format!(
        "version = 1\n[[tenant]]\nname = \"a\"\nmatch = [{{ hba = 3 }}]\nroots = [\"{}\"]\n",
        disk.display()
    );
    let file = policy(place.path(), &tenant);
    let said = lunbox(&["policy", "check", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("warning: devices that no tenant matches may use any path"), "{said:?}");
    assert!(!said.stderr.contains("there is no"), "a root may be a disk: {said:?}");
    let file = policy(place.path(), &format!("{tenant}[default]\nhandlers = []\n"));
    let said = lunbox(&["policy", "check", &file, "--device", "3/x=file//etc/shadow"]);
    assert!(said.status == Some(1) && said.stdout.contains("in no root of this tenant"), "{said:?}");
    assert_eq!(said.stderr, "");
}

#[test]
fn a_policy_that_is_wrong_is_told_with_all_that_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let file = policy(place.path(), "version = 1\n[[tenant]]\nname = \"A\"\nroots = [\"srv\"]\n");
    let said = lunbox(&["policy", "check", &file]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert_eq!(said.stderr.lines().count(), 3, "{said:?}");
    contains(
        &said.stderr,
        &[&format!("error: {file}:3:8: tenant 1.name"), "policy.toml:4:10: tenant 1.roots", ".match"],
    );
    let said = lunbox(&["policy", "check", &file, "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 3);
    assert_eq!(report["policy"], file);
    assert_eq!((&report["problems"][1]["line"], said.status), (&3.into(), Some(1)));

    let said = lunbox(&["policy", "check", "/no/such/policy.toml"]);
    assert!(said.status == Some(1) && said.stderr.contains("there is no file"), "{said:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let said = lunbox(&["policy", "check", &file]);
    assert!(said.status == Some(1) && said.stderr.contains("chmod go-w"), "{said:?}");
    let said = lunbox(&["policy", "check", &file, "--device", "disk"]);
    assert!(said.status == Some(2) && said.stderr.contains("HBA/NAME=SUBTYPE/CONFIG"), "{said:?}");
}
