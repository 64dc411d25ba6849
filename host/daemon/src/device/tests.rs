//! Devices on a worker that says what the test wants it to say.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use lunbox_grant::{Access, Claims, Locator, Wanted};
use lunbox_wire::{Handler, Hello, Limits, Link, Notice as Said, Report, RingKind, VERSION};

use super::*;
use crate::workers::Spawner;
use crate::workers::spawn::Place;

const PATIENCE: Duration = Duration::from_millis(10);

/// How the worker answers to a request to stop.
#[derive(Clone, Copy)]
enum Stop {
    Done,
    /// It says that the loop has ended, and then that it was done as it should.
    EndsAndDone,
    Refused(Kind),
    /// The worker dies over it.
    Dies,
}

#[derive(Default)]
struct Script {
    /// What was asked, in order.
    log: Mutex<Vec<String>>,
    /// Answers to requests to stop; behind the last one they are all done.
    stops: Mutex<VecDeque<Stop>>,
    /// The same for requests to switch the write cache.
    switches: Mutex<VecDeque<Stop>>,
}

impl Script {
    fn serve(&self, link: &Link, tenant: String) {
        let hello = Hello {
            version: VERSION,
            build: "test".to_owned(),
            tenant,
            pid: 1,
            jail: Vec::new(),
            devices: 0,
        };
        let say = |report: &Report| drop(link.send(report, &[]));
        while let Ok(Some((request, _))) = link.receive::<Request>() {
            let said = match &request {
                Request::Start { .. } => "start".to_owned(),
                Request::Stop { how, .. } => format!("stop {how:?}"),
                Request::WriteCache { on, .. } => format!("write cache {on}"),
                Request::Leave => "leave".to_owned(),
                _ => String::new(),
            };
            self.log.lock().unwrap().extend(Some(said).filter(|said| !said.is_empty()));
            match request {
                Request::Hello { .. } => say(&Report::Hello(hello.clone())),
                Request::Start { call, .. } => say(&Report::Done { call }),
                Request::Stop { call, minor, .. } => {
                    match self.stops.lock().unwrap().pop_front().unwrap_or(Stop::Done) {
                        Stop::Done => {}
                        Stop::EndsAndDone => {
                            say(&Report::Notice { minor, notice: Said::Ended("broken".to_owned()) });
                        }
                        Stop::Refused(kind) => {
                            say(&Report::Refused { call, kind, reason: "as it was told".to_owned() });
                            continue;
                        }
                        Stop::Dies => return,
                    }
                    say(&Report::Done { call });
                }
                Request::WriteCache { call, .. } => {
                    match self.switches.lock().unwrap().pop_front().unwrap_or(Stop::Done) {
                        Stop::Done | Stop::EndsAndDone => say(&Report::Done { call }),
                        Stop::Refused(kind) => {
                            say(&Report::Refused { call, kind, reason: "as it was told".to_owned() });
                        }
                        Stop::Dies => return,
                    }
                }
                _ => {}
            }
        }
    }
}

