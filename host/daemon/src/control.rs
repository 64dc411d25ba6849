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

mod jobs;
mod overdue;
mod start;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_tcmu::{Change, DeviceEvent, DeviceId, Event, EventKind, Minor, Netlink, NetlinkError, UioError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::job::{ADMISSION_FAILED, Admission, Finished, Job, Reason, Surroundings};
use crate::mailbox::{Inbox, Mailbox};
use crate::registry::{Entry, Registry};
use crate::service::{Notice, Running, Starter};

use jobs::{Jobs, MAX_JOBS};

pub use jobs::Ticket;
pub use start::StartError;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Devices of a predecessor have not been taken over yet.
    Starting,
    Serving,
    /// Devices are being stopped; new ones are left to the successor.
    Stopping,
}

/// What other threads tell the control thread.
#[derive(Debug)]
pub enum Message<D> {
    /// A device, known by its node, has something to say.
    Notice(Minor, Notice),
    /// A job is done.
    Finished(Ticket, Finished<D>),
}

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
        }
    }

    /// Devices that are served.
    pub fn devices(&self) -> usize {
        self.registry.len()
    }

    /// Serves until `stop` is readable, which is left as it is.
    ///
    /// # Errors
    /// Netlink failed for good. Devices go on running until this is dropped.
    pub fn serve(&mut self, stop: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        loop {
            if self.overrun {
                self.overrun = false;
                self.resynchronise()?;
            }
            if self.step(Some(stop), None)? {
                return Ok(());
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
        // Stopping takes up to twice the patience; jobs beyond the limit wait for others.
        let rounds = u32::try_from(self.registry.len().div_ceil(MAX_JOBS)).unwrap_or(u32::MAX);
        let patience = self.around.patience.saturating_mul(2).saturating_mul(rounds) + Duration::from_secs(1);
        let deadline = Instant::now() + patience;
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
                tracing::error!(device = %served.name, "not stopped in time; leaving it");
            }
        }
        result
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
        let timeout = timeout.into_iter().chain(overdue).min();
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
        for message in self.inbox.take() {
            match message {
                Message::Notice(minor, notice) => self.hear(minor, notice),
                Message::Finished(ticket, finished) => self.finish(ticket, finished),
            }
        }
        self.receive()?;
        self.give_up();
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

    fn dispatch(&mut self, event: DeviceEvent) {
        tracing::debug!(?event, "event");
        let Some(minor) = event.minor.or_else(|| self.registry.find(event.device_id?)) else {
            return self.without_node(&event);
        };
        let entry = self.registry.entry(minor);
        let Some(job) = entry.job else { return self.act(minor, event) };
        // The job that leaves a device to the successor works in its configfs directory, which is locked as long
        // as a removal, or a change with a removal behind it, waits for our answer: it must not wait for the job.
        match event.kind {
            EventKind::Removed if self.jobs.is_leaving(job) => self.answer(&event, Ok(())),
            EventKind::Reconfigured(_) if self.jobs.is_leaving(job) => {
                self.answer(&event, Err(Errno::EAGAIN));
            }
            _ => entry.waiting.push_back(event),
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
                    self.answer(&event, Ok(()));
                    self.registry.tidy(minor);
                }
            },
            EventKind::Reconfigured(Change::Size(bytes)) => match self.take_device(minor, event.device_id) {
                Some(device) => self.begin(minor, Some(event), Job::Resize { minor, device, bytes }),
                None => {
                    // While a predecessor's devices are being taken over, the writer had better try again.
                    let serving = self.phase == Phase::Serving;
                    let errno = if serving { Errno::ENODEV } else { Errno::EAGAIN };
                    self.answer(&event, Err(errno));
                    self.registry.tidy(minor);
                }
            },
            EventKind::Reconfigured(ref change) => {
                let what = match change {
                    Change::Config(_) => "dev_config",
                    Change::WriteCache(_) => "emulate_write_cache",
                    Change::Size(_) | Change::Unknown => "this attribute",
                };
                let device = event.name.as_deref().unwrap_or("a device");
                tracing::warn!(
                    device,
                    "{what} can not be changed while the device is enabled; create it anew"
                );
                self.answer(&event, Err(Errno::EOPNOTSUPP));
                self.registry.tidy(minor);
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
        let ticket = self.jobs.add(minor, job);
        let entry = self.registry.entry(minor);
        entry.job = Some(ticket);
        entry.current = event;
        self.work_off();
    }

    /// Has a job done that no node waits for.
    fn submit(&mut self, minor: Minor, job: Job<S::Device>) {
        self.jobs.add(minor, job);
        self.work_off();
    }

    /// Gives waiting jobs to threads.
    fn work_off(&mut self) {
        while let Some((ticket, job)) = self.jobs.take() {
            let (starter, around) = (Arc::clone(&self.starter), self.around.clone());
            let (minor, lost, mailbox) = (job.minor(), job.lost(), self.mailbox.clone());
            let work = move || mailbox.send(Message::Finished(ticket, job.run(&*starter, &around)));
            if let Err(error) = std::thread::Builder::new().name(format!("job-{minor}")).spawn(work) {
                tracing::error!(%minor, "no thread for a job: {error}; raise the limit of tasks (TasksMax)");
                self.mailbox.send(Message::Finished(ticket, lost));
            }
        }
    }

    /// Takes the result of a job, answers the event that caused it, and turns to the node's next event.
    fn finish(&mut self, ticket: Ticket, finished: Finished<S::Device>) {
        if self.jobs.end(ticket).is_none() {
            return self.too_late(finished);
        }
        let (minor, status) = match finished {
            Finished::Serial { minor, result } => {
                // Not a job on the node: the device kept running and other jobs may have been at work.
                self.give_serial(minor, result);
                return self.work_off();
            }
            Finished::Discarded { name, result } => {
                if let Err(reason) = result {
                    tracing::error!(device = %name, "stopped badly: {reason}");
                }
                return self.work_off();
            }
            Finished::Admitted { minor, reason, admission } => {
                (minor, self.admitted(minor, reason, admission))
            }
            Finished::Resized { minor, device, bytes, result } => {
                let served = self.registry.served(minor);
                if let Some(served) = served {
                    match &result {
                        Ok(()) => tracing::info!(device = %served.name, bytes, "resized"),
                        Err(refusal) => {
                            tracing::warn!(device = %served.name, bytes, "not resized: {}", refusal.reason);
                        }
                    }
                    if std::mem::take(&mut served.owes_serial) {
                        device.set_serial(served.serial.clone());
                    }
                    served.device = Some(device);
                }
                (minor, Some(result.map_err(|refusal| refusal.errno)))
            }
            Finished::Stopped { minor, result } => {
                if let Some(served) = self.registry.entry(minor).served.take() {
                    match result {
                        Ok(()) => tracing::info!(device = %served.name, "stopped"),
                        Err(reason) => tracing::error!(device = %served.name, "stopped badly: {reason}"),
                    }
                }
                (minor, Some(Ok(())))
            }
            Finished::Lost { minor } => {
                tracing::error!(%minor, "a job failed, which is a defect; its device is not served any more");
                let entry = self.registry.entry(minor);
                if entry.served.as_ref().is_some_and(|served| served.device.is_none()) {
                    entry.served = None;
                }
                (minor, Some(Err(Errno::EIO)))
            }
        };
        let entry = self.registry.entry(minor);
        entry.job = None;
        if let (Some(event), Some(status)) = (entry.current.take(), status) {
            self.answer(&event, status);
        }
        if self.registry.served(minor).is_some_and(|served| served.gone) {
            self.retire(minor, false);
        }
        self.proceed(minor);
    }

    /// Turns to what waits behind a job that is over.
    fn proceed(&mut self, minor: Minor) {
        // The events that came meanwhile, until one of them starts a job.
        let next = |entry: &mut Entry<_>| if entry.job.is_some() { None } else { entry.waiting.pop_front() };
        while let Some(event) = self.registry.get(minor).and_then(next) {
            self.act(minor, event);
        }
        self.registry.tidy(minor);
        self.work_off();
    }

    /// Files a device that was admitted; gives the answer to the event that asked for it, if one is due.
    fn admitted(
        &mut self,
        minor: Minor,
        reason: Reason,
        admission: Admission<S::Device>,
    ) -> Option<Result<(), Errno>> {
        match admission {
            Admission::Served { node, id, device } => {
                tracing::info!(device = %node.name, subtype = node.name.subtype, %minor, "serving");
                if let Some(predecessor) = self.registry.serve(minor, id, node.name.clone(), device) {
                    // It was enabled a second time before the end of the first was noticed.
                    tracing::info!(device = %predecessor.name, "its UIO node had gone");
                }
                if std::mem::take(&mut self.registry.entry(minor).wants_serial) {
                    self.submit(minor, Job::Serial { minor, name: node.name });
                }
                self.found_waiting(reason, id, Ok(()));
                Some(Ok(()))
            }
            Admission::Busy(error) => {
                if self.registry.served(minor).is_some() {
                    // The event is older than what is known: it was answered when the device was found.
                    tracing::debug!(%minor, "already served");
                    return None;
                }
                tracing::error!("{error}");
                Some(Err(ADMISSION_FAILED))
            }
            Admission::Skipped => None,
            Admission::Refused { id, reason: why } => {
                if reason == Reason::TakeOver {
                    tracing::error!(
                        %minor,
                        "not taken over: {why}; its commands wait until that is put right and lunboxd is restarted"
                    );
                } else {
                    tracing::error!(%minor, "not served: {why}");
                }
                if let Some(id) = id {
                    self.found_waiting(reason, id, Err(ADMISSION_FAILED));
                }
                Some(Err(ADMISSION_FAILED))
            }
        }
    }

    /// Answers the event that was not received but found.
    fn found_waiting(&mut self, reason: Reason, id: DeviceId, status: Result<(), Errno>) {
        if reason == Reason::Waiting {
            let event = DeviceEvent {
                kind: EventKind::Added,
                device_id: Some(id),
                minor: None,
                name: None,
                wants_reply: true,
            };
            self.answer(&event, status);
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

    /// Listens to a device.
    fn hear(&mut self, minor: Minor, notice: Notice) {
        let Some(entry) = self.registry.get(minor) else { return };
        let Some(served) = entry.served.as_mut() else {
            // It runs, but the result of the job that started it has not been looked at yet.
            entry.wants_serial |= notice == Notice::IdentityWanted;
            return;
        };
        let name = served.name.clone();
        match notice {
            Notice::IdentityWanted => self.submit(minor, Job::Serial { minor, name }),
            Notice::Trouble(reason) => tracing::warn!(device = %name, "{reason}"),
            Notice::Recovered => tracing::info!(device = %name, "serving again"),
            Notice::Ended(reason) => {
                // If the node has gone, nobody will announce the removal.
                served.gone = match self.around.uio.node(minor) {
                    Ok(node) => node.name != name,
                    Err(error) => matches!(error, UioError::Gone { .. } | UioError::Name { .. }),
                };
                if served.gone {
                    tracing::info!(device = %name, "its UIO node has gone: {reason}");
                    self.retire(minor, false);
                } else {
                    tracing::error!(
                        device = %name,
                        "serves no more: {reason}; restart lunboxd, or remove the device and create it again"
                    );
                }
            }
        }
    }

    fn give_serial(&mut self, minor: Minor, result: Result<String, String>) {
        let Some(served) = self.registry.served(minor) else { return };
        match result {
            Ok(serial) => served.serial = serial,
            // The INQUIRY must not hang: the number as it was known, or none.
            Err(error) => tracing::warn!(device = %served.name, "serial number not readable: {error}"),
        }
        match &served.device {
            Some(device) => device.set_serial(served.serial.clone()),
            None => served.owes_serial = true,
        }
    }
}

#[cfg(test)]
mod tests;
