//! The control thread: takes the kernel's events, has devices started, changed and stopped, and answers.
//!
//! It never waits for a device, for storage or for configfs: whatever might wait is a [`Job`] on a thread of its
//! own. What happens to one UIO node happens in order: while a job works on it, further events of the node queue
//! up behind.
//!
//! **Every event that wants an answer gets exactly one**: its writer hangs without an answer, and with a second
//! one the kernel may lose the next event of the same device. An event is therefore answered at one place, when
//! the job that it caused is done (`finish`), when an admission takes too long (`give_up`), or at once if it
//! causes none.

mod ask;
mod finish;
mod identity;
mod jobs;
mod later;
mod left;
mod mend;
mod overdue;
mod size;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunbox_tcmu::{Change, DeviceEvent, DeviceId, Event, EventKind, Minor, Netlink, NetlinkError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::job::{ADMISSION_FAILED, Finished, Job, Reason, Surroundings};
use crate::mailbox::{Inbox, Mailbox};
use crate::registry::Registry;
use crate::service::{Notice, Starter};

use jobs::{Jobs, MAX_JOBS};
use later::{Chore, Later};
use left::Left;

pub use ask::{Ask, DeviceState, Overview};
pub use identity::Questions;
pub use jobs::Ticket;
pub use start::{StartError, is_readable};

/// The kernel as seen from here: [`Netlink`], or a model of it.
pub trait Kernel: AsFd {
    /// See [`Netlink::receive`].
    ///
    /// # Errors
    /// See [`NetlinkError`].
    fn receive(&mut self) -> Result<Option<Event>, NetlinkError>;

    /// See [`Netlink::reply`].
    ///
    /// # Errors
    /// See [`NetlinkError`].
    fn reply(
        &mut self,
        kind: &EventKind,
        id: DeviceId,
        status: Result<(), Errno>,
    ) -> Result<(), NetlinkError>;
}

impl Kernel for Netlink {
    fn receive(&mut self) -> Result<Option<Event>, NetlinkError> {
        Self::receive(self)
    }

    fn reply(
        &mut self,
        kind: &EventKind,
        id: DeviceId,
        status: Result<(), Errno>,
    ) -> Result<(), NetlinkError> {
        Self::reply(self, kind, id, status)
    }
}

/// What the control plane is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Devices of a predecessor have not been taken over yet.
    Starting,
    /// Devices are served.
    Serving,
    /// Devices are being stopped; new ones are left to the successor.
    Stopping,
}

/// Why [`Control::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `stop` is readable.
    Signal,
    /// Somebody asked for the devices to be left to a successor as they are.
    HandOver,
}

/// What other threads tell the control thread.
#[derive(Debug)]
pub enum Message<D> {
    /// A device, known by its node, has something to say.
    Notice(Minor, Notice),
    /// A job is done.
    Finished(Ticket, Finished<D>),
    /// Somebody wants to know or to have something.
    Ask(Ask),
}

/// Starts a thread of this name.
type Threads = fn(String, Box<dyn FnOnce() + Send>) -> std::io::Result<()>;

/// How long to wait before a job for which there was no thread is tried again.
const NO_THREAD: Duration = Duration::from_secs(1);

/// The longest that stopping all devices may take: service managers lose their patience after 90 s (systemd's
/// `DefaultTimeoutStopSec`), and then everything ends by SIGKILL.
const SHUT_DOWN: Duration = Duration::from_secs(75);

/// What a stop may take beyond twice the patience: the answer's way through a worker that has much to do.
const STOP_SLACK: Duration = Duration::from_secs(6);

/// How long jobs that are under way get to end before the devices are left to a successor. A hand-over leaves a device
/// without a loop in its middle.
const WITHDRAWAL: Duration = Duration::from_secs(10);

