//! Client and server on a real socket.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunbox_control::client::Heard;
use lunbox_control::server::CONNECTIONS;
use lunbox_control::{
    Answer, Client, ClientError, Code, DeviceReport, EventKind, EventReport, Refusal, Request, Server,
    ServerHandle, Service, StatusReport, find_device,
};

/// Longest that anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A daemon with some devices; says what it was asked when it has answered.
struct Daemon {
    devices: Vec<DeviceReport>,
    answered: Mutex<Sender<Request>>,
    /// `handover` is answered when something comes here.
    hold: Mutex<Receiver<()>>,
}

impl Service for Daemon {
    fn answer(&self, request: Request) -> Result<Answer, Refusal> {
        match request {
            Request::Status => Ok(Answer::Status(Box::new(StatusReport {
                devices: self.devices.len().try_into().expect("a small number"),
                ..StatusReport::default()
            }))),
            Request::DeviceList => Ok(Answer::Devices(self.devices.clone())),
            Request::DeviceShow { device } => {
                let named = self.devices.iter().map(|device| (device.name.as_str(), device));
                Ok(Answer::Device(Box::new(find_device(&device, named)?.clone())))
            }
            Request::Handover => {
                self.hold
                    .lock()
                    .expect("no test fails with it")
                    .recv_timeout(LIMIT)
                    .expect("the test lets it go");
                Ok(Answer::Done)
            }
            other => panic!("{other:?}: a defect in the daemon"),
        }
    }

    fn answered(&self, request: &Request) {
        let _ = self.answered.lock().expect("no test fails with it").send(request.clone());
    }
}

struct Place {
    server: Option<ServerHandle>,
    path: PathBuf,
    answered: Receiver<Request>,
    release: Sender<()>,
    _directory: tempfile::TempDir,
}

fn place(devices: usize) -> Place {
    let directory = tempfile::tempdir().expect("the test can use sockets and temporary files");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))
        .expect("the test can use sockets and temporary files");
    let path = directory.path().join("control.sock");
    let devices = (0..devices)
        .map(|number| DeviceReport { name: format!("user_{number}/disk{number}"), ..DeviceReport::default() })
        .collect();
    let ((send, answered), (release, hold)) = (channel(), channel());
    let daemon = Daemon { devices, answered: Mutex::new(send), hold: Mutex::new(hold) };
    let server =
        Server::start(&path, Arc::new(daemon)).expect("the test can use sockets and temporary files");
    Place { server: Some(server), path, answered, release, _directory: directory }
}

impl Place {
    fn server(&self) -> &ServerHandle {
        self.server.as_ref().expect("it runs")
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).expect("the test can use sockets and temporary files")
    }

    /// A connection without a client.
    fn raw(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(&self.path).expect("the test can use sockets and temporary files");
        stream.set_read_timeout(Some(LIMIT)).expect("the test can use sockets and temporary files");
        BufReader::new(stream)
    }
}

/// Waits for a condition that another thread brings about.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn say(raw: &BufReader<UnixStream>, line: &str) {
    raw.get_ref().write_all(line.as_bytes()).expect("the test can use sockets and temporary files");
}

fn hear(raw: &mut BufReader<UnixStream>) -> serde_json::Value {
    let mut line = String::new();
    raw.read_line(&mut line).expect("the test can use sockets and temporary files");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn event(number: u64) -> EventReport {
    EventReport {
        at: number,
        device: Some("user_0/disk0".to_owned()),
        worker: None,
        kind: EventKind::DeviceAdded,
        text: "x".repeat(100),
    }
}

#[test]
fn questions_are_answered_many_on_one_connection() {
    let place = place(1000);
    let mut client = place.client();
    let Answer::Devices(devices) = client.ask(&Request::DeviceList).unwrap() else {
        panic!("another answer")
    };
    assert_eq!(devices.len(), 1000);
    let Answer::Device(device) = client.ask(&Request::DeviceShow { device: "disk7".to_owned() }).unwrap()
    else {
        panic!("another answer")
    };
    assert_eq!(device.name, "user_7/disk7");
    let error = client.ask(&Request::DeviceShow { device: "disk".to_owned() }).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code == Code::NoSuchDevice), "{error}");
    let Answer::Status(status) = client.ask(&Request::Status).unwrap() else { panic!("another answer") };
    assert_eq!((status.devices, status.control.connections), (1000, 1));
    assert_eq!(place.answered.recv_timeout(LIMIT).unwrap(), Request::DeviceList);
}

#[test]
fn one_that_waits_keeps_nobody_from_asking() {
    let place = place(3);
    let (path, waiting) = (place.path.clone(), channel());
    let thread = std::thread::spawn(move || {
        let mut client = Client::connect(&path).unwrap();
        waiting.0.send(()).unwrap();
        client.ask(&Request::Handover)
    });
    waiting.1.recv_timeout(LIMIT).unwrap();
    for _ in 0..10 {
        place.client().ask(&Request::DeviceList).unwrap();
    }
    place.release.send(()).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), Answer::Done);
    let answered: Vec<Request> = (0..11).map(|_| place.answered.recv_timeout(LIMIT).unwrap()).collect();
    assert_eq!(answered.iter().filter(|request| **request == Request::Handover).count(), 1);
}

