//! Questions to a worker: what it may answer, and whoever waits for that.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lunbox_tcmu::Minor;
use lunbox_wire::{Call, DeviceStatistics, DeviceStatus, Refusal, Request};

use super::Worker;

/// What a worker answered.
#[derive(Debug)]
pub enum Answer {
    /// It was done.
    Done,
    /// It was not done.
    Refused(Refusal, String),
    /// Counters of its own devices, each once.
    Status(Vec<(Minor, DeviceStatus)>),
    /// Statistics of its own devices, each once.
    Statistics(Vec<(Minor, DeviceStatistics)>),
    /// Descriptors.
    Handles(Vec<OwnedFd>),
}

/// Why there is no answer that says it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It has died.
    #[error("its worker died")]
    Lost,
    /// Nothing came in time.
    #[error("its worker did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It was refused.
    #[error("{1}")]
    Refused(Refusal, String),
    /// The request could not be sent, or the answer is another's.
    #[error("talking to its worker failed: {0}")]
    Link(String),
}

/// A question that was sent.
pub(super) struct Pending<'a> {
    pub(super) worker: &'a Worker,
    pub(super) call: Call,
    pub(super) answer: Receiver<Answer>,
    pub(super) patience: Duration,
    pub(super) deadline: Instant,
}

impl Pending<'_> {
    pub(super) fn wait(self) -> Result<Answer, AskError> {
        let worker = self.worker;
        let answer = self.wait_unnoted();
        if let Err(AskError::Silent(_)) = answer {
            worker.mute.store(true, Ordering::Release);
            worker.ping();
        }
        answer
    }

    /// As [`Self::wait`], and who does not answer is asked the next thing as if nothing had been: whoever only looks, and
    /// often, must not hold up whoever wants something.
    fn wait_unnoted(self) -> Result<Answer, AskError> {
        match self.answer.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(Answer::Refused(kind, reason)) => Err(AskError::Refused(kind, reason)),
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(AskError::Lost),
            Err(RecvTimeoutError::Timeout) => {
                self.worker.forget(self.call);
                Err(AskError::Silent(self.patience))
            }
        }
    }
}

/// Asks all workers for their counters at once. Waits for `patience` in all, whoever does not answer.
pub fn ask_for_status(
    workers: &[Arc<Worker>],
    patience: Duration,
) -> Vec<(Arc<Worker>, Result<Answer, AskError>)> {
    let status: Question = |call| Request::Status { call };
    let questions: Vec<_> = workers.iter().map(|worker| (Arc::clone(worker), status)).collect();
    ask_all(&questions, patience)
}

/// Makes a request of the number by which its answer is known.
pub type Question = fn(Call) -> Request;

/// Asks workers one thing each, all at once. Waits for `patience` in all, whoever does not answer, and holds that against
/// nobody.
pub fn ask_all(
    questions: &[(Arc<Worker>, Question)],
    patience: Duration,
) -> Vec<(Arc<Worker>, Result<Answer, AskError>)> {
    let deadline = Instant::now() + patience;
    let pending: Vec<_> = questions
        .iter()
        // A full link is not waited for.
        .map(|(worker, question)| (worker, worker.begin(&[], Duration::ZERO, *question)))
        .collect();
    let answers = pending.into_iter().map(|(worker, pending)| {
        let answer = pending.and_then(|pending| Pending { patience, deadline, ..pending }.wait_unnoted());
        (Arc::clone(worker), answer)
    });
    answers.collect()
}
