//! Test support: a gate in front of a store, to hold operations in flight for as long as a test needs.
//!
//! Traps, aborts and resets are interesting while I/O is under way. A gated store keeps its operations from
//! starting until the test lets them; the bytes move after that. So whoever takes a command for ended too early
//! finds foreign bytes in its buffer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::StoreError;
use crate::waker::Waker;

/// What cancelling does to an operation of a gated store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCancel {
    /// At the gate it ends as [`StoreError::Cancelled`] at once and never reaches the store; behind the gate the
    /// inner store does what it can.
    Honour,
    /// Nothing, as with a client library that can not take a call back: it goes on when the gate opens, and
    /// dropping the executor waits for that.
    Ignore,
}

#[derive(Debug)]
struct State {
    open: bool,
    /// Operations that may pass although the gate is shut.
    permits: usize,
    failures: VecDeque<StoreError>,
    waiters: usize,
    held: u64,
    wakers: Vec<Arc<Waker>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The number of waiters has changed.
    changed: Condvar,
    on_cancel: OnCancel,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        for waker in &state.wakers {
            waker.wake();
        }
    }
}

/// Opens the gate when the last handle goes, so that a failing test does not hang in the executor's drop.
#[derive(Debug)]
struct Handles(Arc<Shared>);

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.change(|state| state.open = true);
    }
}

/// The test's end of a gate, for use from any thread. Clones are the same gate, and one gate may stand before
/// several stores. When the last handle is dropped the gate opens.
#[derive(Clone, Debug)]
pub struct GateHandle(Arc<Handles>);

impl GateHandle {
    /// A gate that is shut.
    #[must_use]
    pub fn new(on_cancel: OnCancel) -> Self {
        let state = State {
            open: false,
            permits: 0,
            failures: VecDeque::new(),
            waiters: 0,
            held: 0,
            wakers: Vec::new(),
        };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), on_cancel };
        Self(Arc::new(Handles(Arc::new(shared))))
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate(Arc::clone(&self.0.0))
    }

    /// Lets everything through that waits and that comes.
    pub fn open(&self) {
        self.0.0.change(|state| state.open = true);
    }

    /// Shuts the gate again, and forgets what [`Self::release`] allowed.
    pub fn close(&self) {
        self.0.0.change(|state| {
            state.open = false;
            state.permits = 0;
        });
    }

    /// Lets that many operations through, those that wait first.
    pub fn release(&self, count: usize) {
        self.0.0.change(|state| state.permits = state.permits.saturating_add(count));
    }

    /// The next operation to pass fails so, without reaching the store. Calls add up.
    pub fn fail_next(&self, error: StoreError) {
        self.0.0.change(|state| state.failures.push_back(error));
    }

    /// Operations that wait now.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.0.0.lock().waiters
    }

    /// Operations that ever had to wait.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.0.lock().held
    }

    /// Blocks until `count` operations ever had to wait. False if they had not within `limit`. Behind
    /// [`Self::release`] the number that waits now goes through all values down to zero, and tells nothing.
    #[must_use]
    pub fn wait_for_held(&self, count: u64, limit: Duration) -> bool {
        let state = self.0.0.lock();
        let waited = self.0.0.changed.wait_timeout_while(state, limit, |state| state.held < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.held >= count
    }

    /// Blocks until exactly `count` operations wait. False if they do not within `limit`.
    #[must_use]
    pub fn wait_for_waiters(&self, count: usize, limit: Duration) -> bool {
        let state = self.0.0.lock();
        let waited = self.0.0.changed.wait_timeout_while(state, limit, |state| state.waiters != count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiters == count
    }
}

/// What a gate says to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Go,
    Fail(StoreError),
    Hold,
}

/// The store's end of a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Shared>);

impl Gate {
    /// From now on the executor behind `waker` hears of changes.
    pub(crate) fn attach(&self, waker: &Arc<Waker>) {
        self.0.lock().wakers.push(Arc::clone(waker));
    }

    /// An operation arrives. It has to wait if one before it waits (`behind`).
    pub(crate) fn arrive(&self, behind: bool) -> Pass {
        let mut state = self.0.lock();
        let pass = if behind { Pass::Hold } else { try_pass(&mut state) };
        if pass == Pass::Hold {
            state.waiters += 1;
            state.held += 1;
            self.0.changed.notify_all();
        }
        pass
    }

    /// An operation that waits tries again.
    pub(crate) fn retry(&self) -> Pass {
        let mut state = self.0.lock();
        let pass = try_pass(&mut state);
        if pass != Pass::Hold {
            state.waiters -= 1;
            self.0.changed.notify_all();
        }
        pass
    }

    /// Whether operations go on as if nobody had asked for their end, at the gate and behind it.
    pub(crate) fn ignores_cancels(&self) -> bool {
        self.0.on_cancel == OnCancel::Ignore
    }

    /// An operation that waits leaves.
    pub(crate) fn leave(&self) {
        self.0.lock().waiters -= 1;
        self.0.changed.notify_all();
    }
}

fn try_pass(state: &mut State) -> Pass {
    if !state.open {
        if state.permits == 0 {
            return Pass::Hold;
        }
        state.permits -= 1;
    }
    state.failures.pop_front().map_or(Pass::Go, Pass::Fail)
}