/// The control plane.
pub struct Control<K, S: Starter> {
    kernel: K,
    starter: Arc<S>,
    around: Surroundings,
    registry: Registry<S::Device>,
    mailbox: Mailbox<Message<S::Device>>,
    inbox: Inbox<Message<S::Device>>,
    jobs: Jobs<S::Device>,
    phase: Phase,
    /// Events were lost.
    overrun: bool,
    /// Handlers have come: devices may wait for them.
    look_again: bool,
    /// What other daemons are to answer.
    left: Left,
    /// One of them has gone, and who waits for it is to be answered.
    abandoned: bool,
    /// Devices are to be left to a successor.
    leaving: bool,
    /// The daemon is told to do something else than to serve: no device is moved any more.
    told_to_stop: bool,
    /// Devices in workers of another build, and whose they are.
    outdated: BTreeMap<Minor, String>,
    /// By tenant the hand-over that is under way, or was.
    moving: BTreeMap<String, Ticket>,
    /// What is to be tried again.
    later: Later,
    /// Devices into which commands are being let in again, without a job that the node waits for: whoever keeps them
    /// away must not do so at the same time.
    unblocking: BTreeSet<Minor>,
    threads: Threads,
    /// There was no thread for a job.
    starved: bool,
}

impl<K: Kernel, S: Starter> Control<K, S> {
    /// A control plane that has done nothing yet. `mailbox` is the other end of `inbox`; devices report through it
    /// too.
    pub fn new(
        kernel: K,
        starter: Arc<S>,
        around: Surroundings,
        mailbox: Mailbox<Message<S::Device>>,
        inbox: Inbox<Message<S::Device>>,
    ) -> Self {
        let teller = mailbox.clone();
        around.foreign.on_release(move |subtype| {
            teller.send(Message::Ask(Ask::NobodysNow { subtype: subtype.map(str::to_owned) }));
        });
        Self {
            kernel,
            starter,
            around,
            registry: Registry::default(),
            mailbox,
            inbox,
            jobs: Jobs::default(),
            phase: Phase::Starting,
            overrun: false,
            look_again: false,
            left: Left::default(),
            abandoned: false,
            leaving: false,
            told_to_stop: false,
            outdated: BTreeMap::new(),
            moving: BTreeMap::new(),
            later: Later::default(),
            unblocking: BTreeSet::new(),
            threads: |name, work| std::thread::Builder::new().name(name).spawn(work).map(drop),
            starved: false,
        }
    }

    /// Devices that are served.
    pub fn devices(&self) -> usize {
        self.registry.len()
    }

    /// Serves until `stop` is readable, which is left as it is, or until somebody asks for a hand-over.
    ///
    /// # Errors
    /// Netlink failed for good. Devices go on running.
    pub fn serve(&mut self, stop: BorrowedFd<'_>) -> Result<Outcome, NetlinkError> {
        self.told_to_stop = is_readable(Some(stop));
        self.hand_over_next();
        loop {
            if self.overrun {
                self.overrun = false;
                self.look_again = false;
                self.resynchronise(stop)?;
            }
            if std::mem::take(&mut self.look_again) {
                self.look_at_what_waits(stop)?;
            }
            self.work_off();
            if self.step(Some(stop), None)? {
                return Ok(Outcome::Signal);
            }
            if self.leaving {
                return Ok(Outcome::HandOver);
            }
        }
    }

    /// Stops every device, the newest first. Each keeps new commands away and finishes what it has; what does
    /// not end in time is reported and left. Events that come meanwhile are still answered.
    ///
    /// # Errors
    /// Netlink failed for good; the devices are stopped nevertheless.
    pub fn shut_down(&mut self) -> Result<(), NetlinkError> {
        self.phase = Phase::Stopping;
        // A device that can not be brought back is left to the successor as it is.
        for (ticket, minor, _) in self.jobs.recoveries() {
            self.cancel(ticket, minor);
        }
        let deadline = Instant::now() + time_to_stop(self.registry.len(), self.around.patience);
        // A device that a job holds at first is stopped in the next round.
        let result = loop {
            for minor in self.registry.newest_first() {
                self.retire(minor, true);
            }
            match self.settle(deadline.saturating_duration_since(Instant::now())) {
                Ok(true) if !self.registry.is_empty() => {}
                ended => break ended.map(drop),
            }
        };
        for minor in self.registry.newest_first() {
            if let Some(served) = self.registry.served(minor) {
                tracing::error!(
                    device = %served.name,
                    "not stopped in time; leaving it: its storage, or that of others before it, does not answer. Its \
                     commands wait until it does; \
                     once lunboxd runs again, `lunbox device reset {}` gives the LUN a new start",
                    served.name
                );
            }
        }
        result
    }

