//! What blocks, on threads of its own: starts, changes of size, stops.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use lunbox_device::{DeviceHandle, Ending, Event, ResizeError, StopError, WriteCacheError};
use lunbox_scsi::Bytes;
use lunbox_wire::{Call, Device, Minor, Refusal};

use crate::handlers::Handlers;
use crate::mailbox::{Mailbox, Message};
use crate::start::{self, Refused};

/// Jobs that run at a time; the rest waits. Each costs a thread.
const MOST: usize = 32;
/// Stack of a job's thread: it loads handlers, it does not run them.
const STACK: usize = 1 << 20;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The connection that the request came by: answers go nowhere else.
    pub(crate) connection: u64,
    pub(crate) call: Call,
}

/// Something that blocks.
pub(crate) struct Job {
    pub(crate) minor: Minor,
    pub(crate) generation: u64,
    /// None: the worker's own idea.
    pub(crate) asker: Option<Asker>,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    Start { device: Box<Device>, descriptors: Vec<OwnedFd> },
    Resize { handle: Arc<DeviceHandle>, bytes: u64, patience: Duration },
    WriteCache { handle: Arc<DeviceHandle>, on: bool, patience: Duration },
    Stop { handle: Arc<DeviceHandle>, how: Ending, patience: Duration },
}

impl Work {
    fn task(&self) -> Task {
        match self {
            Self::Start { .. } => Task::Start,
            Self::Resize { .. } => Task::Resize,
            Self::WriteCache { .. } => Task::WriteCache,
            Self::Stop { how, .. } => Task::Stop(*how),
        }
    }
}

/// A job's end.
pub(crate) struct Finished {
    pub(crate) minor: Minor,
    pub(crate) generation: u64,
    pub(crate) asker: Option<Asker>,
    pub(crate) task: Task,
    pub(crate) result: Result<Success, Refused>,
}

/// What a job was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Start,
    Resize,
    WriteCache,
    Stop(Ending),
}

pub(crate) enum Success {
    Started(DeviceHandle),
    /// To so many bytes.
    Resized(u64),
    /// The write cache is on, or off.
    Switched(bool),
    Stopped,
}

/// The threads.
pub(crate) struct Jobs {
    handlers: Arc<Handlers>,
    mailbox: Mailbox,
    waiting: VecDeque<Job>,
    running: usize,
}

impl Jobs {
    pub(crate) fn new(handlers: Arc<Handlers>, mailbox: Mailbox) -> Self {
        Self { handlers, mailbox, waiting: VecDeque::new(), running: 0 }
    }

    /// None is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }

    /// Begins a job, or puts it behind others. Its end comes as [`Message::Finished`], once.
    pub(crate) fn begin(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.fill();
    }

    /// One has finished: another may begin.
    pub(crate) fn finished(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.fill();
    }

    fn fill(&mut self) {
        while self.running < MOST {
            let Some(job) = self.waiting.pop_front() else { return };
            self.running += 1;
            let Job { minor, generation, asker, work } = job;
            let task = work.task();
            let finished =
                move |result| Message::Finished(Finished { minor, generation, asker, task, result });
            let (handlers, mailbox) = (Arc::clone(&self.handlers), self.mailbox.clone());
            let thread =
                std::thread::Builder::new().name("job".to_owned()).stack_size(STACK).spawn(move || {
                    // Whoever asked waits for an answer, whatever happens.
                    let done =
                        catch_unwind(AssertUnwindSafe(|| run(work, minor, generation, &handlers, &mailbox)));
                    mailbox.send(finished(done.unwrap_or_else(|_| {
                        Err(Refused::new(Refusal::Failed, "the worker panicked over it; this is a defect"))
                    })));
                });
            if let Err(error) = thread {
                let reason = format!("starting a thread: {error}; raise the service's limit of tasks");
                self.mailbox.send(finished(Err(Refused::new(Refusal::Failed, reason))));
            }
        }
    }
}

fn run(
    work: Work,
    minor: Minor,
    generation: u64,
    handlers: &Handlers,
    mailbox: &Mailbox,
) -> Result<Success, Refused> {
    match work {
        Work::Start { device, descriptors } => {
            let ear = Ear { mailbox: mailbox.clone(), minor, generation };
            let events = move |event: Event| ear.hear(event);
            start::start(&device, descriptors, handlers, Arc::new(events)).map(Success::Started)
        }
        Work::Resize { handle, bytes, patience } => match handle.resize(Bytes(bytes), patience) {
            Ok(()) => Ok(Success::Resized(bytes)),
            Err(error) => {
                let kind = match error {
                    ResizeError::Invalid(_) => Refusal::Invalid,
                    ResizeError::Refused(_) => Refusal::Unsupported,
                    ResizeError::Stopped => Refusal::Gone,
                    ResizeError::TimedOut => Refusal::TimedOut,
                };
                Err(Refused::new(kind, error))
            }
        },
        Work::WriteCache { handle, on, patience } => match handle.set_write_cache(on, patience) {
            Ok(()) => Ok(Success::Switched(on)),
            Err(error) => {
                let kind = match error {
                    WriteCacheError::Refused(_) => Refusal::Unsupported,
                    WriteCacheError::Stopped => Refusal::Gone,
                    WriteCacheError::TimedOut => Refusal::TimedOut,
                };
                Err(Refused::new(kind, error))
            }
        },
        Work::Stop { handle, how, patience } => match handle.end(how, patience) {
            // A loop that panicked has awaited its operations, too: nothing of it is left.
            Ok(()) | Err(StopError::Panicked) => Ok(Success::Stopped),
            Err(error @ StopError::StoreBusy(_)) => Err(Refused::new(Refusal::StoreBusy, error)),
        },
    }
}

/// Hands on what a loop has to say, and at last that it is over: the loop drops it when it has ended, however that
/// came about ([`lunbox_device::DeviceParts::events`]).
struct Ear {
    mailbox: Mailbox,
    minor: Minor,
    generation: u64,
}

impl Ear {
    fn hear(&self, event: Event) {
        self.mailbox.send(Message::Event { minor: self.minor, generation: self.generation, event });
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.mailbox.send(Message::Silent { minor: self.minor, generation: self.generation });
    }
}