struct World {
    root: tempfile::TempDir,
    script: Arc<Script>,
    pool: Arc<Pool>,
    claims: Arc<Claims>,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        let worker = Arc::clone(&script);
        let spawner = Spawner {
            place: Place::Thread(Arc::new(move |link, tenant| worker.serve(&link, tenant))),
            sockets: root.path().to_owned(),
            build: "test".to_owned(),
            level: "info".to_owned(),
        };
        let pool = Pool::new(spawner, Arc::new(|_, _| {}), Journal::default());
        fs::write(root.path().join("disk"), [0; 4096]).unwrap();
        Self { root, script, pool, claims: Arc::default() }
    }

    fn answers(&self, stops: &[Stop]) {
        self.script.stops.lock().unwrap().extend(stops);
    }

    fn log(&self) -> Vec<String> {
        self.script.log.lock().unwrap().clone()
    }

    fn store(&self) -> Result<Master, lunbox_grant::GrantError> {
        let locator: Locator = self.root.path().join("disk").to_str().unwrap().parse().unwrap();
        let wanted = Wanted {
            device: "user_0/disk",
            option: "",
            locator: &locator,
            access: Access::Existing,
            roots: &[],
            shared: false,
            memory_bytes: 0,
        };
        Master::open(&wanted, &self.claims)
    }

    fn device(&self, stores: Vec<Master>) -> Device {
        let served = Served {
            minor: 3,
            id: 1,
            name: "tcm-user/0/disk/file//x".to_owned(),
            ring: RingKind::Emulated,
            map_bytes: 4096,
            size: 4096,
            block_size: 512,
            max_transfer: 8,
            read_only: false,
            handler: Handler {
                subtype: "file".to_owned(),
                name: "File".to_owned(),
                version: "0".to_owned(),
                digest: "0".repeat(64),
            },
            stores: Vec::new(),
            options: Vec::new(),
            limits: Limits {
                memory_bytes: 1 << 20,
                table_elements: 1 << 10,
                cpu_per_call_us: 1000,
                wall_per_call_ms: 1000,
                hostcall_bytes: 1 << 20,
                log_lines_per_second: 10,
            },
            command_timeout_s: 0,
            write_cache: None,
            size_chosen: false,
            modes: lunbox_wire::Modes::default(),
        };
        let foundation = Foundation {
            ring: Vec::new(),
            container: Ok(Arc::new(File::open("/dev/null").unwrap())),
            stores,
            worker: "default".to_owned(),
            confines: Confines::default(),
        };
        Device::new(served, foundation, &Arc::default(), &self.pool, &Journal::default())
    }

    /// A device that serves and has no store: no lock tells anything of it.
    fn serving(&self) -> Device {
        let mut device = self.device(Vec::new());
        device.launch(&Cancel::default()).unwrap();
        assert_eq!(device.condition(), Condition::Serving);
        device
    }
}

#[test]
fn a_loop_that_refuses_to_be_handed_over_goes_on_and_is_asked_itself_when_it_is_to_end() {
    let world = World::new();
    let mut device = world.serving();
    world.answers(&[Stop::Refused(Kind::Unsupported)]);
    device.end(Ending::HandOver, PATIENCE).unwrap_err();
    assert_eq!(device.condition(), Condition::Serving);
    device.end(Ending::Cancel, PATIENCE).unwrap();
    assert_eq!(world.log(), ["start", "stop HandOver", "stop Cancel"]);
}

#[test]
fn the_fence_opens_only_when_the_old_loop_has_ended_whatever_the_stores_are() {
    let world = World::new();
    let mut device = world.serving();
    let busy = Stop::Refused(Kind::StoreBusy);
    world.answers(&[busy, busy, Stop::Refused(Kind::Failed), busy]);
    device.end(Ending::Cancel, PATIENCE).unwrap_err();
    assert_eq!(device.condition(), Condition::Lost);
    device.fence(&Cancel::default()).unwrap();
    device.launch(&Cancel::default()).unwrap();
    let mut expected = vec!["start"];
    expected.extend(["stop Cancel"; 5]);
    expected.push("start");
    assert_eq!(world.log(), expected);
    assert_eq!((device.record.restarts(), device.record.waits()), (1, 1));
    device.end(Ending::HandOver, PATIENCE).unwrap();
    device.launch(&Cancel::default()).unwrap();
    assert_eq!(
        (device.record.restarts(), device.record.waits()),
        (1, 1),
        "it was moved, and nothing was in its way"
    );
}

