//! Guests that import WASI get what is granted, wait no longer than they may, and lose their instance if they misuse
//! it; nobody else notices.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunbox_contract::{OpsResult, Outcome, Tag};
use lunbox_engine::{
    Component, Fault, GrantedDirectory, Handler, HandlerFactory as _, Limits, LoadError, SharedBuffers,
    WasiGrants, provides_wasi,
};
use lunbox_test_wasi as wasi;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::captured_log::capture;
use support::forge::Forged;
use support::{SIZE, assert_ended, config, engine, fresh_buffers, guests, load, read, serving};

const WALL: Duration = Duration::from_millis(100);
/// For a machine that has other things to do. All these guests would wait for an hour.
const SLACK: Duration = Duration::from_secs(10);

fn component() -> Component {
    engine().load(&guests::wasi()).unwrap()
}

/// Little wall time.
fn impatient() -> Limits {
    Limits { wall_per_call: WALL, ..Limits::default() }
}

/// Little CPU time, and much more wall time.
fn frugal() -> Limits {
    Limits { cpu_per_call: Duration::from_millis(20), wall_per_call: 6 * SLACK, ..Limits::default() }
}

/// Enough of everything.
fn generous() -> Limits {
    Limits { cpu_per_call: Duration::from_secs(10), wall_per_call: 6 * SLACK, ..Limits::default() }
}

fn trigger(handler: &mut dyn Handler, trigger: u64) -> Result<Outcome, Fault> {
    handler.submit_block(&read(trigger, wasi::trigger_offset(SIZE, trigger).unwrap()))
}

/// An instance made after a fault serves, and waits if that is short.
fn assert_serves(component: &Component) {
    let mut handler = serving(component, &generous());
    assert!(matches!(trigger(handler.as_mut(), wasi::TRIGGER_NAP), Ok(Outcome::Io(_))));
    assert!(matches!(handler.submit_block(&read(1, 0)), Ok(Outcome::Io(_))));
}

#[test]
fn the_host_knows_who_imports_wasi() {
    assert!(component().wasi());
    assert!(!engine().load(&guests::file()).unwrap().wasi());
}

#[test]
fn wasi_is_provided_by_package_and_version() {
    assert!(provides_wasi("wasi:io/poll@0.2.0") && provides_wasi("wasi:cli/stdout@0.2.12"));
    for other in ["wasi:io/poll@0.3.0", "wasi:io/poll", "wasi:http/types@0.2.6", "wasi:io", "x:io/poll@0.2.0"]
    {
        assert!(!provides_wasi(other), "{other}");
    }
}

#[test]
fn only_directories_are_granted() {
    let here = File::open(".").unwrap();
    let granted = GrantedDirectory::new(here.into(), "/data", true).unwrap();
    assert!(format!("{granted:?}").contains("/data"));
    let file = File::open("/proc/self/stat").unwrap();
    let error = GrantedDirectory::new(file.into(), "/data", true).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::ENOTDIR));
}

#[test]
fn start_up_code_counts_as_a_call() {
    let looping = Forged { import: Some("wasi:io/poll@0.2.0"), start_loops: true, ..Forged::default() };
    let loaded = load(&engine(), &looping.component());
    assert!(matches!(loaded, Err(LoadError::Fault(Fault::Deadline { .. }))), "{loaded:?}");
    let honest = Forged { import: Some("wasi:io/poll@0.2.0"), ..Forged::default() };
    assert!(load(&engine(), &honest.component()).unwrap().wasi());
}

#[test]
fn whoever_waits_too_long_is_ended() {
    let component = component();
    for bad in [wasi::TRIGGER_SLEEP, wasi::TRIGGER_POLL, wasi::TRIGGER_SLEEP_IN_RESUME] {
        let mut handler = serving(&component, &impatient());
        let start = Instant::now();
        let answer = match trigger(handler.as_mut(), bad) {
            Ok(Outcome::More(_)) => handler.resume(Tag(bad), &OpsResult::default()),
            other => other,
        };
        let waited = start.elapsed();
        assert!(matches!(answer, Err(Fault::WallTime { budget: WALL })), "{bad}: {answer:?}");
        assert!((WALL..WALL + SLACK).contains(&waited), "{bad}: {waited:?}");
        assert_ended(handler.as_mut());
        assert_serves(&component);
    }
}

