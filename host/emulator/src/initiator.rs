//! A SCSI initiator in the same process: queues commands, waits for answers, never hangs.
//!
//! A thread of its own waits for the daemon's doorbell and hands out completions. Everything that the daemon or
//! the kernel answers is data ([`Response`]); an `Err` means that no answer came.

pub mod cdb;
mod commands;
mod response;
mod sense;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub use response::{Capacity, Response};
pub use sense::ParsedSense;

use crate::abi::{COMMUNICATION_FAILURE, INVALID_FIELD, SENSE_BYTES, status};
use crate::kernel::{CommandId, CommandSpec, Data, Kernel, QueueError, UserSide};
use crate::options::{Options, SetupError};
use crate::violation::Report;

/// Why there is no answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitiatorError {
    /// The daemon did not complete the command in time.
    #[error("command timed out: opcode {opcode:02x} was not completed within {limit:?}")]
    TimedOut {
        /// Byte 0 of the CDB.
        opcode: u8,
        /// How long was waited.
        limit: Duration,
    },
    /// There was no room in the ring or data area in time.
    #[error("command timed out: opcode {opcode:02x} found no room in the ring within {limit:?}")]
    NoRoom {
        /// Byte 0 of the CDB.
        opcode: u8,
        /// How long was waited.
        limit: Duration,
    },
    /// The command can not be sent at all.
    #[error("queue the command: {0}")]
    Queue(QueueError),
    /// Waking the daemon or waiting for it failed.
    #[error("events between initiator and daemon: {0}")]
    Events(nix::Error),
    /// Every [`Initiator`] of this device has been dropped.
    #[error("the initiator is gone: keep it until all answers are there")]
    Closed,
}

/// How an initiator behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long to wait for room and, once more, for the answer.
    pub timeout: Duration,
    /// Block size that the helpers reckon with, in bytes.
    pub block_bytes: u32,
}

impl Default for Settings {
    /// 10 s, 512 bytes.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), block_bytes: 512 }
    }
}

/// An initiator for one emulated device. Clones share it; the last one to go stops the thread.
#[derive(Clone, Debug)]
pub struct Initiator {
    inner: Arc<Inner>,
    settings: Settings,
}

/// Ends the thread when the last clone goes.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<Inside>,
    /// Something ended: there may be room.
    progress: Condvar,
}

#[derive(Debug)]
struct Inside {
    kernel: Kernel,
    /// Commands whose answers are still to come, by token.
    awaited: HashMap<u64, Arc<Slot>>,
    /// Commands that found no room, first come first served as in the kernel.
    queued: VecDeque<u64>,
    next_token: u64,
}

/// Where the answer of one command goes.
#[derive(Debug, Default)]
struct Slot {
    answer: Mutex<Option<Result<Response, InitiatorError>>>,
    there: Condvar,
}

impl Slot {
    fn put(&self, answer: Result<Response, InitiatorError>) {
        *lock(&self.answer) = Some(answer);
        self.there.notify_all();
    }
}

/// A test that panicked while it held the lock has said what is wrong; others go on and fail for themselves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inside {
    fn hand_out(awaited: &mut HashMap<u64, Arc<Slot>>, completion: crate::CompletionRef<'_>) {
        // Nobody waits for a command that was queued behind the initiator's back.
        if let Some(slot) = awaited.remove(&completion.token) {
            slot.put(Ok(Response::from(completion)));
        }
    }

    fn collect(&mut self) {
        let Self { kernel, awaited, .. } = self;
        kernel.collect_with(|completion| Self::hand_out(awaited, completion));
    }

    fn deliver_made(&mut self) {
        let Self { kernel, awaited, .. } = self;
        kernel.deliver_made(|completion| Self::hand_out(awaited, completion));
    }
}

/// A command that was sent.
#[derive(Debug)]
pub struct Pending {
    slot: Arc<Slot>,
    id: Option<CommandId>,
    opcode: u8,
    timeout: Duration,
}

impl Pending {
    /// Its id in the ring; none when the kernel answered without the daemon.
    #[must_use]
    pub fn id(&self) -> Option<CommandId> {
        self.id
    }

