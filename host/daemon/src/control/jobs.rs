//! Which jobs wait for a thread and which run, and since when.
//!
//! Admissions have a lane of their own: one may hang in storage that does not answer, and then only further
//! admissions wait behind it, never the stop of a device.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lunbox_tcmu::Minor;

use crate::job::{Job, Progress, Reason};

/// Most jobs of one lane at one time. More wait their turn: a mass creation must not become a thousand threads.
pub(super) const MAX_JOBS: usize = 32;

/// Tells one job from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What the control thread remembers of a job.
#[derive(Debug)]
pub(super) struct Watch {
    pub minor: Minor,
    pub task: Task,
    /// A thread works on it since then.
    since: Option<Instant>,
}

/// What a job does, as far as the control thread cares.
#[derive(Debug)]
pub(super) enum Task {
    Admission(Reason, Progress),
    /// Stops a device that lives on in the kernel.
    Leaving,
    Other,
}

/// All jobs.
#[derive(Debug)]
pub(super) struct Jobs<D> {
    issued: u64,
    watched: BTreeMap<Ticket, Watch>,
    admissions: Lane<D>,
    others: Lane<D>,
}

#[derive(Debug)]
struct Lane<D> {
    backlog: VecDeque<(Ticket, Job<D>)>,
    /// Jobs that threads work on.
    running: usize,
}

impl<D> Default for Lane<D> {
    fn default() -> Self {
        Self { backlog: VecDeque::new(), running: 0 }
    }
}

impl<D> Default for Jobs<D> {
    fn default() -> Self {
        Self { issued: 0, watched: BTreeMap::new(), admissions: Lane::default(), others: Lane::default() }
    }
}

impl<D> Lane<D> {
    fn take(&mut self) -> Option<(Ticket, Job<D>)> {
        if self.running >= MAX_JOBS {
            return None;
        }
        let next = self.backlog.pop_front()?;
        self.running += 1;
        Some(next)
    }
}

impl<D> Jobs<D> {
    /// Neither waits nor runs anything that somebody waits for.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Puts a job at the end of its lane.
    pub fn add(&mut self, minor: Minor, job: Job<D>) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued += 1;
        let task = match &job {
            Job::Admit { reason, progress, .. } => Task::Admission(*reason, progress.clone()),
            Job::Stop { block: Some(_), .. } => Task::Leaving,
            _ => Task::Other,
        };
        let lane = if let Task::Admission(..) = task { &mut self.admissions } else { &mut self.others };
        lane.backlog.push_back((ticket, job));
        self.watched.insert(ticket, Watch { minor, task, since: None });
        ticket
    }

    /// The next job that may have a thread.
    pub fn take(&mut self) -> Option<(Ticket, Job<D>)> {
        let (ticket, job) = self.others.take().or_else(|| self.admissions.take())?;
        if let Some(watch) = self.watched.get_mut(&ticket) {
            watch.since = Some(Instant::now());
        }
        Some((ticket, job))
    }

    /// What was remembered of a job, which is done with or waited for no longer. `None` if that was so already.
    pub fn end(&mut self, ticket: Ticket) -> Option<Watch> {
        let watch = self.watched.remove(&ticket)?;
        let lane = if let Task::Admission(..) = watch.task { &mut self.admissions } else { &mut self.others };
        lane.running -= 1;
        Some(watch)
    }

    pub fn is_leaving(&self, ticket: Ticket) -> bool {
        self.watched.get(&ticket).is_some_and(|watch| matches!(watch.task, Task::Leaving))
    }

    /// Admissions on which threads have worked for longer than `patience`.
    pub fn overdue(&self, patience: Duration) -> Vec<(Ticket, Minor, Reason)> {
        self.admissions()
            .filter(|(_, _, _, since)| since.elapsed() >= patience)
            .map(|(ticket, minor, reason, _)| (ticket, minor, reason))
            .collect()
    }

    /// How long until one more admission is overdue.
    pub fn next_overdue(&self, patience: Duration) -> Option<Duration> {
        self.admissions().filter_map(|(_, _, _, since)| patience.checked_sub(since.elapsed())).min()
    }

    fn admissions(&self) -> impl Iterator<Item = (Ticket, Minor, Reason, Instant)> {
        self.watched.iter().filter_map(|(&ticket, watch)| match watch.task {
            Task::Admission(reason, _) => Some((ticket, watch.minor, reason, watch.since?)),
            _ => None,
        })
    }
}
