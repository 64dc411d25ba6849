//! The executor: one thread's operations, from request to end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_memory::Mapping;

use crate::direct::Direct;
use crate::engine::Engine;
use crate::gate::{Gate, Pass};
use crate::operation::{Next, Operation};
use crate::pool::Finished;
use crate::request::{Done, RegionId, Request, StoreIndex, Token};
use crate::slots::{Place, Slots};
use crate::store::{Inner, Store};
use crate::waker::Waker;
use crate::watch::{WAKER, Watch};
use crate::{ExecutorError, StoreError, direct, instant};

/// Longer waits are made of several sleeps: the kernel refuses absurd timeouts.
const LONGEST_SLEEP: Duration = Duration::from_secs(86_400);

/// How files are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where it works, else threads, with one warning that says why.
    #[default]
    Auto,
    /// io_uring (Linux 5.11 or newer).
    Uring,
    /// Blocking system calls on threads.
    Threads,
}

/// How an executor is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How files are read and written.
    pub backend: Backend,
    /// io_uring: entries of the submission queue, at least 1. More operations may be in flight; they cost an
    /// additional system call for each batch of this many.
    pub entries: u32,
    /// io_uring: most kernel threads for operations that have to wait, at least 1.
    pub io_workers: u32,
    /// Threads: how many, at least 1. So many operations run at the same time.
    pub threads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { backend: Backend::Auto, entries: 256, io_workers: 8, threads: 4 }
    }
}

/// Runs operations on stores for one thread.
///
/// [`Self::submit`] and [`Self::cancel`] never block and never call back; operations on files start with the
/// next [`Self::wait`], which does short ones on a local page cache itself. Each submitted operation gives exactly
/// one [`Done`]. It may be moved to another thread; all methods want it exclusively.
///
/// Dropping it cancels what is in flight and **waits** for its end, however long the storage takes, because the
/// memory of an operation must outlive it. Duplicates of watched file descriptors are closed by then.
#[derive(Debug)]
pub struct Executor {
    // The engine goes first: it awaits what still uses the rest.
    engine: Engine,
    slots: Slots,
    /// Operations to start, oldest first.
    queue: VecDeque<u32>,
    /// Operations at gates, oldest first.
    held: Vec<u32>,
    done: VecDeque<Done>,
    ready: VecDeque<u32>,
    watches: Vec<Watch>,
    waker: Arc<Waker>,
    regions: Vec<Arc<Mapping>>,
    stores: Vec<Store>,
    /// Submitted and not handed out.
    in_flight: usize,
    syscalls: u64,
    direct: Direct,
    // Reused from turn to turn.
    direct_keys: Vec<u32>,
    finished: Vec<Finished>,
    fired: Vec<u32>,
}

impl Executor {
    /// Builds an executor: an io_uring, or threads and an epoll, and an eventfd.
    ///
    /// # Errors
    /// [`ExecutorError`]: the backend that was asked for does not work here.
    pub fn new(options: Options) -> Result<Self, ExecutorError> {
        let waker = Waker::new()
            .map_err(|errno| ExecutorError::Watch { call: "eventfd", source: errno.into() })
            .map(Arc::new)?;
        let mut executor = Self {
            engine: Engine::new(options, &waker)?,
            slots: Slots::default(),
            queue: VecDeque::new(),
            held: Vec::new(),
            done: VecDeque::new(),
            ready: VecDeque::new(),
            watches: Vec::new(),
            waker: Arc::clone(&waker),
            regions: Vec::new(),
            stores: Vec::new(),
            in_flight: 0,
            syscalls: 1,
            direct: Direct::default(),
            direct_keys: Vec::new(),
            finished: Vec::new(),
            fired: Vec::new(),
        };
        executor.watch(waker.as_fd(), 0)?;
        debug_assert_eq!(executor.watches.len(), WAKER + 1, "the waker is the first watch");
        Ok(executor)
    }