    /// Begins nothing more, so that devices can be left to a successor as they are, and waits some seconds for what is
    /// under way: a device in the middle of a hand-over has no loop, and who asked for something wants an answer.
    /// Recoveries are cut short: the successor has them anew.
    ///
    /// # Errors
    /// Netlink failed for good.
    pub fn withdraw(&mut self) -> Result<(), NetlinkError> {
        self.phase = Phase::Stopping;
        for (ticket, minor, endless) in self.jobs.recoveries() {
            if endless {
                self.cancel(ticket, minor);
            } else if let Some(job) = self.jobs.halt(ticket) {
                self.take_back(minor, job);
            }
        }
        if !self.settle(WITHDRAWAL)? {
            tracing::warn!("not everything that was under way has ended; the next lunboxd sees to it");
        }
        Ok(())
    }

    /// Ends the waits of a recovery. If it has not begun it is over at once.
    fn cancel(&mut self, ticket: Ticket, minor: Minor) {
        if let Some(job) = self.jobs.cancel(ticket) {
            self.take_back(minor, job);
        }
    }

    /// A recovery that has not begun is not to be.
    fn take_back(&mut self, minor: Minor, job: Job<S::Device>) {
        let entry = self.registry.entry(minor);
        entry.job = None;
        if let Job::Revive { device, .. } | Job::HandOver { device, .. } = job
            && let Some(served) = entry.served.as_mut()
        {
            served.device = Some(device);
        }
        self.tell_size(minor);
        self.proceed(minor);
    }

    /// Stops a device without having been asked by the kernel, unless a job has it.
    fn retire(&mut self, minor: Minor, block: bool) {
        let entry = self.registry.entry(minor);
        if let Some(served) = entry.served.as_mut().filter(|_| entry.job.is_none())
            && let Some(device) = served.device.take()
        {
            let block = block.then(|| served.name.clone());
            self.begin(minor, None, Job::Stop { minor, device, block });
        }
    }

