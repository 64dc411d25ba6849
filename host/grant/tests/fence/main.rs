//! The fence against real operations that outlive the process that started them.
//!
//! A store is made whose writes stall in the kernel: a loop device on a file of a file system that is frozen. A process
//! writes to it and is killed. Until the store answers, no successor may get past the fence; from then on, nothing
//! of the dead process may change the store any more. Needs root and loop devices; says so where there are none.
//!
//! Not libtest: the processes that are killed are this program again, with a store as their standard input.

#![allow(clippy::unwrap_used, reason = "a test, though not of libtest")]

mod child;
mod stall;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunbox_grant::{
    Access, Blocker, Claims, FenceError, Fenced, GrantError, Locator, Master, Patience, Wait, Wanted,
};

use child::{Child, How};
use stall::Stall;

/// What the disk holds before, what the dead process writes, and what its successor writes.
const BEFORE: u8 = 0x11;
const DEAD: u8 = 0xdd;
const SUCCESSOR: u8 = 0x55;

/// Longer than an operation that is only slow, and than all retries of the fence.
const HELD_FOR: Duration = Duration::from_millis(300);
/// After which the machine is stuck and the test fails.
const TOO_LONG: Duration = Duration::from_secs(60);

/// Who may use the store.
#[derive(Clone, Copy, Debug)]
enum Role {
    Sole,
    Shared,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, how] = arguments.as_slice()
        && word == child::WORD
    {
        return child::run(how);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("fence: test");
        return ExitCode::SUCCESS;
    }
    match std::panic::catch_unwind(all) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn all() {
    killed_without_anything_in_flight();
    println!("fence: killed without anything in flight ... ok");
    if let Err(reason) = stall::possible() {
        println!("fence: NOT RUN on a store that stalls: {reason}");
        return;
    }
    for (how, role) in [
        (How::Ring, Role::Sole),
        (How::Ring, Role::Shared),
        (How::Call, Role::Sole),
        (How::Call, Role::Shared),
    ] {
        writes_in_flight_land_before_the_fence_opens(how, role);
        println!("fence: {how:?} {role:?}, disk that stalls ... ok");
    }
    buffered_writes_to_a_frozen_file_system();
    println!("fence: buffered writes, frozen file system ... ok");
    a_wait_is_given_up_while_the_store_stalls();
    println!("fence: wait given up ... ok");
    another_disk_under_the_same_number_is_refused();
    println!("fence: another disk under the same number ... ok");
}

fn master(path: &str, role: Role) -> Master {
    let locator = Locator::Path(path.to_owned());
    let wanted = Wanted {
        device: "tcm-user/0/fence",
        option: "path",
        locator: &locator,
        access: Access::Existing,
        roots: &[],
        shared: matches!(role, Role::Shared),
        memory_bytes: 0,
    };
    Master::open(&wanted, &Arc::new(Claims::default())).unwrap()
}

fn describe(master: &Master) -> OwnedFd {
    let description = master.describe(&Patience::limited(TOO_LONG)).unwrap();
    assert_eq!(description.fenced, Fenced::Yes);
    description.fd.unwrap()
}

fn assert_held(master: &Master) {
    match master.describe(&Patience::limited(HELD_FOR)) {
        Err(FenceError::Held { blocker: Blocker::Predecessor, waited, .. }) => assert!(waited >= HELD_FOR),
        other => panic!("operations are in flight, and the fence says {other:?}"),
    }
}

fn killed_without_anything_in_flight() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(child::BYTES).unwrap();
    let master = master(file.path().to_str().unwrap(), Role::Sole);
    let child = Child::start(How::Idle, describe(&master));
    assert_held(&master);
    child.kill();
    // Not even waited for.
    drop(describe(&master));
    child.reap();
}

/// The dead process's writes reach the disk after its death: so the danger is real. They do before the fence opens: so
/// the fence holds.
fn writes_in_flight_land_before_the_fence_opens(how: How, role: Role) {
    let mut stall = Stall::new(BEFORE);
    let master = master(stall.disk(), role);
    stall.freeze();
    let child = Child::start(how, describe(&master));
    child.kill();
    assert_held(&master);
    assert!(stall.contents().iter().all(|&byte| byte == BEFORE), "the store does not stall");

    let waits = Cell::new(0);
    let patience = Patience {
        limit: Some(TOO_LONG),
        waiting: Some(&|wait: &Wait<'_>| {
            assert_eq!(wait.blocker, Blocker::Predecessor);
            waits.set(waits.get() + 1);
            stall.thaw();
        }),
        ..Patience::default()
    };
    let description = master.describe(&patience).unwrap();
    assert_eq!((waits.get(), description.fenced), (1, Fenced::Yes));
    let seen = stall.contents();
    let landed = seen.iter().filter(|&&byte| byte == DEAD).count();
    assert!(landed > 0, "nothing was in flight when the process was killed");
    assert!(seen.iter().all(|&byte| byte == DEAD || byte == BEFORE));

    // The successor's data stays, and so does what it did not write.
    let written = seen.len() / 2;
    child::write(&description.fd.unwrap(), written, SUCCESSOR);
    child.reap();
    stall.flush();
    let after = stall.contents();
    assert!(
        after[..written].iter().all(|&byte| byte == SUCCESSOR),
        "a dead process wrote over its successor"
    );
    assert!(after[written..] == seen[written..], "a dead process wrote after the fence had opened");
}

/// What the page cache takes stalls in front of it, so that the killed process may write nothing at all; but nothing
/// comes later.
fn buffered_writes_to_a_frozen_file_system() {
    let mut stall = Stall::new(BEFORE);
    let master = master(stall.file(), Role::Sole);
    stall.freeze();
    let child = Child::start(How::Buffered, describe(&master));
    child.kill();
    assert_held(&master);
    assert!(stall.contents().iter().all(|&byte| byte == BEFORE), "the store does not stall");
    stall.thaw();
    let description = describe(&master);
    let seen = stall.contents();
    child.reap();
    stall.flush();
    assert!(stall.contents() == seen, "a dead process wrote after the fence had opened");
    drop(description);
}

fn a_wait_is_given_up_while_the_store_stalls() {
    let mut stall = Stall::new(BEFORE);
    let master = master(stall.disk(), Role::Sole);
    stall.freeze();
    let child = Child::start(How::Ring, describe(&master));
    child.kill();
    let cancel = AtomicBool::new(false);
    let began = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let patience = Patience {
                waiting: Some(&|_: &Wait<'_>| began.store(true, Ordering::Release)),
                ..Patience::cancelled_by(&cancel)
            };
            master.describe(&patience)
        });
        let deadline = Instant::now() + TOO_LONG;
        while !began.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline && !waiter.is_finished(), "nothing is waited for");
            std::thread::yield_now();
        }
        cancel.store(true, Ordering::Release);
        let error = waiter.join().unwrap().unwrap_err();
        assert!(matches!(error, FenceError::Cancelled { blocker: Blocker::Predecessor, .. }), "{error}");
    });
    // What was given up left nothing behind.
    stall.thaw();
    drop(describe(&master));
    child.reap();
}

fn another_disk_under_the_same_number_is_refused() {
    let stall = Stall::new(BEFORE);
    let master = master(stall.disk(), Role::Sole);
    assert_eq!(master.size(), Some(child::BYTES));
    drop(describe(&master));
    stall.replace_disk();
    match master.describe(&Patience::limited(TOO_LONG)) {
        Err(FenceError::Open(error @ GrantError::Replaced { .. })) => {
            assert!(error.to_string().contains("another disk"), "{error}");
        }
        other => panic!("the disk is another one, and yet: {other:?}"),
    }
}