#[test]
fn computing_counts_as_in_other_guests() {
    let component = component();
    for bad in [wasi::TRIGGER_LOOP, wasi::TRIGGER_BUSY_POLL] {
        let mut handler = serving(&component, &frugal());
        let answer = trigger(handler.as_mut(), bad);
        let Err(Fault::Deadline { spent, budget }) = answer else { panic!("{bad}: {answer:?}") };
        assert!(spent > budget && budget == Duration::from_millis(20), "{bad}: {spent:?}");
        assert_ended(handler.as_mut());
        assert_serves(&component);
    }
}

#[test]
fn a_wait_is_not_computing() {
    // Half a second of naps in all, and far more than the budget of one call.
    let mut handler = serving(&component(), &frugal());
    for _ in 0..250 {
        assert!(matches!(trigger(handler.as_mut(), wasi::TRIGGER_NAP), Ok(Outcome::Io(_))));
    }
}

#[test]
fn without_a_grant_there_is_nothing_to_reach() {
    let mut handler = serving(&component(), &generous());
    for asked in [wasi::TRIGGER_READ_INPUT, wasi::TRIGGER_LIST_DIRECTORIES, wasi::TRIGGER_SOCKET] {
        assert_eq!(trigger(handler.as_mut(), asked), Ok(Outcome::GOOD), "{asked}");
    }
    // None of the granted directory's triggers finds one.
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_READ_FILE), Ok(Outcome::INTERNAL));
}

#[test]
fn what_a_guest_asks_the_host_for_is_bounded() {
    let component = component();

    let mut handler = serving(&component, &generous());
    let answer = trigger(handler.as_mut(), wasi::TRIGGER_RANDOM);
    assert!(matches!(&answer, Err(Fault::Contract(why)) if why.contains("exceeds limit")), "{answer:?}");
    assert_ended(handler.as_mut());

    let mut handler = serving(&component, &Limits { wasi_resources: 64, ..generous() });
    let answer = trigger(handler.as_mut(), wasi::TRIGGER_RESOURCES);
    assert!(matches!(answer, Err(Fault::Memory { limit: 64, field: "wasi_resources", .. })), "{answer:?}");
    assert_ended(handler.as_mut());
    assert_serves(&component);
}

#[test]
fn exit_ends_the_instance_and_not_the_process() {
    let component = component();
    let mut handler = serving(&component, &generous());
    let answer = trigger(handler.as_mut(), wasi::TRIGGER_EXIT);
    assert!(matches!(&answer, Err(Fault::Trap { message }) if message.contains("exit")), "{answer:?}");
    assert_ended(handler.as_mut());
    assert_serves(&component);
}

#[test]
fn batches_are_answered_in_order() {
    let mut handler = serving(&component(), &generous());
    let mut outcomes = Vec::new();
    handler.submit_blocks(&[read(1, 0), read(2, 4096), read(3, 8192)], &mut outcomes).unwrap();
    let places: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Io(op) => op.store_offset,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places, [0, 4096, 8192]);
}

#[test]
fn random_bytes_reach_the_buffers() {
    let buffers = fresh_buffers();
    let shared: SharedBuffers = buffers.clone();
    let mut handler = component().instantiate("disk1", shared, &generous()).unwrap();
    handler.configure(&config()).unwrap().unwrap();
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_SMALL_RANDOM), Ok(Outcome::GOOD));
    let filled = buffers.borrow().buffers[0][..512].to_vec();
    assert!(filled.iter().filter(|byte| **byte != 0).count() > 256, "512 zeros are not random");
}