#[test]
fn foreign_lines_are_told_what_is_wrong_and_the_connection_goes_on() {
    let place = place(1);
    let mut raw = place.raw();
    say(
        &raw,
        "what?\n{\"version\":7,\"id\":1,\"method\":\"status\"}\n{\"version\":1,\"id\":2,\"method\":\"dance\"}\n",
    );
    say(&raw, "{\"version\":1,\"id\":3,\"method\":\"device-show\",\"device\":\"user_0/disk0\"}\n");
    let codes: Vec<serde_json::Value> = (0..3).map(|_| hear(&mut raw)["error"]["code"].clone()).collect();
    assert_eq!(codes, ["malformed", "version", "unknown-method"]);
    let answer = hear(&mut raw);
    assert_eq!((&answer["id"], &answer["ok"]["device"]["name"]), (&3.into(), &"user_0/disk0".into()));
    // A line without an end is not waited for for ever.
    let mut flood = place.raw();
    say(&flood, &"x".repeat((64 << 10) + 1));
    assert_eq!(hear(&mut flood)["error"]["code"], "malformed");
    assert_eq!(flood.read(&mut [0]).unwrap(), 0, "it is closed");
}

#[test]
fn events_reach_every_follower_in_order() {
    let place = place(1);
    let mut followers: Vec<_> = (0..3).map(|_| place.client().events().unwrap()).collect();
    for number in 0..100 {
        place.server().publish(event(number));
    }
    for follower in &mut followers {
        for number in 0..100 {
            assert_eq!(follower.next().unwrap().unwrap(), Heard::Event(event(number)));
        }
    }
    // What a follower says is skipped, and it may go at any time.
    let mut raw = place.raw();
    say(&raw, "{\"version\":1,\"id\":1,\"method\":\"events\"}\n");
    assert_eq!(hear(&mut raw)["ok"], "following");
    say(&raw, "{\"version\":1,\"id\":2,\"method\":\"status\"}\n");
    place.server().publisher().publish(event(7));
    assert_eq!(hear(&mut raw)["event"]["at"], 7);
    drop((raw, followers));
    until("followers that have gone give their places back", || place.server().counters().connections == 0);
}

#[test]
fn a_follower_that_does_not_read_loses_events_and_nobody_waits_for_it() {
    let place = place(1);
    let mut slow = place.raw();
    say(&slow, "{\"version\":1,\"id\":1,\"method\":\"events\"}\n");
    assert_eq!(hear(&mut slow)["ok"], "following");
    let begin = Instant::now();
    let mut published = 0;
    while place.server().counters().lost_events == 0 {
        assert!(begin.elapsed() < LIMIT, "nothing is ever lost");
        place.server().publish(event(published));
        published += 1;
    }
    // A reader that reads again hears how many it missed, and all others in order.
    let mut heard = 0;
    let lost = loop {
        let line = hear(&mut slow);
        match line["lost"].as_u64() {
            Some(lost) => break lost,
            None => assert_eq!(line["event"]["at"], heard),
        }
        heard += 1;
    };
    assert_eq!((heard + lost, lost), (published, 1));
    assert_eq!(place.server().counters().slow_readers, 0);
}

#[test]
fn there_is_a_bound_and_it_is_told() {
    let place = place(1);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| place.client()).collect();
    for client in &mut clients {
        client.ask(&Request::Status).unwrap();
    }
    let error = place.client().ask(&Request::Status).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code == Code::TooMany), "{error}");
    clients.pop();
    until("a place is free again", || place.server().counters().connections < 64);
    place.client().ask(&Request::Status).unwrap();
    assert!(place.server().counters().refused >= 1);
}

#[test]
fn a_defect_in_the_daemon_ends_one_connection_only() {
    let place = place(1);
    let error = place.client().ask(&Request::WorkerList).unwrap_err();
    assert!(matches!(error, ClientError::Gone), "{error}");
    until("its place is free again", || place.server().counters().connections == 0);
    place.client().ask(&Request::Status).unwrap();
}

#[test]
fn the_end_of_the_server_is_the_end_of_all() {
    let mut place = place(1);
    let mut follower = place.client().events().unwrap();
    let mut client = place.client();
    client.ask(&Request::Status).unwrap();
    let publisher = place.server().publisher();
    drop(place.server.take());
    assert!(follower.next().is_none());
    let error = client.ask(&Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::Gone), "{error}");
    publisher.publish(event(1));
    assert!(!place.path.exists());
    let error = Client::connect(&place.path).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("systemctl start lunboxd"), "{error}");
}

#[test]
fn what_is_no_lunboxd_is_told_apart() {
    let place = place(1);
    let directory = place.path.parent().unwrap();
    let path = directory.join("plain");
    fs::write(&path, "").unwrap();
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning(_) | ClientError::Connect { .. })));
    let error = Client::connect(&directory.join("x".repeat(200))).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let path = directory.join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for foreign in ["HTTP/1.1 400 Bad Request\r\n", "{\"id\":99,\"ok\":\"done\"}\n", "{}\n"] {
        let path = path.clone();
        let client = std::thread::spawn(move || Client::connect(&path).unwrap().ask(&Request::Status));
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(foreign.as_bytes()).unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Unintelligible { .. }), "{foreign}: {error}");
        assert!(error.to_string().contains("the same release"), "{error}");
    }
}