    /// Works until no job is left or `patience` is over; true if none is left.
    fn settle(&mut self, patience: Duration) -> Result<bool, NetlinkError> {
        let deadline = Instant::now() + patience;
        while !self.jobs.is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            self.step(None, Some(rest))?;
        }
        Ok(true)
    }

    /// Waits for something and does it; true if `stop` became readable.
    fn step(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> Result<bool, NetlinkError> {
        let overdue = self.jobs.next_overdue(self.around.admission);
        let again = self.starved.then_some(NO_THREAD);
        let chore = self.next_chore();
        let timeout = timeout.into_iter().chain(overdue).chain(again).chain(chore).min();
        // Rounded up: a timeout of less than a millisecond must not become a busy loop.
        let timeout = timeout.map_or(PollTimeout::NONE, |rest| {
            PollTimeout::try_from(rest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let watched = [Some(self.kernel.as_fd()), Some(self.inbox.as_fd()), stop];
        let mut watched: Vec<_> =
            watched.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(NetlinkError::System { call: "poll", errno }),
        }
        let stopped = watched.get(2).is_some_and(|fd| fd.any() == Some(true));
        drop(watched);
        self.told_to_stop |= stopped;
        for message in self.inbox.take() {
            match message {
                Message::Notice(minor, notice) => self.hear(minor, notice),
                Message::Finished(ticket, finished) => {
                    if finished.is_of_abandoned() {
                        // A newer event shows that the one that it is about has its answer.
                        self.receive()?;
                    }
                    self.finish(ticket, finished);
                }
                Message::Ask(ask) => self.hear_ask(ask),
            }
        }
        self.receive()?;
        self.give_up();
        self.answer_abandoned()?;
        self.do_chores();
        if self.starved {
            self.work_off();
        }
        Ok(stopped)
    }

    /// Takes all events that have come.
    fn receive(&mut self) -> Result<(), NetlinkError> {
        loop {
            match self.kernel.receive() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Device(event))) => self.dispatch(event),
                Ok(Some(Event::Overrun)) => self.overrun = true,
                Ok(Some(Event::ReplyRefused(errno))) => {
                    tracing::debug!("the kernel did not wait for an answer: {errno}");
                }
                Err(error @ NetlinkError::Malformed { .. }) => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
    }

    fn dispatch(&mut self, mut event: DeviceEvent) {
        tracing::debug!(?event, "event");
        let Some(minor) = event.minor.or_else(|| self.registry.find(event.device_id?)) else {
            return self.without_node(&event);
        };
        self.left.forget(minor);
        let entry = self.registry.entry(minor);
        if let (None, Some(served)) = (event.device_id, &entry.served)
            && event.kind != EventKind::Added
        {
            // The number is known, so the writer need not hang.
            event.device_id = Some(served.id);
        }
        let Some(job) = entry.job else { return self.act(minor, event) };
        // The job that leaves a device to the successor works in its configfs directory, which is locked as long
        // as a removal, or a change with a removal behind it, waits for our answer: it must not wait for the job.
        match event.kind {
            EventKind::Removed if self.jobs.is_leaving(job) => self.answer(&event, Ok(())),
            // Nor for a recovery that waits for storage: the writer holds what the removal needs that would end it.
            EventKind::Reconfigured(_) if self.jobs.is_leaving(job) || self.jobs.is_endless(job) => {
                self.answer(&event, Err(Errno::EAGAIN));
            }
            ref kind => {
                let removed = *kind == EventKind::Removed;
                entry.waiting.push_back(event);
                if removed {
                    // It must not wait for a recovery that may never end.
                    self.cancel(job, minor);
                }
            }
        }
    }

    /// An event that names no node which we know.
    fn without_node(&mut self, event: &DeviceEvent) {
        let status = match event.kind {
            // Nothing of it is here, so nothing is left of it.
            EventKind::Removed => Ok(()),
            EventKind::Added => Err(ADMISSION_FAILED),
            EventKind::Reconfigured(_) => Err(Errno::ENODEV),
        };
        if event.kind != EventKind::Removed {
            tracing::error!(?event, "the kernel's event names no UIO node; it can not be served");
        }
        self.answer(event, status);
    }

    /// Acts on an event of a node on which no job works.
    fn act(&mut self, minor: Minor, event: DeviceEvent) {
        let Some(event) = self.leave_alone(minor, event) else { return self.registry.tidy(minor) };
        match event.kind {
            // It goes on waiting, and the successor finds it.
            EventKind::Added if self.phase == Phase::Stopping => self.registry.tidy(minor),
            EventKind::Added if self.is_other(minor, event.device_id) => {
                // The node of the device that was served here has gone, and its number was given away.
                self.registry.entry(minor).waiting.push_front(event);
                self.retire(minor, false);
            }
            EventKind::Added => {
                // Also for a node that is served already: the event may be older than what is known, or the
                // device may have gone and come again. Whether the node can be opened tells.
                let job = Job::admit(minor, Reason::Announced(event.device_id), Duration::ZERO);
                self.begin(minor, Some(event), job);
            }
            EventKind::Removed => match self.take_device(minor, event.device_id) {
                Some(device) => self.begin(minor, Some(event), Job::Stop { minor, device, block: None }),
                None => {
                    if self.registry.served(minor).is_none() {
                        self.later.forget_all(minor);
                    }
                    self.answer(&event, Ok(()));
                    self.registry.tidy(minor);
                }
            },
            EventKind::Reconfigured(Change::Unknown) => {
                let device = event.name.as_deref().unwrap_or("a device");
                tracing::warn!(
                    device,
                    "this attribute can not be changed while the device is enabled; create it anew"
                );
                self.answer(&event, Err(Errno::EOPNOTSUPP));
                self.registry.tidy(minor);
            }
            EventKind::Reconfigured(ref change) => {
                let change = change.clone();
                match self.take_device(minor, event.device_id) {
                    Some(device) => self.begin(minor, Some(event), Job::Change { minor, device, change }),
                    None => {
                        // While a predecessor's devices are being taken over, the writer had better try again.
                        let known = self.later.is_known(Chore::TakeOver, minor);
                        let serving = self.phase == Phase::Serving;
                        let errno = if serving && !known { Errno::ENODEV } else { Errno::EAGAIN };
                        self.answer(&event, Err(errno));
                        self.registry.tidy(minor);
                    }
                }
            }
        }
    }

    /// The device that is served at a node is not the one that is meant.
    fn is_other(&mut self, minor: Minor, id: Option<DeviceId>) -> bool {
        let served = self.registry.served(minor).filter(|served| served.device.is_some());
        served.is_some_and(|served| id.is_some_and(|id| id != served.id))
    }

    /// Takes the device of a node out of the registry for a job, if it is the one meant.
    fn take_device(&mut self, minor: Minor, id: Option<DeviceId>) -> Option<S::Device> {
        let served = self.registry.served(minor)?;
        if id.is_some_and(|id| id != served.id) {
            return None;
        }
        served.device.take()
    }

    fn begin(&mut self, minor: Minor, event: Option<DeviceEvent>, job: Job<S::Device>) {
        let ticket = self.add(minor, job);
        let entry = self.registry.entry(minor);
        entry.job = Some(ticket);
        entry.current = event;
        if self.jobs.is_endless(ticket) {
            self.refuse_changes(minor);
        }
        self.work_off();
    }

    /// Answers changes that wait behind a job that may take for ever.
    fn refuse_changes(&mut self, minor: Minor) {
        let waiting = std::mem::take(&mut self.registry.entry(minor).waiting);
        for event in waiting {
            match event.kind {
                EventKind::Reconfigured(_) => self.answer(&event, Err(Errno::EAGAIN)),
                _ => self.registry.entry(minor).waiting.push_back(event),
            }
        }
    }

    /// Has a job done that no node waits for.
    fn submit(&mut self, minor: Minor, job: Job<S::Device>) {
        self.add(minor, job);
        self.work_off();
    }

    fn add(&mut self, minor: Minor, job: Job<S::Device>) -> Ticket {
        if let Job::Unblock { .. } = job {
            self.unblocking.insert(minor);
        }
        let served = self.registry.served(minor).map(|served| served.name.clone());
        let (starter, uio) = (&self.starter, &self.around.uio);
        self.jobs.add(minor, job, |job| {
            let name = job.name().or(served.as_ref());
            name.map(|name| starter.tenant(name))
                .or_else(|| uio.node(minor).ok().map(|node| starter.tenant(&node.name)))
                .unwrap_or_default()
        })
    }

    /// Gives waiting jobs to threads.
    fn work_off(&mut self) {
        self.starved = false;
        while let Some((ticket, job)) = self.jobs.take() {
            let (starter, around) = (Arc::clone(&self.starter), self.around.clone());
            let (minor, mailbox) = (job.minor(), self.mailbox.clone());
            // A thread that does not come takes its closure with it: the job, and the device with it, outlives that.
            let kept = Arc::new(Mutex::new(Some(job)));
            let taken = Arc::clone(&kept);
            let work = move || {
                let job = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(job) = job {
                    mailbox.send(Message::Finished(ticket, job.run(&*starter, &around)));
                }
            };
            let Err(error) = (self.threads)(format!("job-{minor}"), Box::new(work)) else { continue };
            let job = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            tracing::error!(%minor, "no thread for a job: {error}; it waits; raise the limit of tasks (TasksMax)");
            self.jobs.put_back(ticket, job);
            self.starved = true;
            return;
        }
    }

    fn answer(&mut self, event: &DeviceEvent, status: Result<(), Errno>) {
        if !event.wants_reply {
            return;
        }
        let Some(id) = event.device_id else {
            return tracing::error!(?event, "the kernel's event has no device id and can not be answered");
        };
        if let Err(error) = self.kernel.reply(&event.kind, id, status) {
            tracing::error!(?event, "the answer could not be sent: {error}");
        }
    }
}

/// How long so many devices may take to stop, each of them up to twice the patience: those beyond the limit of jobs wait
/// for others.
fn time_to_stop(devices: usize, patience: Duration) -> Duration {
    let rounds = u32::try_from(devices.div_ceil(MAX_JOBS)).unwrap_or(u32::MAX);
    (patience.saturating_mul(2) + STOP_SLACK).saturating_mul(rounds).min(SHUT_DOWN)
}

#[cfg(test)]
mod tests;
