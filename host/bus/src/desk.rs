//! Whose check is made next: few at a time, and root's wait for their turn.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::oneshot::Sender;

/// Checks at a time: each is a process.
const AT_ONCE: usize = 4;

/// Of these, how many may be of users that are not root.
const OF_STRANGERS: usize = 2;

/// Checks of root's that wait.
const WAITING: usize = 256;

/// How long one of root's waits to be made in full. With the time of the one before it and its own (5 s each), that is what
/// callers wait: 25 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// One check.
pub(crate) struct Job {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) subtype: String,
    pub(crate) config: String,
    /// Whether root asks.
    pub(crate) trusted: bool,
    /// When it was asked for.
    pub(crate) since: Instant,
    /// Who waits for the answer; it gets none if the backend panics.
    pub(crate) sender: Sender<Result<(), String>>,
}

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is made, now or later.
    Has,
    /// It is not; it has been dropped.
    None,
}

#[derive(Default)]
struct State {
    running: usize,
    strangers: usize,
    /// Only root's. While there is one, all places are taken.
    waiting: VecDeque<Job>,
}

/// Makes checks on threads of its own, which end when there is nothing to do.
#[derive(Default)]
pub(crate) struct Desk(Mutex<State>);

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a check made. Does not wait.
    pub(crate) fn take(self: &Arc<Self>, job: Job) -> Turn {
        let mut state = self.state();
        let stranger = usize::from(!job.trusted);
        if state.running >= AT_ONCE {
            if job.trusted && state.waiting.len() < WAITING {
                state.waiting.push_back(job);
                return Turn::Has;
            }
            return Turn::None;
        }
        if state.strangers + stranger > OF_STRANGERS {
            return Turn::None;
        }
        let desk = Arc::clone(self);
        let started =
            std::thread::Builder::new().name("check-config".to_owned()).spawn(move || desk.work(job));
        if let Err(error) = started {
            tracing::warn!("a check can not be started: {error}; raise TasksMax");
            return Turn::None;
        }
        // The thread looks at this when its job is done, and that needs the lock that we have.
        state.running += 1;
        state.strangers += stranger;
        Turn::Has
    }

    fn work(&self, first: Job) {
        let mut job = first;
        loop {
            let stranger = usize::from(!job.trusted);
            make(job);
            let mut state = self.state();
            state.strangers -= stranger;
            let Some(next) = state.waiting.pop_front() else {
                state.running -= 1;
                return;
            };
            job = next;
        }
    }
}

fn make(job: Job) {
    let Job { backend, subtype, config, since, sender, .. } = job;
    let late = since.elapsed() > PATIENCE;
    if late {
        tracing::warn!("configuration of handler {subtype:?} not checked by it: too many checks at once");
    }
    let check = || if late { backend.glance(&subtype, &config) } else { backend.check(&subtype, &config) };
    // One that panics must not keep those behind it waiting; the panic itself has been reported.
    if let Ok(result) = catch_unwind(AssertUnwindSafe(check)) {
        sender.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oneshot::{Receiver, oneshot};

    /// Tells which way it was asked.
    struct Says;

    impl Backend for Says {
        fn check(&self, _: &str, _: &str) -> Result<(), String> {
            Err("checked".to_owned())
        }

        fn glance(&self, _: &str, _: &str) -> Result<(), String> {
            Err("glanced at".to_owned())
        }

        fn external(&self, _: &str, _: bool) {}
    }

    fn job(since: Instant) -> (Job, Receiver<Result<(), String>>) {
        let (sender, receiver) = oneshot();
        let (subtype, config) = ("file".to_owned(), "file/a".to_owned());
        (Job { backend: Arc::new(Says), subtype, config, trusted: true, since, sender }, receiver)
    }

    #[test]
    fn a_check_of_roots_that_waited_too_long_is_made_without_the_handler() {
        let now = Instant::now();
        let Some(long_ago) = now.checked_sub(PATIENCE + Duration::from_secs(1)) else {
            panic!("the machine has just started");
        };
        for (since, expected) in [(now, "checked"), (long_ago, "glanced at")] {
            let (job, receiver) = job(since);
            make(job);
            assert_eq!(zbus::block_on(receiver), Some(Err(expected.to_owned())));
        }
    }

    #[test]
    fn the_queue_has_an_end_and_is_worked_off() {
        let desk = Arc::new(Desk::default());
        desk.state().running = AT_ONCE;
        let mut answers = Vec::new();
        for _ in 0..WAITING {
            let (job, receiver) = job(Instant::now());
            assert_eq!(desk.take(job), Turn::Has);
            answers.push(receiver);
        }
        assert_eq!(desk.take(job(Instant::now()).0), Turn::None);
        // One of the four goes on.
        let (first, receiver) = job(Instant::now());
        desk.work(first);
        answers.push(receiver);
        for receiver in answers {
            assert_eq!(zbus::block_on(receiver), Some(Err("checked".to_owned())));
        }
        assert_eq!(desk.state().running, AT_ONCE - 1);
    }
}
