use std::os::unix::fs::PermissionsExt;

use lunbox_control::{Client, Code, CommandReport, SenseReport, Server, Service, Teller, TraceReport};
use lunbox_wire::{ClassStatistics, Histogram, Notice as Said, Refusal, TraceRecord};

use super::*;
use crate::workers::scripted::{self, Said as Words, say};

fn silent(_: Request) -> Words {
    Vec::new()
}

fn level() -> impl FnOnce(Call) -> Request {
    |call| Request::Status { call }
}

#[test]
fn counters_are_kept_of_a_workers_own_devices_and_once_each() {
    let counters = |commands| DeviceStatus { commands, ..DeviceStatus::default() };
    let worker = scripted::worker(
        "acme",
        &[1, 2],
        move |request| {
            let Request::Status { call } = request else { return Vec::new() };
            let status = |devices: Vec<(u32, DeviceStatus)>, more| {
                (Report::Status { call, devices, more }, Vec::new())
            };
            let mut said: Words =
                (0..100).map(|round| status(vec![(1, counters(round)), (7, counters(9))], true)).collect();
            said.push(status(vec![(2, counters(5))], false));
            said
        },
        || {},
    );
    match worker.ask(&[], Duration::from_secs(20), level()) {
        Ok(Answer::Status(devices)) => {
            assert_eq!(devices, [(Minor(1), counters(99)), (Minor(2), counters(5))]);
        }
        other => panic!("{other:?}"),
    }
    assert!(worker.state().status.is_empty());
}

#[test]
fn parts_of_an_answer_that_nobody_waits_for_are_not_kept() {
    let worker = scripted::worker(
        "acme",
        &[1],
        |request| match request {
            Request::Status { call } => {
                say(Report::Status { call, devices: vec![(1, DeviceStatus::default())], more: true })
            }
            _ => Vec::new(),
        },
        || {},
    );
    let asked = worker.ask(&[], Duration::from_millis(50), level());
    assert!(matches!(asked, Err(AskError::Silent(_))), "{asked:?}");
    assert!(worker.state().status.is_empty());
}

#[test]
fn a_worker_that_left_a_question_unanswered_is_not_waited_for_again_until_it_speaks() {
    let speaks = Arc::new(AtomicBool::new(false));
    let worker = scripted::worker(
        "acme",
        &[],
        {
            let speaks = Arc::clone(&speaks);
            move |request| match request {
                Request::Status { call } | Request::Stop { call, .. } if speaks.load(Ordering::Relaxed) => {
                    say(Report::Done { call })
                }
                _ => Vec::new(),
            }
        },
        || {},
    );
    let stop = |call| Request::Stop { call, minor: 0, how: lunbox_wire::Ending::Drain, patience_ms: 0 };
    let first = worker.ask_for(&[], Duration::from_millis(50), stop);
    assert_eq!(first, Err(AskError::Silent(Duration::from_millis(50))));
    let asked = Instant::now();
    assert_eq!(worker.ask_for(&[], Duration::from_secs(60), stop), Err(AskError::Silent(MUTE)));
    assert!(asked.elapsed() < Duration::from_secs(30), "waited for as if it had answered before");
    speaks.store(true, Ordering::Relaxed);
    assert_eq!(worker.ask_for(&[], Duration::from_secs(60), stop), Ok(()));
}

#[test]
fn all_workers_are_asked_for_their_counters_in_the_time_of_one() {
    let workers: Vec<_> = (0..20).map(|_| scripted::worker("acme", &[], silent, || {})).collect();
    let asked = Instant::now();
    let answers = ask_for_status(&workers, Duration::from_millis(500));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().all(|(_, answer)| matches!(answer, Err(AskError::Silent(_)))));
    assert!(workers.iter().all(|worker| !worker.is_mute()), "whoever only looks holds up nobody else");
}

#[test]
fn what_a_worker_says_is_one_line() {
    let worker = scripted::worker(
        "acme",
        &[],
        |request| match request {
            Request::Status { call } => say(Report::Refused {
                call,
                kind: Refusal::Failed,
                reason: format!("so\n2026 ERROR lunboxd: forged{}", "x".repeat(1000)),
            }),
            _ => Vec::new(),
        },
        || {},
    );
    let Err(AskError::Refused(_, reason)) = worker.ask(&[], Duration::from_secs(20), level()) else {
        panic!("not refused")
    };
    assert!(reason.starts_with("so 2026 ERROR") && reason.chars().count() <= 501, "{reason}");
}