#[test]
fn a_flood_of_output_is_cut_and_counted() {
    let component = component();
    let limits = Limits { log_lines_per_second: 1, log_burst: 7, ..generous() };
    let lines = capture(|| {
        let mut handler = serving(&component, &limits);
        assert!(matches!(trigger(handler.as_mut(), wasi::TRIGGER_FLOOD_OUTPUT), Ok(Outcome::Io(_))));
    });
    assert_eq!(lines[0], (tracing::Level::INFO, "0123456789abcde device=\"disk1\"".to_owned()));
    let (reports, passed): (Vec<_>, Vec<_>) = lines.iter().partition(|(_, text)| text.contains("suppressed"));
    assert!((7..100).contains(&passed.len()), "{}", passed.len());
    let suppressed: usize = reports
        .iter()
        .map(|(_, text)| {
            text.split_once("suppressed=").unwrap().1.split(' ').next().unwrap().parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(suppressed + passed.len(), wasi::FLOOD_BYTES / 16);
}

#[test]
fn the_last_words_of_a_guest_are_logged() {
    let component = component();
    let lines = capture(|| {
        let mut handler = serving(&component, &generous());
        assert!(matches!(trigger(handler.as_mut(), wasi::TRIGGER_HALF_LINE), Err(Fault::Trap { .. })));
    });
    let last = (tracing::Level::WARN, format!("{} device=\"disk1\"", wasi::HALF_LINE));
    assert!(lines.contains(&last), "{lines:?}");
}

#[test]
fn neighbours_go_on_while_a_guest_sleeps() {
    let engine = engine();
    let bad = engine.load(&guests::wasi()).unwrap();
    let sleeping = AtomicBool::new(true);
    // A neighbour of each kind, on the same engine.
    let neighbours = [engine.load(&guests::file()).unwrap(), bad.clone()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut handler =
                serving(&bad, &Limits { wall_per_call: Duration::from_millis(400), ..Limits::default() });
            let answer = trigger(handler.as_mut(), wasi::TRIGGER_SLEEP);
            sleeping.store(false, Ordering::Release);
            assert!(matches!(answer, Err(Fault::WallTime { .. })));
        });
        for good in &neighbours {
            let sleeping = &sleeping;
            scope.spawn(move || {
                let mut handler = serving(good, &generous());
                let mut calls = 0_u32;
                while sleeping.load(Ordering::Acquire) {
                    assert!(matches!(handler.submit_block(&read(u64::from(calls), 0)), Ok(Outcome::Io(_))));
                    calls += 1;
                }
                // 400 ms are a hundred thousand calls on an idle machine.
                assert!(calls > 1000, "{calls} calls while another guest was sleeping");
            });
        }
    });
}

#[test]
fn a_granted_directory_is_reached_and_not_left() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("granted");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join(wasi::FILE), b"hello").unwrap();
    std::fs::write(directory.join(wasi::PARENT), b"not granted").unwrap();
    std::os::unix::fs::symlink(wasi::PARENT, directory.join(wasi::LINK)).unwrap();
    let granted = |read_only| {
        let opened = File::open(&directory).unwrap();
        let directories = vec![GrantedDirectory::new(opened.into(), "/data", read_only).unwrap()];
        component().with_grants(WasiGrants { directories })
    };

    let buffers = fresh_buffers();
    let shared: SharedBuffers = buffers.clone();
    let mut handler = granted(true).instantiate("disk1", shared, &generous()).unwrap();
    handler.configure(&config()).unwrap().unwrap();
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_READ_FILE), Ok(Outcome::GOOD));
    assert_eq!(&buffers.borrow().buffers[0][..5], b"hello");
    assert_eq!(
        trigger(handler.as_mut(), wasi::TRIGGER_LIST_DIRECTORIES),
        Ok(Outcome::INTERNAL),
        "there is one"
    );
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_LEAVE_DIRECTORY), Ok(Outcome::GOOD));
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_WRITE_FILE), Ok(Outcome::GOOD), "it is read-only");
    assert!(!directory.join("new").exists());

    let mut handler = serving(&granted(false), &generous());
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_LEAVE_DIRECTORY), Ok(Outcome::GOOD));
    assert_eq!(trigger(handler.as_mut(), wasi::TRIGGER_WRITE_FILE), Ok(Outcome::INTERNAL), "it is writable");
    assert!(directory.join("new").exists());
}

#[test]
fn a_file_operation_that_hangs_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join(wasi::PIPE);
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let opened = File::open(directory.path()).unwrap();
    let directories = vec![GrantedDirectory::new(opened.into(), "/data", true).unwrap()];
    let component = component().with_grants(WasiGrants { directories });
    let mut handler = serving(&component, &impatient());
    let start = Instant::now();
    // Nobody has it open for writing, so the kernel keeps the opening waiting.
    let answer = trigger(handler.as_mut(), wasi::TRIGGER_OPEN_PIPE);
    assert!(matches!(answer, Err(Fault::WallTime { budget: WALL })), "{answer:?}");
    assert!(start.elapsed() < WALL + SLACK);
    drop(handler);
    assert!(start.elapsed() < WALL + SLACK, "the end of an instance waits for nobody");
    assert_serves(&component);
    // Lets the thread go that hangs in the kernel.
    File::options().read(true).write(true).open(&pipe).unwrap();
}
