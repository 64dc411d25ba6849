//! Which jobs wait for a thread and which run, and since when.
//!
//! Admissions have a lane of their own: one may hang in storage that does not answer, and then only further
//! admissions wait behind it, never the stop of a device. So have recoveries, which may wait without limit until the
//! operations of a dead process are gone, and must not hold up admissions, nor the recoveries of another tenant, whose
//! storage may be fine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lunbox_tcmu::Minor;

use crate::job::{Course, Job, Reason};

/// Most jobs of one lane at one time. More wait their turn: a mass creation must not become a thousand threads.
pub(super) const MAX_JOBS: usize = 32;

/// The same for the recoveries of one tenant: each that waits for storage takes a thread.
pub(super) const MAX_RECOVERIES: usize = 64;

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
    /// It was cancelled then.
    cancelled: Option<Instant>,
}

/// What a job does, as far as the control thread cares.
#[derive(Debug)]
pub(super) enum Task {
    /// Somebody waits for it.
    Admission(Course),
    /// Nobody waits for it, until somebody wants the device gone. It is a device of this tenant.
    Recovery(Course, String),
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
    /// By tenant.
    recoveries: BTreeMap<String, Lane<D>>,
    others: Lane<D>,
}

#[derive(Debug)]
struct Lane<D> {
    limit: usize,
    backlog: VecDeque<(Ticket, Job<D>)>,
    /// Jobs that threads work on.
    running: usize,
}

impl<D> Default for Jobs<D> {
    fn default() -> Self {
        Self {
            issued: 0,
            watched: BTreeMap::new(),
            admissions: Lane::new(MAX_JOBS),
            recoveries: BTreeMap::new(),
            others: Lane::new(MAX_JOBS),
        }
    }
}

impl<D> Lane<D> {
    const fn new(limit: usize) -> Self {
        Self { limit, backlog: VecDeque::new(), running: 0 }
    }

    fn take(&mut self) -> Option<(Ticket, Job<D>)> {
        if self.running >= self.limit {
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

    /// Puts a job at the end of its lane; `tenant` is whose device it is about, asked for only if that matters.
    pub fn add(&mut self, minor: Minor, job: Job<D>, tenant: impl FnOnce(&Job<D>) -> String) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued += 1;
        let task = match &job {
            Job::Admit { reason: Reason::TakeOver, course, .. }
            | Job::Revive { course, .. }
            | Job::HandOver { course, .. } => Task::Recovery(course.clone(), tenant(&job)),
            Job::Admit { course, .. } => Task::Admission(course.clone()),
            Job::Stop { block: Some(_), .. } => Task::Leaving,
            _ => Task::Other,
        };
        self.lane(&task).backlog.push_back((ticket, job));
        self.watched.insert(ticket, Watch { minor, task, since: None, cancelled: None });
        ticket
    }

    fn lane(&mut self, task: &Task) -> &mut Lane<D> {
        match task {
            Task::Admission(_) => &mut self.admissions,
            Task::Recovery(_, tenant) => {
                self.recoveries.entry(tenant.clone()).or_insert_with(|| Lane::new(MAX_RECOVERIES))
            }
            Task::Leaving | Task::Other => &mut self.others,
        }
    }

    /// Forgets a tenant that has no recoveries.
    fn tidy(&mut self, task: &Task) {
        if let Task::Recovery(_, tenant) = task
            && self.recoveries.get(tenant).is_some_and(|lane| lane.running == 0 && lane.backlog.is_empty())
        {
            self.recoveries.remove(tenant);
        }
    }

    /// The next job that may have a thread.
    pub fn take(&mut self) -> Option<(Ticket, Job<D>)> {
        let next = self.others.take().or_else(|| self.admissions.take());
        let (ticket, job) = next.or_else(|| self.recoveries.values_mut().find_map(Lane::take))?;
        if let Some(watch) = self.watched.get_mut(&ticket) {
            watch.since = Some(Instant::now());
        }
        Some((ticket, job))
    }

    /// Takes a job back for which there was no thread: it is the next of its lane again.
    pub fn put_back(&mut self, ticket: Ticket, job: Option<Job<D>>) {
        let (Some(mut watch), Some(job)) = (self.watched.remove(&ticket), job) else { return };
        watch.since = None;
        let lane = self.lane(&watch.task);
        lane.running -= 1;
        lane.backlog.push_front((ticket, job));
        self.watched.insert(ticket, watch);
    }

    /// What was remembered of a job on which a thread worked, and which is done with or waited for no longer. `None`
    /// if that was so already.
    pub fn end(&mut self, ticket: Ticket) -> Option<Watch> {
        let watch = self.watched.remove(&ticket)?;
        self.lane(&watch.task).running -= 1;
        self.tidy(&watch.task);
        Some(watch)
    }

    /// Somebody waits for the job.
    pub fn is_watched(&self, ticket: Ticket) -> bool {
        self.watched.contains_key(&ticket)
    }

    pub fn is_leaving(&self, ticket: Ticket) -> bool {
        self.watched.get(&ticket).is_some_and(|watch| matches!(watch.task, Task::Leaving))
    }

    /// Ends the waits of a recovery; other jobs go on. One that has no thread yet is given back: it might have to
    /// wait for many that hang.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Job<D>> {
        let watch = self.watched.get_mut(&ticket)?;
        let Task::Recovery(course, tenant) = &watch.task else { return None };
        course.cancel.cancel();
        watch.cancelled.get_or_insert_with(Instant::now);
        let lane = self.recoveries.get_mut(tenant)?;
        let position = lane.backlog.iter().position(|(waiting, _)| *waiting == ticket)?;
        let (_, job) = lane.backlog.remove(position)?;
        if let Some(watch) = self.watched.remove(&ticket) {
            self.tidy(&watch.task);
        }
        Some(job)
    }

    /// The recoveries that wait or run, and their nodes.
    pub fn recoveries(&self) -> Vec<(Ticket, Minor)> {
        let recoveries = self.watched.iter().filter(|(_, watch)| matches!(watch.task, Task::Recovery(..)));
        recoveries.map(|(&ticket, watch)| (ticket, watch.minor)).collect()
    }

    /// How far a job has got, if that is known.
    pub fn progress(&self, ticket: Ticket) -> Option<String> {
        match &self.watched.get(&ticket)?.task {
            Task::Admission(course) | Task::Recovery(course, _) => Some(course.progress.to_string()),
            Task::Leaving | Task::Other => None,
        }
    }

    /// Admissions on which threads have worked for longer than `patience`, and recoveries that have not ended for so
    /// long although they were cancelled.
    pub fn overdue(&self, patience: Duration) -> Vec<(Ticket, Minor)> {
        let overdue = self.bounded().filter(|(_, _, since)| since.elapsed() >= patience);
        overdue.map(|(ticket, minor, _)| (ticket, minor)).collect()
    }

    /// How long until one more job is overdue.
    pub fn next_overdue(&self, patience: Duration) -> Option<Duration> {
        self.bounded().map(|(_, _, since)| patience.saturating_sub(since.elapsed())).min()
    }

    fn bounded(&self) -> impl Iterator<Item = (Ticket, Minor, Instant)> {
        self.watched.iter().filter_map(|(&ticket, watch)| {
            let since = match watch.task {
                Task::Admission(_) => watch.since?,
                Task::Recovery(..) => watch.cancelled?,
                Task::Leaving | Task::Other => return None,
            };
            Some((ticket, watch.minor, since))
        })
    }
}