#[test]
fn whoever_waits_for_a_worker_that_dies_hears_of_it_after_the_death_was_noted() {
    let ((entered, noting), (go_on, told)) = (channel::<()>(), channel::<()>());
    let (heard, asked) = channel::<()>();
    let hears = move |_| {
        heard.send(()).unwrap();
        Vec::new()
    };
    let worker = scripted::worker("acme", &[], hears, move || {
        entered.send(()).unwrap();
        told.recv().unwrap();
    });
    let asker = std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || worker.ask_for(&[], Duration::from_secs(60), level())
    });
    asked.recv().unwrap();
    worker.kill();
    noting.recv().unwrap();
    assert!(worker.is_lost() && worker.state().waiting.len() == 1, "woken while the death is being noted");
    go_on.send(()).unwrap();
    assert_eq!(asker.join().unwrap(), Err(AskError::Lost));
}

#[test]
fn an_answer_that_lost_its_descriptors_is_a_refusal_and_the_worker_goes_on() {
    let worker = scripted::worker("acme", &[1], silent, || {});
    let (sender, answer) = channel();
    worker.state().waiting.insert(77, sender);
    assert!(worker.refuse_waiting());
    match answer.recv() {
        Ok(Answer::Refused(Refusal::Failed, reason)) => assert!(reason.contains("LimitNOFILE"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!worker.refuse_waiting(), "who sends descriptors that nobody asked for garbles messages");
    assert!(!worker.is_lost());
}

#[test]
fn statistics_come_in_parts_and_are_kept_of_a_workers_own_devices() {
    let numbers = |commands| DeviceStatistics {
        read: ClassStatistics {
            commands,
            queue: Histogram { sum_ns: 9, buckets: vec![0, commands] },
            ..ClassStatistics::default()
        },
        ..DeviceStatistics::default()
    };
    let worker = scripted::worker(
        "acme",
        &[1, 2],
        move |request| {
            let Request::Statistics { call } = request else { return Vec::new() };
            let part = |devices, more| (Report::Statistics { call, devices, more }, Vec::new());
            vec![
                part(vec![(1, numbers(3)), (7, numbers(9))], true),
                part(vec![(1, numbers(4))], true),
                part(vec![(2, numbers(5))], false),
            ]
        },
        || {},
    );
    match worker.ask(&[], Duration::from_secs(20), |call| Request::Statistics { call }) {
        Ok(Answer::Statistics(devices)) => {
            assert_eq!(devices, [(Minor(1), numbers(4)), (Minor(2), numbers(5))]);
        }
        other => panic!("{other:?}"),
    }
    assert!(worker.state().statistics.is_empty());
}

/// Lets clients follow device 1.
struct Follows(Arc<Worker>);

impl Service for Follows {
    fn answer(
        &self,
        request: lunbox_control::Request,
    ) -> Result<lunbox_control::Answer, lunbox_control::Refusal> {
        Err(lunbox_control::Refusal::new(Code::Failed, format!("{request:?}")))
    }

    fn trace(
        &self,
        _device: &str,
        teller: Teller,
    ) -> Result<lunbox_control::Tracing, lunbox_control::Refusal> {
        match self.0.trace(Minor(1), teller) {
            Ok(tracing) => Ok(Box::new(tracing)),
            Err(error) => Err(lunbox_control::Refusal::new(Code::Failed, error.to_string())),
        }
    }
}

/// A worker whose device 1 tells of two commands as soon as it is followed, and what it was asked; and a socket at
/// which it can be followed.
struct Followed {
    asked: std::sync::mpsc::Receiver<bool>,
    path: PathBuf,
    worker: Arc<Worker>,
    _server: lunbox_control::ServerHandle,
    _directory: tempfile::TempDir,
}

fn record(id: u16) -> TraceRecord {
    TraceRecord {
        at_us: 1_795_344_000_000_000,
        id,
        cdb: vec![0x8a; 40],
        cdb_length: 40,
        data_length: 4096,
        status: 2,
        sense: Some((3, 0x0c, 0)),
        queue_ns: 7,
        service_ns: 8,
    }
}

fn followed(then: fn() -> Words) -> Followed {
    let (tell, asked) = channel();
    let plays = move |request| {
        let Request::Trace { call, minor: 1, on } = request else { return Vec::new() };
        tell.send(on).unwrap();
        if !on {
            return say(Report::Done { call });
        }
        let trace = |minor, ids: &[u16], lost| {
            let records = ids.iter().copied().map(record).collect();
            (Report::Trace { minor, records, lost }, Vec::new())
        };
        let mut said = say(Report::Done { call });
        // Of device 2 nobody wants to know.
        said.extend([trace(2, &[99], 0), trace(1, &[4, 5], 0), trace(1, &[6], 1234)]);
        said.extend(then());
        said
    };
    let worker = scripted::worker("acme", &[1, 2], plays, || {});
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let path = directory.path().join("control.sock");
    let server = Server::start(&path, Arc::new(Follows(Arc::clone(&worker)))).unwrap();
    Followed { asked, path, worker, _server: server, _directory: directory }
}

fn told(id: u16) -> CommandReport {
    let TraceRecord { at_us, data_length, status, queue_ns, service_ns, .. } = record(id);
    let sense = Some(SenseReport { key: 3, asc: 0x0c, ascq: 0 });
    let cdb = vec![0x8a; 16];
    CommandReport { at_us, id, cdb, cdb_length: 40, data_length, status, sense, queue_ns, service_ns }
}

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn commands_come_from_the_worker_to_who_follows_until_the_last_has_gone() {
    let place = followed(Vec::new);
    let follow = || {
        let mut traces = Client::connect(&place.path).unwrap().trace("disk").unwrap();
        let mut commands = Vec::new();
        let mut lost = 0;
        while commands.len() < 3 {
            let TraceReport { commands: more, lost: missing } = traces.next().unwrap().unwrap();
            lost += missing;
            commands.extend(more);
        }
        assert_eq!((&commands[..3], lost), (&[told(4), told(5), told(6)][..], 1234));
        traces
    };
    let first = follow();
    assert_eq!(place.asked.recv_timeout(LIMIT), Ok(true));
    // What the second one begins with is told to the first, too.
    let second = follow();
    assert_eq!(place.asked.recv_timeout(LIMIT), Ok(true));
    drop(first);
    drop(second);
    assert_eq!(place.asked.recv_timeout(LIMIT), Ok(false), "nobody follows any more");
    assert!(place.asked.try_recv().is_err(), "it is told once");
    assert!(place.worker.traces.lock().unwrap().is_empty());
}

#[test]
fn a_trace_ends_with_its_devices_loop_and_with_the_worker() {
    let ended = || say(Report::Notice { minor: 1, notice: Said::Ended("its storage has gone".to_owned()) });
    let place = followed(ended);
    let traces = Client::connect(&place.path).unwrap().trace("disk").unwrap();
    let heard: Vec<_> = traces.map(|trace| trace.unwrap().commands.len()).collect();
    assert_eq!(heard, [2, 1], "what was told before the end is heard");

    let place = followed(Vec::new);
    let mut traces = Client::connect(&place.path).unwrap().trace("disk").unwrap();
    traces.next().unwrap().unwrap();
    place.worker.kill();
    assert!(traces.all(|trace| trace.is_ok()), "an end, not an error");
}

#[test]
fn a_worker_that_does_not_begin_a_trace_is_not_followed() {
    let (tell, asked) = channel();
    let refuses = move |request| match request {
        Request::Trace { call, on: true, .. } => {
            say(Report::Refused { call, kind: Refusal::Failed, reason: "no such device".to_owned() })
        }
        Request::Trace { on: false, .. } => {
            tell.send(()).unwrap();
            Vec::new()
        }
        _ => Vec::new(),
    };
    let worker = scripted::worker("acme", &[1], refuses, || {});
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let path = directory.path().join("control.sock");
    let _server = Server::start(&path, Arc::new(Follows(Arc::clone(&worker)))).unwrap();
    let error = Client::connect(&path).unwrap().trace("disk").unwrap_err();
    assert!(error.to_string().contains("no such device"), "{error}");
    asked.recv_timeout(LIMIT).expect("whatever it has begun is ended");
    assert!(worker.traces.lock().unwrap().is_empty());
}

#[test]
fn a_worker_that_tells_of_what_nobody_follows_is_told_again_to_stop() {
    let (tell, asked) = channel();
    let (link, other) = Link::pair().unwrap();
    let hello = scripted::hello("acme");
    let worker =
        Worker::listen(link, hello, &[Minor(1)], Origin::default(), Arc::new(|_, _| {}), |_| {}).unwrap();
    let heard = other.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok(Some((request, _))) = heard.receive::<Request>() {
            drop(tell.send(request));
        }
    });
    // As if what it was told at the end had not reached it, twice.
    for _ in 0..2 {
        let deadline = Instant::now() + LIMIT;
        let told = loop {
            assert!(Instant::now() < deadline, "it tells on and on");
            other.send(&Report::Trace { minor: 1, records: vec![record(1)], lost: 0 }, &[]).unwrap();
            if let Ok(request) = asked.recv_timeout(Duration::from_millis(50)) {
                break request;
            }
        };
        assert_eq!(told, Request::Trace { call: 0, minor: 1, on: false });
    }
    assert!(!worker.is_lost());
}