#[test]
fn a_fence_before_an_old_loop_that_goes_on_ends_at_its_limit_and_when_it_is_given_up() {
    let world = World::new();
    let mut device = world.serving();
    world.answers(&[Stop::Refused(Kind::StoreBusy); 500]);
    device.end(Ending::Cancel, PATIENCE).unwrap_err();
    let limited = device.fence_within(Some(PATIENCE), &Cancel::default());
    let Err(Setback::Refused(reason)) = limited else { panic!("{limited:?}") };
    assert!(reason.contains("has not ended: as it was told"), "{reason}");
    let cancel = Cancel::default();
    let asked = world.log().len();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| device.launch(&cancel));
        while world.log().len() < asked + 2 {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert_eq!(waiting.join().unwrap(), Err(Setback::Cancelled));
    });
    assert_eq!(world.log().iter().filter(|said| *said == "start").count(), 1);
}

#[test]
fn a_hand_over_by_a_loop_that_broke_or_a_worker_that_died_is_none() {
    for stop in [Stop::EndsAndDone, Stop::Refused(Kind::Gone), Stop::Dies] {
        let world = World::new();
        let mut device = world.serving();
        world.answers(&[stop]);
        device.end(Ending::HandOver, PATIENCE).unwrap_err();
        assert_eq!(device.condition(), Condition::Lost, "it must be brought back with a reset");
        // And then it can be.
        device.end(Ending::Cancel, PATIENCE).unwrap();
        device.fence(&Cancel::default()).unwrap();
        device.launch(&Cancel::default()).unwrap();
        assert_eq!(world.log().last().unwrap(), "start");
    }
}

#[test]
fn a_device_that_must_not_be_started_anew_asks_for_no_worker() {
    let world = World::new();
    let mut device = world.device(Vec::new());
    device.foundation.container = Err("its handler is not installed".to_owned());
    let refused = device.launch(&Cancel::default()).unwrap_err().to_string();
    assert_eq!(refused, "user_0/disk: its handler is not installed");
    assert!(world.pool.alive().is_empty());
}

#[test]
fn a_file_with_a_lock_is_given_to_others_when_a_loop_could_not_be_stopped_and_one_without_is_not() {
    let world = World::new();
    let busy = [Stop::Refused(Kind::StoreBusy)];
    let mut device = world.device(vec![world.store().unwrap()]);
    device.launch(&Cancel::default()).unwrap();
    world.store().expect_err("it is in use");
    world.answers(&busy);
    device.stop(PATIENCE).unwrap_err();
    let store = world.store().expect("the lock keeps others away as long as there are operations");
    // Nobody has seen a lock on this one.
    let mut device = world.device(vec![store]);
    device.launch(&Cancel::default()).unwrap();
    device.locked.clear();
    world.answers(&busy);
    device.stop(PATIENCE).unwrap_err();
    world.store().expect_err("operations may be left");
}

#[test]
fn a_stop_of_a_device_that_does_not_serve_tells_of_an_old_loop_that_has_not_ended() {
    let world = World::new();
    let busy = Stop::Refused(Kind::StoreBusy);
    for (stops, ended) in [(&[busy, busy][..], false), (&[busy], true)] {
        let mut device = world.serving();
        world.answers(stops);
        device.end(Ending::Cancel, PATIENCE).unwrap_err();
        assert_eq!(device.stop(PATIENCE).is_ok(), ended);
    }
}

#[test]
fn a_device_for_which_no_worker_can_be_had_is_told_before_its_loop_is_asked_anything() {
    let world = World::new();
    let mut device = world.serving();
    device.make_ready(&Cancel::default()).unwrap();
    let spawner = Spawner {
        place: Place::Process { executable: "/no/such/program".into() },
        sockets: world.root.path().to_owned(),
        build: "next".to_owned(),
        level: "info".to_owned(),
    };
    device.pool = Pool::new(spawner, Arc::new(|_, _| {}), Journal::default());
    let refused = device.make_ready(&Cancel::default());
    assert!(matches!(&refused, Err(Setback::Refused(reason)) if reason.contains("could not be started")));
    device.foundation.container = Err("its handler is not installed".to_owned());
    device.make_ready(&Cancel::default()).unwrap_err();
    assert_eq!((device.condition(), world.log()), (Condition::Serving, vec!["start".to_owned()]));
}

