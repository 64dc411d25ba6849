//! The process that serves the store and is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_memory::{Extent, Mapping};
use lunbox_store::{Backend, Executor, FileOptions, Kind, Options, Request, Store, Target, Token};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::uio::pwrite;

use crate::{DEAD, TOO_LONG};

/// The argument that makes this program the child.
pub const WORD: &str = "serve-and-be-killed";
/// Bytes of the store.
pub const BYTES: u64 = 4 << 20;
/// Bytes of one write.
const ONE: u64 = 128 << 10;

/// What the child does with its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Nothing.
    Idle,
    /// Direct writes all over it by io_uring, as device loops do.
    Ring,
    /// One direct write in a plain system call.
    Call,
    /// Writes by io_uring that the page cache would take.
    Buffered,
}

/// A running child.
pub struct Child {
    process: std::cell::RefCell<std::process::Child>,
}

impl Child {
    /// Starts one. When this returns, its operations are in flight, or the test fails.
    pub fn start(how: How, store: OwnedFd) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([WORD, &format!("{how:?}")])
            .stdin(Stdio::from(store))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "in flight\n");
        let child = Self { process: process.into() };
        if how == How::Call {
            child.wait_until_blocked();
        }
        child
    }

    /// Until the process waits for its system call to end and can not even be killed.
    fn wait_until_blocked(&self) {
        let path = format!("/proc/{}/stat", self.process.borrow().id());
        let deadline = Instant::now() + TOO_LONG;
        loop {
            let stat = std::fs::read_to_string(&path).unwrap();
            let state = stat.rsplit_once(')').unwrap().1.trim_start().chars().next();
            if state == Some('D') {
                return;
            }
            assert!(Instant::now() < deadline, "the write does not stall: {stat}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it. It may go on existing until its operations have ended.
    pub fn kill(&self) {
        self.process.borrow_mut().kill().unwrap();
    }

    /// Waits until nothing is left of it.
    pub fn reap(self) {
        let status = self.process.borrow_mut().wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Not waited for: after a failure its store may stall still. Once reaped, this does nothing.
        let _ = self.process.get_mut().kill();
    }
}

/// Writes `byte` to the first so many bytes.
pub fn write(fd: &OwnedFd, length: usize, byte: u8) {
    let data = vec![byte; length];
    let mut done = 0;
    while done < length {
        done += pwrite(fd, &data[done..], i64::try_from(done).unwrap()).unwrap();
    }
    nix::unistd::fsync(fd).unwrap();
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().unwrap();
}

/// The child's whole life. It never ends by itself, but for failures.
pub fn run(how: &str) -> ExitCode {
    let store = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    match how {
        "Idle" => {
            say("in flight");
            loop {
                std::thread::park();
            }
        }
        "Ring" => by_ring(store, true),
        "Buffered" => by_ring(store, false),
        "Call" => {
            direct(&store);
            let memory = pages();
            let mut data = vec![0; usize::try_from(2 * ONE).unwrap()];
            memory.copy_out(0, &mut data).unwrap();
            let page = 4096 - data.as_ptr().addr() % 4096;
            say("in flight");
            pwrite(&store, &data[page..page + usize::try_from(ONE).unwrap()], 0).unwrap();
        }
        other => eprintln!("{other} is nothing to do"),
    }
    // The store did not stall.
    ExitCode::FAILURE
}

fn direct(store: &OwnedFd) {
    let flags = OFlag::from_bits_retain(fcntl(store, FcntlArg::F_GETFL).unwrap());
    fcntl(store, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT)).unwrap();
}

fn pages() -> Mapping {
    let memory = Mapping::anonymous(usize::try_from(BYTES).unwrap()).unwrap();
    memory.copy_in(0, &vec![DEAD; usize::try_from(BYTES).unwrap()]).unwrap();
    memory
}

fn by_ring(fd: OwnedFd, is_direct: bool) {
    if is_direct {
        direct(&fd);
    }
    let options = Options { backend: Backend::Uring, ..Options::default() };
    let mut executor = Executor::new(options).unwrap();
    let region = executor.register(Arc::new(pages()));
    let store = executor.add(Store::file(fd, FileOptions::default()).unwrap());
    for number in 0..BYTES / ONE {
        let offset = number * ONE;
        let extents = [Extent { offset, length: ONE }];
        let target = Target::Region { region, extents: &extents, skip: 0 };
        let kind = Kind::Write { durable: false };
        executor.submit(Token(number), Request { store, kind, offset, length: ONE, target });
    }
    // Gives them to the kernel.
    executor.wait(Some(Duration::ZERO)).unwrap();
    say("in flight");
    while executor.in_flight() > 0 {
        executor.wait(None).unwrap();
        while executor.next_done().is_some() {}
    }
}
