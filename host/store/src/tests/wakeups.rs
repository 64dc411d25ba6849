//! Sleeping and waking up.

use std::os::fd::AsFd;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::*;

on_both_backends! {
    a_watched_eventfd_wakes_from_another_thread
    readiness_is_reported_as_long_as_it_lasts
    a_hung_up_pipe_is_ready
    waiting_ends_when_the_time_is_up
    ready_files_are_seen_although_ends_are_waiting
    ends_are_seen_although_a_file_is_always_ready
    unwatched_descriptors_may_be_closed
    a_watched_file_is_closed_when_the_executor_is_gone
    system_calls_are_counted
}

fn eventfd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap()
}

/// Waits until a watched file is ready.
fn next_ready(executor: &mut Executor) -> u32 {
    let start = Instant::now();
    loop {
        if let Some(key) = executor.next_ready() {
            return key;
        }
        assert!(start.elapsed() < LIMIT, "nothing became ready");
        executor.wait(Some(LIMIT)).unwrap();
    }
}

fn a_watched_eventfd_wakes_from_another_thread(backend: Backend) {
    let mut rig = Rig::new(backend);
    let (idle, busy) = (eventfd(), Arc::new(eventfd()));
    rig.executor.watch(idle.as_fd(), 3).unwrap();
    rig.executor.watch(busy.as_fd(), 4).unwrap();
    for _ in 0..100 {
        let other = Arc::clone(&busy);
        let thread = std::thread::spawn(move || other.write(1).unwrap());
        assert_eq!(next_ready(&mut rig.executor), 4);
        assert_eq!(busy.read(), Ok(1));
        thread.join().unwrap();
    }
    rig.executor.wait(Some(Duration::ZERO)).unwrap();
    // The last readiness may have been seen once more before the counter was read, the idle one never.
    assert_ne!(rig.executor.next_ready(), Some(3));
}

fn readiness_is_reported_as_long_as_it_lasts(backend: Backend) {
    let mut rig = Rig::new(backend);
    let fd = eventfd();
    rig.executor.watch(fd.as_fd(), 9).unwrap();
    fd.write(1).unwrap();
    for _ in 0..3 {
        rig.executor.wait(Some(LIMIT)).unwrap();
        assert_eq!(rig.executor.next_ready(), Some(9));
        assert_eq!(rig.executor.next_ready(), None);
    }
    fd.read().unwrap();
    rig.executor.wait(Some(Duration::from_millis(5))).unwrap();
    assert_eq!(rig.executor.next_ready(), None);
}

fn a_hung_up_pipe_is_ready(backend: Backend) {
    let mut rig = Rig::new(backend);
    let (read_end, write_end) = nix::unistd::pipe().unwrap();
    rig.executor.watch(read_end.as_fd(), 1).unwrap();
    rig.executor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(rig.executor.next_ready(), None);
    drop(write_end);
    assert_eq!(next_ready(&mut rig.executor), 1);
}

fn waiting_ends_when_the_time_is_up(backend: Backend) {
    let mut rig = Rig::new(backend);
    let start = Instant::now();
    rig.executor.wait(Some(Duration::from_millis(30))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    rig.executor.wait(Some(Duration::ZERO)).unwrap();
    // A time that no clock reaches is waited for like any other.
    let fd = eventfd();
    fd.write(1).unwrap();
    rig.executor.watch(fd.as_fd(), 5).unwrap();
    rig.executor.wait(Some(Duration::MAX)).unwrap();
    assert_eq!(rig.executor.next_ready(), Some(5));
}

fn ready_files_are_seen_although_ends_are_waiting(backend: Backend) {
    let mut rig = Rig::new(backend);
    let fd = eventfd();
    rig.executor.watch(fd.as_fd(), 2).unwrap();
    fd.write(1).unwrap();
    let store = rig.executor.add(Store::null(10));
    rig.submit(1, store, WRITE, 0, &[extent(0, 10)]);
    let start = Instant::now();
    loop {
        rig.executor.wait(None).unwrap();
        if let Some(key) = rig.executor.next_ready() {
            assert_eq!(key, 2);
            break;
        }
        assert!(start.elapsed() < LIMIT, "ends that nobody takes hide a ready file");
    }
    assert_eq!(rig.executor.next_done().map(|done| done.token), Some(Token(1)));
}

fn ends_are_seen_although_a_file_is_always_ready(backend: Backend) {
    let mut rig = Rig::new(backend);
    let fd = eventfd();
    rig.executor.watch(fd.as_fd(), 2).unwrap();
    fd.write(1).unwrap();
    let file = scratch(b"abc");
    let store = rig.file(&file);
    rig.submit(1, store, READ, 0, &[extent(0, 3)]);
    let start = Instant::now();
    while rig.executor.next_done().is_none() {
        assert!(start.elapsed() < LIMIT, "a ready file hides the end of an operation");
        rig.executor.wait(None).unwrap();
        rig.executor.next_ready();
    }
    assert_eq!(rig.bytes(0, 3), b"abc");
}

fn unwatched_descriptors_may_be_closed(backend: Backend) {
    let mut rig = Rig::new(backend);
    let (read_end, write_end) = nix::unistd::pipe().unwrap();
    rig.executor.watch(read_end.as_fd(), 6).unwrap();
    rig.executor.wait(Some(Duration::ZERO)).unwrap();
    drop(read_end);
    // The executor's duplicate keeps the pipe alive, and gives it up when the executor goes.
    assert_eq!(nix::unistd::write(&write_end, b"x"), Ok(1));
    assert_eq!(next_ready(&mut rig.executor), 6);
    drop(rig);
    assert_eq!(nix::unistd::write(&write_end, b"x"), Err(nix::Error::EPIPE));
}

fn a_watched_file_is_closed_when_the_executor_is_gone(backend: Backend) {
    // A device that only one may open would stay busy if a poll under way kept it open for longer.
    for _ in 0..20 {
        let mut rig = Rig::new(backend);
        let (read_end, write_end) = nix::unistd::pipe().unwrap();
        rig.executor.watch(read_end.as_fd(), 6).unwrap();
        drop(read_end);
        rig.executor.wait(Some(Duration::ZERO)).unwrap();
        drop(rig);
        assert_eq!(nix::unistd::write(&write_end, b"x"), Err(nix::Error::EPIPE));
    }
}

fn system_calls_are_counted(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(&[1; 8192]);
    let store = rig.file(&file);
    rig.scattered(store, READ, 0, &[extent(0, 4096)]).unwrap();
    let before = rig.executor.syscalls();
    let operations: u64 = 32;
    for n in 0..operations {
        rig.submit(n, store, READ, 4096, &[extent(n * 4096, 4096)]);
    }
    for _ in 0..operations {
        assert_eq!(next(&mut rig.executor).result, Ok(4096));
    }
    let made = rig.executor.syscalls() - before;
    match backend {
        Backend::Uring => assert!(made >= 1 && made <= operations / 4, "{made}: a batch is one system call"),
        _ => assert!(made > operations, "{made}: one system call for each operation and those of waiting"),
    }
}
