//! Which jobs wait for a thread and which run, and since when.
//!
//! Jobs wait in lanes. Admissions have one of their own: one may hang in storage that does not answer, and then only
//! further admissions wait behind it, never the stop of a device. So have the recoveries of each tenant, which may wait
//! without limit until the operations of a dead process are gone, and its moves to another worker, which may not. What
//! one tenant's storage or worker does not let go on never holds up what is done for another.

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
    /// Where it waits or waited.
    lane: LaneKey,
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
    /// Moves a device that serves; nobody waits for it, until somebody wants the device gone.
    HandOver(Course),
    /// The same for one that does not serve, which may take for ever.
    Recovery(Course),
    /// Stops a device that lives on in the kernel.
    Leaving,
    Other,
}

impl Task {
    /// What can be cancelled.
    const fn recovery(&self) -> Option<&Course> {
        match self {
            Self::HandOver(course) | Self::Recovery(course) => Some(course),
            Self::Admission(_) | Self::Leaving | Self::Other => None,
        }
    }

    const fn way(&self) -> Way {
        match self {
            Self::Admission(_) => Way::Admission,
            Self::HandOver(_) => Way::HandOver,
            Self::Recovery(_) => Way::Recovery,
            Self::Leaving | Self::Other => Way::Other,
        }
    }
}

/// Kinds of lanes, the one first that gets threads first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Other,
    Admission,
    HandOver,
    Recovery,
}

/// A lane, and whose it is.
type LaneKey = (Way, String);

/// All jobs.
#[derive(Debug)]
pub(super) struct Jobs<D> {
    issued: u64,
    watched: BTreeMap<Ticket, Watch>,
    /// Those in which there is something.
    lanes: BTreeMap<LaneKey, Lane<D>>,
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
        Self { issued: 0, watched: BTreeMap::new(), lanes: BTreeMap::new() }
    }
}

impl<D> Lane<D> {
    const fn new(way: Way) -> Self {
        let limit = match way {
            Way::Recovery => MAX_RECOVERIES,
            Way::Other | Way::Admission | Way::HandOver => MAX_JOBS,
        };
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

    /// Puts a job at the end of its lane; `tenant` is whose device it is about.
    pub fn add(&mut self, minor: Minor, job: Job<D>, tenant: impl FnOnce(&Job<D>) -> String) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued += 1;
        let task = match &job {
            Job::Admit { reason: Reason::TakeOver, course, .. } | Job::Revive { course, .. } => {
                Task::Recovery(course.clone())
            }
            Job::HandOver { course, .. } => Task::HandOver(course.clone()),
            Job::Admit { course, .. } => Task::Admission(course.clone()),
            Job::Stop { block: Some(_), .. } => Task::Leaving,
            _ => Task::Other,
        };
        let way = task.way();
        let tenant = if way == Way::Admission { String::new() } else { tenant(&job) };
        let lane = (way, tenant);
        self.lane(&lane).backlog.push_back((ticket, job));
        self.watched.insert(ticket, Watch { minor, task, lane, since: None, cancelled: None });
        ticket
    }

    fn lane(&mut self, key: &LaneKey) -> &mut Lane<D> {
        self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(key.0))
    }

    /// Forgets a lane in which there is nothing.
    fn tidy(&mut self, key: &LaneKey) {
        if self.lanes.get(key).is_some_and(|lane| lane.running == 0 && lane.backlog.is_empty()) {
            self.lanes.remove(key);
        }
    }

    /// The next job that may have a thread.
    pub fn take(&mut self) -> Option<(Ticket, Job<D>)> {
        let (ticket, job) = self.lanes.values_mut().find_map(Lane::take)?;
        if let Some(watch) = self.watched.get_mut(&ticket) {
            watch.since = Some(Instant::now());
        }
        Some((ticket, job))
    }

    /// Takes a job back for which there was no thread: it is the next of its lane again.
    pub fn put_back(&mut self, ticket: Ticket, job: Option<Job<D>>) {
        let (Some(mut watch), Some(job)) = (self.watched.remove(&ticket), job) else { return };
        watch.since = None;
        let lane = self.lane(&watch.lane);
        lane.running -= 1;
        lane.backlog.push_front((ticket, job));
        self.watched.insert(ticket, watch);
    }

    /// What was remembered of a job on which a thread worked, and which is done with or waited for no longer. `None`
    /// if that was so already.
    pub fn end(&mut self, ticket: Ticket) -> Option<Watch> {
        let watch = self.watched.remove(&ticket)?;
        self.lane(&watch.lane).running -= 1;
        self.tidy(&watch.lane);
        Some(watch)
    }

    /// Somebody waits for the job.
    pub fn is_watched(&self, ticket: Ticket) -> bool {
        self.watched.contains_key(&ticket)
    }

    pub fn is_leaving(&self, ticket: Ticket) -> bool {
        self.watched.get(&ticket).is_some_and(|watch| matches!(watch.task, Task::Leaving))
    }

    /// It may take for ever, and only a removal of its device ends it.
    pub fn is_endless(&self, ticket: Ticket) -> bool {
        self.watched.get(&ticket).is_some_and(|watch| matches!(watch.task, Task::Recovery(_)))
    }

    /// Ends the waits of a recovery or a hand-over; other jobs go on. One that has no thread yet is given back: it
    /// might have to wait for many that hang.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Job<D>> {
        let watch = self.watched.get_mut(&ticket)?;
        let course = watch.task.recovery()?;
        course.halt.cancel();
        course.cancel.cancel();
        watch.cancelled.get_or_insert_with(Instant::now);
        self.take_back(ticket)
    }

    /// Has a hand-over not begin with what could leave the device without a loop. If it has begun it goes on.
    pub fn halt(&mut self, ticket: Ticket) -> Option<Job<D>> {
        let Task::HandOver(course) = &self.watched.get(&ticket)?.task else { return None };
        course.halt.cancel();
        self.take_back(ticket)
    }

    /// A job that has no thread yet.
    fn take_back(&mut self, ticket: Ticket) -> Option<Job<D>> {
        let key = self.watched.get(&ticket)?.lane.clone();
        let lane = self.lanes.get_mut(&key)?;
        let position = lane.backlog.iter().position(|(waiting, _)| *waiting == ticket)?;
        let (_, job) = lane.backlog.remove(position)?;
        self.watched.remove(&ticket);
        self.tidy(&key);
        Some(job)
    }

    /// The recoveries and hand-overs that wait or run, their nodes, and whether they may take for ever.
    pub fn recoveries(&self) -> Vec<(Ticket, Minor, bool)> {
        let recoveries = self.watched.iter().filter(|(_, watch)| watch.task.recovery().is_some());
        recoveries
            .map(|(&ticket, watch)| (ticket, watch.minor, matches!(watch.task, Task::Recovery(_))))
            .collect()
    }

    /// How far a job has got, if that is known.
    pub fn progress(&self, ticket: Ticket) -> Option<String> {
        match &self.watched.get(&ticket)?.task {
            Task::Admission(course) | Task::HandOver(course) | Task::Recovery(course) => {
                Some(course.progress.to_string())
            }
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
                Task::HandOver(_) | Task::Recovery(_) => watch.cancelled?,
                Task::Leaving | Task::Other => return None,
            };
            Some((ticket, watch.minor, since))
        })
    }
}