    /// Whether the answer is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        lock(&self.slot.answer).is_some()
    }

    /// Waits for the answer as long as [`Settings::timeout`] says. Blocks.
    ///
    /// # Errors
    /// [`InitiatorError::TimedOut`], [`InitiatorError::Closed`], [`InitiatorError::Events`].
    pub fn wait(self) -> Result<Response, InitiatorError> {
        let limit = self.timeout;
        self.wait_for(limit)
    }

    /// As [`Self::wait`] with a time of one's own.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(self, limit: Duration) -> Result<Response, InitiatorError> {
        let (mut answer, _) = self
            .slot
            .there
            .wait_timeout_while(lock(&self.slot.answer), limit, |answer| answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        answer.take().unwrap_or(Err(InitiatorError::TimedOut { opcode: self.opcode, limit }))
    }
}

impl Initiator {
    /// Creates a device and an initiator for it, with the default settings.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(options: Options) -> Result<(Self, UserSide), SetupError> {
        let (kernel, user) = Kernel::new(options)?;
        Ok((Self::on(kernel, Settings::default())?, user))
    }

    /// Takes over a device.
    ///
    /// # Errors
    /// [`SetupError::System`]: no event or no thread to be had.
    pub fn on(kernel: Kernel, settings: Settings) -> Result<Self, SetupError> {
        let io = |what| {
            move |error: std::io::Error| SetupError::System {
                what,
                errno: nix::Error::from_raw(error.raw_os_error().unwrap_or_default()),
            }
        };
        let event = SetupError::system("create an eventfd");
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(event)?;
        let duplicate = io("duplicate a file descriptor");
        let doorbell = kernel.doorbell().try_clone_to_owned().map_err(duplicate)?;
        let stopped = stop.as_fd().try_clone_to_owned().map_err(duplicate)?;
        let inside = Inside { kernel, awaited: HashMap::new(), queued: VecDeque::new(), next_token: 1 << 63 };
        let shared = Arc::new(Shared { state: Mutex::new(inside), progress: Condvar::new() });
        let thread = std::thread::Builder::new()
            .name("initiator".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || listen(&shared, &doorbell, &stopped)
            })
            .map_err(io("start the initiator's thread"))?;
        Ok(Self { inner: Arc::new(Inner { shared, stop, thread: Some(thread) }), settings })
    }

    /// The same initiator with other settings; clones made before keep theirs.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self { inner: Arc::clone(&self.inner), settings }
    }

    /// What was set.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Sends a command and waits for its answer. Blocks, for at most twice [`Settings::timeout`].
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn execute(&self, cdb: &[u8], data: Data<'_>) -> Result<Response, InitiatorError> {
        self.start(cdb, data)?.wait()
    }

    /// As [`Self::execute`], and sends the command again while the answer is BUSY or TASK SET FULL, up to
    /// `attempts` times in all. In between it waits for a sign of life of the device, at most a millisecond.
    /// The last answer counts, whatever it is.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn execute_retrying(
        &self,
        cdb: &[u8],
        data: Data<'_>,
        attempts: u32,
    ) -> Result<Response, InitiatorError> {
        let shared = &self.inner.shared;
        let mut left = attempts;
        loop {
            let response = self.execute(cdb, data)?;
            left = left.saturating_sub(1);
            if left == 0 || !matches!(response.status, status::BUSY | status::TASK_SET_FULL) {
                return Ok(response);
            }
            let state = lock(&shared.state);
            drop(shared.progress.wait_timeout(state, Duration::from_millis(1)));
        }
    }

    /// Sends a command. Blocks only while there is no room for it.
    ///
    /// # Errors
    /// [`InitiatorError::NoRoom`], [`InitiatorError::Queue`] for a CDB of impossible length,
    /// [`InitiatorError::Events`].
    pub fn start(&self, cdb: &[u8], data: Data<'_>) -> Result<Pending, InitiatorError> {
        let mut state = lock(&self.inner.shared.state);
        let pending;
        (state, pending) = self.put(state, cdb, data);
        state.kernel.signal().map_err(InitiatorError::Events)?;
        pending
    }

    /// Sends several commands with one event, as the kernel does when it plugs its queue. Where there is no
    /// room, wakes the daemon and blocks until there is. `sent` gets the commands in order.
    ///
    /// # Errors
    /// As [`Self::start`]; those before the failing one are in `sent` and the daemon knows of them.
    pub fn start_all(
        &self,
        commands: &[(&[u8], Data<'_>)],
        sent: &mut Vec<Pending>,
    ) -> Result<(), InitiatorError> {
        let mut state = lock(&self.inner.shared.state);
        for &(cdb, data) in commands {
            let pending;
            (state, pending) = self.put(state, cdb, data);
            match pending {
                Ok(pending) => sent.push(pending),
                Err(error) => {
                    state.kernel.signal().map_err(InitiatorError::Events)?;
                    return Err(error);
                }
            }
        }
        state.kernel.signal().map_err(InitiatorError::Events)
    }

    /// Queues a command, waiting for room behind those that came earlier. Does not signal when it did not wait.
    fn put<'a>(
        &'a self,
        mut state: MutexGuard<'a, Inside>,
        cdb: &[u8],
        data: Data<'_>,
    ) -> (MutexGuard<'a, Inside>, Result<Pending, InitiatorError>) {
        let limit = self.settings.timeout;
        let deadline = Instant::now() + limit;
        let token = state.next_token;
        state.next_token += 1;
        let opcode = cdb.first().copied().unwrap_or_default();
        let slot = Arc::new(Slot::default());
        let made = |status, sense| Ok(Response::made_by_kernel(status, sense));

        state.queued.push_back(token);
        let queued = loop {
            if state.queued.front() == Some(&token) {
                match state.kernel.queue(&CommandSpec { cdb, data, token }) {
                    Err(QueueError::Full) => {}
                    other => break Some(other),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            // Commands queued without an event must not wait for one that nobody sends.
            if let Err(errno) = state.kernel.signal() {
                state.queued.retain(|&waiting| waiting != token);
                return (state, Err(InitiatorError::Events(errno)));
            }
            let woken = self.inner.shared.progress.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        };
        state.queued.retain(|&waiting| waiting != token);
        // The next in line may fit where this one did, or now that this one has given up.
        if !state.queued.is_empty() {
            self.inner.shared.progress.notify_all();
        }

        let id = match queued {
            None => return (state, Err(InitiatorError::NoRoom { opcode, limit })),
            Some(Ok(id)) => {
                state.awaited.insert(token, Arc::clone(&slot));
                Some(id)
            }
            Some(Err(refusal)) => {
                slot.put(match refusal {
                    QueueError::Blocked => made(status::BUSY, [0; SENSE_BYTES]),
                    QueueError::Broken => made(status::CHECK_CONDITION, COMMUNICATION_FAILURE),
                    QueueError::TooBig => made(status::CHECK_CONDITION, INVALID_FIELD),
                    other => return (state, Err(InitiatorError::Queue(other))),
                });
                None
            }
        };
        (state, Ok(Pending { slot, id, opcode, timeout: limit }))
    }

    /// Lets a test look at the device or do something to it. Answers that the kernel gives itself meanwhile
    /// (reset, expiry) are handed out before anybody can queue again. Completions of the daemon are left for
    /// its doorbell; a test that collects them itself takes them from those who wait. Do not block in `f`.
    pub fn with_kernel<R>(&self, f: impl FnOnce(&mut Kernel) -> R) -> R {
        let mut state = lock(&self.inner.shared.state);
        let result = f(&mut state.kernel);
        state.deliver_made();
        self.inner.shared.progress.notify_all();
        result
    }

    /// [`Kernel::check`].
    ///
    /// # Errors
    /// [`Report`].
    pub fn check(&self) -> Result<(), Report> {
        self.with_kernel(Kernel::check)
    }
}

/// The initiator's thread: completions from the doorbell to those who wait, until told to stop.
fn listen(shared: &Shared, doorbell: &OwnedFd, stop: &OwnedFd) {
    let ended = loop {
        let mut fds =
            [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => break InitiatorError::Events(errno),
        }
        if fds[1].any().unwrap_or(true) {
            break InitiatorError::Closed;
        }
        let mut state = lock(&shared.state);
        match state.kernel.rung() {
            Ok(true) => state.collect(),
            Ok(false) => {}
            Err(errno) => break InitiatorError::Events(errno),
        }
        drop(state);
        shared.progress.notify_all();
    };
    for (_, slot) in lock(&shared.state).awaited.drain() {
        slot.put(Err(ended.clone()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without the event the thread would never end, and joining it would hang.
        if self.stop.write(1).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}
