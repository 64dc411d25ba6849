//! Threads that run blocking system calls: the whole backend where io_uring is not to be had, and a helper for
//! the ioctls that io_uring can not do.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::operation::Call;
use crate::syscalls;
use crate::transfer::Transfer;
use crate::waker::Waker;

/// A system call to make. It owns everything that the call refers to.
#[derive(Debug)]
struct Job {
    key: u32,
    file: Arc<OwnedFd>,
    call: Call,
    transfer: Transfer,
}

/// A system call that was made.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Slot of its operation.
    pub(crate) key: u32,
    /// Bytes or an offset, or a negated errno.
    pub(crate) result: i64,
    /// The memory, which nobody refers to any longer.
    pub(crate) transfer: Transfer,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    finished: Vec<Finished>,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    waker: Arc<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock, so that a panic elsewhere does not spoil the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bounded number of threads. Dropping it drops what has not begun and awaits what has.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// The error of the first thread that could not be started; the others are stopped.
    pub(crate) fn new(threads: u32, waker: Arc<Waker>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), waker });
        let mut pool = Self { shared, threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name("lunbox-store".into());
            pool.threads.push(builder.spawn(move || work(&shared))?);
        }
        Ok(pool)
    }

    /// Hands a call to the threads. Does not block.
    pub(crate) fn start(&self, key: u32, file: &Arc<OwnedFd>, call: Call, transfer: Transfer) {
        let job = Job { key, file: Arc::clone(file), call, transfer };
        self.shared.lock().jobs.push_back(job);
        self.shared.work.notify_one();
    }

    /// Takes a call back that no thread has begun.
    pub(crate) fn cancel(&self, key: u32) -> Option<Transfer> {
        let mut state = self.shared.lock();
        let position = state.jobs.iter().position(|job| job.key == key)?;
        state.jobs.remove(position).map(|job| job.transfer)
    }

    /// Moves out what has ended since the last time.
    pub(crate) fn reap(&self, into: &mut Vec<Finished>) {
        into.append(&mut self.shared.lock().finished);
    }
}

fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.stop {
            return;
        }
        let Some(Job { key, file, call, mut transfer }) = state.jobs.pop_front() else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        let result = syscalls::run(&file, call, &mut transfer);
        state = shared.lock();
        state.finished.push(Finished { key, result, transfer });
        if state.finished.len() == 1 {
            drop(state);
            shared.waker.wake();
            state = shared.lock();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stop = true;
            state.jobs.clear();
        }
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a store thread has panicked");
            }
        }
    }
}
