//! Following a device's commands on a real socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lunbox_control::{
    Answer, Client, ClientError, Code, CommandReport, DeviceStatistics, Refusal, Request, SenseReport,
    Server, ServerHandle, Service, StatisticsReport, Teller, TraceReport, Tracing,
};

/// Longest that anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Hands tellers on, and says when a trace has ended.
struct Daemon {
    tellers: Mutex<Sender<Teller>>,
    ended: Mutex<Sender<()>>,
}

struct Guard(Sender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Service for Daemon {
    fn answer(&self, request: Request) -> Result<Answer, Refusal> {
        assert_eq!(request, Request::Statistics);
        let device = DeviceStatistics { name: "user_0/disk".to_owned(), ..DeviceStatistics::default() };
        Ok(Answer::Statistics(Box::new(StatisticsReport { devices: vec![device], ..Default::default() })))
    }

    fn trace(&self, device: &str, teller: Teller) -> Result<Tracing, Refusal> {
        if device != "disk" {
            return Err(Refusal::new(Code::NoSuchDevice, format!("there is no device {device:?}")));
        }
        self.tellers
            .lock()
            .expect("the test can use sockets and temporary files")
            .send(teller)
            .expect("the test can use sockets and temporary files");
        Ok(Box::new(Guard(self.ended.lock().expect("the test can use sockets and temporary files").clone())))
    }
}

struct Place {
    path: PathBuf,
    tellers: Receiver<Teller>,
    ended: Receiver<()>,
    _server: ServerHandle,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("the test can use sockets and temporary files");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))
        .expect("the test can use sockets and temporary files");
    let path = directory.path().join("control.sock");
    let ((give, tellers), (end, ended)) = (channel(), channel());
    let daemon = Daemon { tellers: Mutex::new(give), ended: Mutex::new(end) };
    let server =
        Server::start(&path, Arc::new(daemon)).expect("the test can use sockets and temporary files");
    Place { path, tellers, ended, _server: server, _directory: directory }
}

fn report(id: u16) -> TraceReport {
    let command = CommandReport {
        id,
        cdb: vec![0x28, 0, 0, 0, 0, 1, 0, 0, 8, 0],
        status: 2,
        sense: Some(SenseReport { key: 5, asc: 0x21, ascq: 0 }),
        ..CommandReport::default()
    };
    TraceReport { commands: vec![command; 2], lost: 0 }
}

#[test]
fn commands_come_in_order_until_the_device_ends() {
    let place = place();
    let mut traces = Client::connect(&place.path).unwrap().trace("disk").unwrap();
    let mut teller = place.tellers.recv_timeout(LIMIT).unwrap();
    for id in 0..10 {
        teller.tell(report(id));
    }
    for id in 0..10 {
        assert_eq!(traces.next().unwrap().unwrap(), report(id));
    }
    assert!(place.ended.try_recv().is_err(), "it goes on");
    teller.tell(report(99));
    drop(teller);
    assert_eq!(traces.next().unwrap().unwrap(), report(99), "what was told before the end is heard");
    assert!(traces.next().is_none());
    place.ended.recv_timeout(LIMIT).expect("the device is told to end it");
}

#[test]
fn a_follower_that_goes_ends_the_trace() {
    let place = place();
    let traces = Client::connect(&place.path).unwrap().trace("disk").unwrap();
    let _teller = place.tellers.recv_timeout(LIMIT).unwrap();
    drop(traces);
    place.ended.recv_timeout(LIMIT).unwrap();
}

#[test]
fn what_can_not_be_traced_is_refused_and_the_connection_goes_on() {
    let place = place();
    let error = Client::connect(&place.path).unwrap().trace("other").unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code == Code::NoSuchDevice), "{error}");
    let mut client = Client::connect(&place.path).unwrap();
    let error = client.ask(&Request::Trace { device: "other".to_owned() }).unwrap_err();
    assert!(error.to_string().contains("no device"), "{error}");
    let Answer::Statistics(told) = client.ask(&Request::Statistics).unwrap() else {
        panic!("another answer")
    };
    assert_eq!(told.devices[0].name, "user_0/disk");
}