    /// What runs operations on files: never [`Backend::Auto`].
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.engine.backend()
    }

    /// Makes memory known; it stays mapped at least until the executor is dropped. It is not registered with
    /// io_uring: pinned pages would outlive their reclaim, and I/O would go to stale ones.
    pub fn register(&mut self, memory: Arc<Mapping>) -> RegionId {
        let id = u32::try_from(self.regions.len()).expect("2^32 mappings need more memory than there is");
        self.regions.push(memory);
        RegionId(id)
    }

    /// Takes a store over; it is closed when the executor is dropped.
    pub fn add(&mut self, store: Store) -> StoreIndex {
        if let Inner::Gated { gate, .. } = &store.0 {
            gate.attach(&self.waker);
        }
        let index = u32::try_from(self.stores.len()).expect("2^32 stores need more memory than there is");
        self.stores.push(store);
        StoreIndex(index)
    }

    /// A store of this executor.
    #[must_use]
    pub fn store(&self, index: StoreIndex) -> Option<&Store> {
        self.stores.get(index.0 as usize)
    }

    /// Watches a file descriptor (an eventfd, a UIO device) until the executor is dropped: [`Self::wait`]
    /// returns when it is readable or hung up, and [`Self::next_ready`] gives `key`. Level-triggered: as long as it
    /// stays readable, every later `wait` reports it again. The descriptor is duplicated.
    ///
    /// # Errors
    /// [`ExecutorError::Watch`].
    pub fn watch(&mut self, fd: BorrowedFd<'_>, key: u32) -> Result<(), ExecutorError> {
        self.syscalls += 1;
        let fd = fd
            .try_clone_to_owned()
            .map_err(|source| ExecutorError::Watch { call: "fcntl(F_DUPFD_CLOEXEC)", source })?;
        let watch = Watch { fd, key, armed: false, reported: false };
        self.engine.watch(self.watches.len(), &watch)?;
        self.watches.push(watch);
        Ok(())
    }

    /// Accepts an operation. Never blocks; exactly one [`Done`] follows, also for requests that are not valid.
    /// Operations in flight run in any order, those on memory and null stores at once.
    pub fn submit(&mut self, token: Token, request: Request<'_>) {
        self.in_flight += 1;
        let key = self.slots.take();
        match self.admit(key, token, request) {
            Ok(()) => self.pass_gate(key),
            Err(error) => self.end(key, Err(error)),
        }
    }

    /// Checks a request and makes it an operation.
    fn admit(&mut self, key: u32, token: Token, request: Request<'_>) -> Result<(), StoreError> {
        let Request { store, kind, offset, length, target } = request;
        let store = store.0 as usize;
        let (offset, length) = if kind == crate::Kind::Flush { (0, 0) } else { (offset, length) };
        let operation = &mut self.slots.get(key).operation;
        operation.reset(token, store, kind, offset, length);
        operation.transfer.load(target, kind.wants(length), &self.regions)?;
        let end = offset.checked_add(length).filter(|&end| i64::try_from(end).is_ok());
        let end = end.ok_or(StoreError::Invalid)?;
        let store = self.stores.get_mut(store).ok_or(StoreError::Invalid)?;
        if kind.modifies() {
            if store.read_only() {
                return Err(StoreError::ReadOnly);
            }
            store.0.check_end(end, &mut self.syscalls)?;
        }
        Ok(())
    }

    /// Starts an operation, or leaves it at its store's gate.
    fn pass_gate(&mut self, key: u32) {
        let operation = &self.slots.get(key).operation;
        let (store, kind) = (operation.store, operation.kind);
        let pass = match &self.stores[store].0 {
            // Gates are for what commands do; this is the loop's own question, asked whenever it likes.
            Inner::Gated { gate, .. } if kind != crate::Kind::Space => {
                let behind = self.held.iter().any(|&other| self.slots.get(other).operation.store == store);
                gate.arrive(behind)
            }
            _ => Pass::Go,
        };
        match pass {
            Pass::Go => self.begin(key),
            Pass::Fail(error) => self.end(key, Err(error)),
            Pass::Hold => {
                self.slots.get(key).place = Place::Held;
                self.held.push(key);
            }
        }
    }

    /// Starts an operation that nothing holds back.
    fn begin(&mut self, key: u32) {
        let slot = self.slots.get(key);
        let operation = &mut slot.operation;
        let store = self.stores[operation.store].0.base();
        let result = match store {
            _ if operation.length == 0 && operation.kind != crate::Kind::Flush => Ok(0),
            Inner::File(file) => match operation.begin(file) {
                Next::End(result) => result,
                Next::Call => {
                    slot.place = Place::Queued;
                    self.queue.push_back(key);
                    return;
                }
            },
            Inner::Memory(memory) => instant::memory(memory, operation, &mut self.syscalls),
            Inner::Null { bytes } => instant::null(*bytes, operation, &mut self.syscalls),
            Inner::Gated { .. } => Err(StoreError::Invalid),
        };
        self.end(key, result);
    }

    fn end(&mut self, key: u32, result: Result<u64, StoreError>) {
        let Operation { token, transfer, .. } = &mut self.slots.get(key).operation;
        let done = Done { token: *token, result, buffer: transfer.take_buffer() };
        self.done.push_back(done);
        self.slots.give_back(key);
    }

    /// Asks for the early end of the operations with this token. Their [`Done`] still comes: as
    /// [`StoreError::Cancelled`], or with the result if they were faster. What has not started ends at once. A
    /// write that was under way may have happened in part.
    pub fn cancel(&mut self, token: Token) {
        self.cancel_where(|operation| operation.token == token);
    }

    /// The same for all operations whose token is `wanted`, in one pass over what is in flight.
    pub fn cancel_if(&mut self, wanted: impl Fn(Token) -> bool) {
        self.cancel_where(|operation| wanted(operation.token));
    }

    fn cancel_where(&mut self, wanted: impl Fn(&Operation) -> bool) {
        let mut from = 0;
        while let Some(key) = self.slots.find(from, &wanted) {
            from = key + 1;
            self.cancel_one(key);
        }
    }

    fn cancel_one(&mut self, key: u32) {
        let slot = self.slots.get(key);
        let gate = match &self.stores[slot.operation.store].0 {
            Inner::Gated { gate, .. } => Some(gate),
            _ => None,
        };
        if gate.is_some_and(Gate::ignores_cancels) {
            return;
        }
        match slot.place {
            Place::Idle => return,
            Place::Queued => self.queue.retain(|&other| other != key),
            Place::Held => {
                gate.inspect(|gate| gate.leave());
                self.held.retain(|&other| other != key);
            }
            Place::Running => {
                slot.operation.cancelled = true;
                let Some(transfer) = self.engine.cancel(key) else { return };
                slot.operation.transfer = transfer;
            }
        }
        self.end(key, Err(StoreError::Cancelled));
    }

    /// Starts what is queued (one system call with io_uring) and sleeps until an operation has ended, a watched
    /// file descriptor is readable, or `timeout` has passed (`None`: no limit). Returns without sleeping, but
    /// starts what is queued, while ends or ready descriptors have not been taken. With nothing in flight, nothing
    /// watched and no timeout it sleeps for ever.
    ///
    /// # Errors
    /// [`ExecutorError::Enter`], [`ExecutorError::Watch`]: nothing was lost, the call may be repeated.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), ExecutorError> {
        // A point in time that can not be expressed never comes.
        let deadline = match timeout {
            None | Some(Duration::ZERO) => None,
            Some(timeout) => Instant::now().checked_add(timeout),
        };
        let mut limit = timeout.map(|timeout| timeout.min(LONGEST_SLEEP));
        loop {
            if !self.done.is_empty() || !self.ready.is_empty() {
                limit = Some(Duration::ZERO);
            }
            self.start_queued();
            if !self.done.is_empty() {
                limit = Some(Duration::ZERO);
            }
            let turned = self.engine.turn(limit, &mut self.watches, &mut self.finished, &mut self.fired);
            self.collect();
            turned?;
            if !self.done.is_empty() || !self.ready.is_empty() || limit == Some(Duration::ZERO) {
                return Ok(());
            }
            if let Some(deadline) = deadline {
                limit = Some(deadline.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP));
            }
        }
    }

    /// Hands queued operations to the engine, or does them: see `direct.rs`.
    fn start_queued(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let begun = self.direct.begin(self.in_flight);
        // What others do is handed over before, so that threads are at work meanwhile. io_uring hears of it with the
        // next system call, after at most a budget of copying.
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else { break };
            let operation = &self.slots.get(key).operation;
            match self.stores[operation.store].0.base() {
                Inner::File(file) if self.direct.takes(file, operation) => self.direct_keys.push(key),
                _ => self.queue.push_back(key),
            }
        }
        while let Some(key) = self.queue.pop_front() {
            let slot = self.slots.get(key);
            let operation = &mut slot.operation;
            let Inner::File(file) = self.stores[operation.store].0.base() else {
                debug_assert!(false, "only operations on files are queued");
                continue;
            };
            let call = operation.call(file);
            let transfer = std::mem::take(&mut operation.transfer);
            slot.place = Place::Running;
            let may_wait = operation.may_wait;
            if let Err(transfer) = self.engine.start(key, file, call, transfer, may_wait, &self.waker) {
                operation.transfer = transfer;
                self.end(key, Err(StoreError::Io));
            }
        }
        let mut keys = std::mem::take(&mut self.direct_keys);
        for key in keys.drain(..) {
            let operation = &mut self.slots.get(key).operation;
            let result = match self.stores[operation.store].0.base() {
                Inner::File(file) => direct::run(file, operation, &mut self.syscalls),
                _ => Err(StoreError::Invalid),
            };
            self.end(key, result);
        }
        self.direct_keys = keys;
        self.direct.end(begun);
    }

    /// Deals with what the last turn brought.
    fn collect(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        for index in fired.drain(..) {
            let Some(watch) = self.watches.get_mut(index as usize) else { continue };
            watch.armed = false;
            if index as usize == WAKER {
                self.syscalls += 1;
                self.waker.clear();
                self.engine.reap_pools(&mut self.finished);
                self.retry_held();
            } else if !watch.reported {
                watch.reported = true;
                self.ready.push_back(index);
            }
        }
        self.fired = fired;
        let mut finished = std::mem::take(&mut self.finished);
        for Finished { key, result, transfer } in finished.drain(..) {
            let operation = &mut self.slots.get(key).operation;
            operation.transfer = transfer;
            let Inner::File(file) = self.stores[operation.store].0.base() else {
                debug_assert!(false, "only operations on files are under way");
                continue;
            };
            match operation.after(result, file, &mut self.syscalls) {
                Next::End(result) => self.end(key, result),
                Next::Call => {
                    self.slots.get(key).place = Place::Queued;
                    self.queue.push_back(key);
                }
            }
        }
        self.finished = finished;
    }

    /// Lets operations through whose gates have changed.
    fn retry_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.retain(|&key| {
            let store = self.slots.get(key).operation.store;
            let pass = match &self.stores[store].0 {
                Inner::Gated { gate, .. } => gate.retry(),
                _ => Pass::Go,
            };
            match pass {
                Pass::Hold => return true,
                Pass::Go => self.begin(key),
                Pass::Fail(error) => self.end(key, Err(error)),
            }
            false
        });
        self.held = held;
    }

    /// An operation that has ended, in the order in which the ends were seen.
    pub fn next_done(&mut self) -> Option<Done> {
        let done = self.done.pop_front()?;
        self.in_flight -= 1;
        Some(done)
    }

    /// The key of a watched file descriptor that was readable or hung up.
    pub fn next_ready(&mut self) -> Option<u32> {
        let index = self.ready.pop_front()?;
        let watch = &mut self.watches[index as usize];
        watch.reported = false;
        Some(watch.key)
    }

    /// Operations that were submitted and whose [`Done`] has not been taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// System calls made so far, by this thread and the store threads. Those that mutexes make, and those of
    /// opening stores and mapping memory, do not count.
    #[must_use]
    pub fn syscalls(&self) -> u64 {
        self.syscalls + self.engine.syscalls()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.cancel_where(|_| true);
        for watch in &mut self.watches[WAKER + 1..] {
            // Nobody takes it any more, and a readable one would keep the loop below from sleeping.
            watch.reported = true;
            self.engine.forget(watch);
        }
        while self.slots.live() > 0 {
            self.done.clear();
            self.ready.clear();
            if let Err(error) = self.wait(None) {
                tracing::error!(%error, "operations in flight can not be awaited in the ordinary way");
                return;
            }
        }
    }
}
