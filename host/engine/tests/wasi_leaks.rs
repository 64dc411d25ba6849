//! A guest that misuses WASI leaves nothing behind. Alone in its process: it counts threads and descriptors.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use lunbox_engine::{Component, Fault, GrantedDirectory, Limits, WasiGrants};
use lunbox_test_wasi as wasi;
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::{SIZE, engine, guests, read, serving};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn provoke(component: &Component, trigger: u64) {
    let limits = Limits { wall_per_call: Duration::from_millis(5), ..Limits::default() };
    let mut handler = serving(component, &limits);
    let answer = handler.submit_block(&read(trigger, wasi::trigger_offset(SIZE, trigger).unwrap()));
    assert!(matches!(answer, Err(Fault::WallTime { .. } | Fault::Memory { .. })), "{answer:?}");
}

#[test]
fn a_hundred_faults_leave_no_thread_and_no_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join(wasi::PIPE);
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let opened = File::open(directory.path()).unwrap();
    let directories = vec![GrantedDirectory::new(opened.into(), "/data", true).unwrap()];
    let component = engine().load(&guests::wasi()).unwrap().with_grants(WasiGrants { directories });
    // Whatever is made once is made now.
    provoke(&component, wasi::TRIGGER_SLEEP);
    let before = (threads(), descriptors());

    for _ in 0..32 {
        provoke(&component, wasi::TRIGGER_SLEEP);
        provoke(&component, wasi::TRIGGER_POLL);
        provoke(&component, wasi::TRIGGER_RESOURCES);
    }
    assert_eq!((threads(), descriptors()), before);

    // Four that hang in the kernel: their threads stay as long as that takes, and no longer.
    for _ in 0..4 {
        provoke(&component, wasi::TRIGGER_OPEN_PIPE);
    }
    let hanging = threads();
    assert!((before.0 + 1..=before.0 + 4).contains(&hanging), "{hanging} threads, {} before", before.0);
    let writer = File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(&pipe).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while (threads(), descriptors() - 1) != before {
        assert!(Instant::now() < deadline, "{} threads, {} descriptors", threads(), descriptors());
        std::thread::yield_now();
    }
    drop(writer);
}