#[test]
fn a_look_at_the_locks_of_a_device_that_runs_takes_none_away() {
    let world = World::new();
    let mut device = world.device(vec![world.store().unwrap()]);
    device.fence(&Cancel::default()).unwrap();
    device.make_ready(&Cancel::default()).unwrap();
    // Whoever serves it has it still.
    let look = Patience { limit: Some(Duration::ZERO), cancel: None, waiting: None };
    device.foundation.stores[0].describe(&look).unwrap_err();
}

#[test]
fn a_worker_of_one_device_alone_leaves_also_when_its_loop_could_not_be_stopped() {
    let world = World::new();
    let mut device = world.device(Vec::new());
    device.foundation.worker = format!("default{}3", crate::workers::spawn::OWN_WORKER);
    device.launch(&Cancel::default()).unwrap();
    let busy = Stop::Refused(Kind::StoreBusy);
    world.answers(&[busy, busy]);
    device.stop(PATIENCE).unwrap_err();
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.log().last().is_none_or(|said| said != "leave") {
        assert!(Instant::now() < deadline, "{:?}", world.log());
        std::thread::yield_now();
    }
}

#[test]
fn a_size_that_the_handler_found_is_what_it_is_started_with_the_next_time() {
    let world = World::new();
    let mut device = world.serving();
    assert_eq!(device.accept_size(8192), Ok(true));
    assert_eq!(device.accept_size(8192), Ok(false));
    for bytes in [0, 100] {
        let reason = device.accept_size(bytes).unwrap_err();
        assert!(reason.contains("block size of 512"), "{reason}");
    }
    let served = device.record.device();
    assert_eq!((served.size, served.size_chosen), (8192, true));
    // What is in force already is asked of nobody.
    device.change(&Change::Size(8192)).unwrap();
    assert_eq!(world.log(), ["start"]);
}

#[test]
fn a_write_cache_that_may_have_been_switched_off_is_off_in_the_next_loop() {
    for (answer, on, next) in [
        (Stop::Done, false, Some(false)),
        (Stop::Dies, false, Some(false)),
        // It was not done, or the safe side is the one that it is on.
        (Stop::Refused(Kind::TimedOut), false, None),
        (Stop::Dies, true, None),
    ] {
        let world = World::new();
        let mut device = world.serving().with_write_cache(Some(!on));
        world.script.switches.lock().unwrap().push_back(answer);
        let done = device.change(&Change::WriteCache(on));
        assert_eq!(done.is_ok(), matches!(answer, Stop::Done), "{done:?}");
        assert_eq!(device.record.device().write_cache, next);
        assert_eq!(world.log().last().unwrap(), &format!("write cache {on}"));
    }
}

/// What is logged meanwhile.
fn logged(body: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, body);
    let text = lines.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_zero_that_is_no_change_tells_once_how_to_switch_the_write_cache_off() {
    let world = World::new();
    let mut device = world.serving().with_write_cache(Some(false));
    let off = Change::WriteCache(false);
    let said = logged(|| {
        device.change(&off).unwrap();
        device.change(&off).unwrap();
    });
    assert_eq!(said.matches("write 1, then 0").count(), 1, "{said}");
    assert_eq!(world.log(), ["start"], "nobody is asked");
    // As it says.
    let said = logged(|| {
        for on in [true, false, false] {
            device.change(&Change::WriteCache(on)).unwrap();
        }
    });
    assert!(!said.contains("nothing changes"), "{said}");
    assert_eq!(world.log(), ["start", "write cache true", "write cache false"]);
    assert_eq!(device.record.device().write_cache, Some(false));
    // It is off, and that is no news either.
    device.told_no_change = false;
    assert_eq!(logged(|| device.change(&off).unwrap()), "");
}
