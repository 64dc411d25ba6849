//! The control channel of a device: messages in, events out.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lunbox_scsi::Bytes;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::run::DeviceLoop;
use crate::settings::{DeviceParts, Identity, Modes, StartError};
use crate::statistics::Statistics;
use crate::status::{Counters, Health, Status};
use crate::trace::{Trace, TraceRecord};
use crate::write_cache::WriteCacheError;

/// What a device tells whoever started it. Delivered on the device's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An INQUIRY waits for [`DeviceHandle::set_identity`].
    IdentityWanted,
    /// The handler failed; it is being rebuilt.
    HandlerFailed(String),
    /// The handler serves again.
    HandlerServes,
    /// The handler has found that the LUN has another size than it was told, at the start or when it was rebuilt. The
    /// loop serves this size, and so does a new loop that is started with it.
    Resized(Bytes),
    /// An initiator asks for another state of a target port group (SET TARGET PORT GROUPS). The command waits for
    /// [`DeviceHandle::answer_access_state`].
    AccessStateWanted {
        /// Names the command in the answer; never used twice by one loop.
        call: u64,
        /// Identifier of the group.
        group: u16,
        /// ASYMMETRIC ACCESS STATE as SPC-5 codes it, 0 to Fh.
        state: u8,
    },
    /// An initiator has set mode parameters (MODE SELECT). Whoever starts the next loop passes them on
    /// ([`crate::Settings`]).
    ModesChanged {
        /// The LUN has a write cache now.
        write_cache: bool,
        /// The others.
        modes: Modes,
    },
    /// The ring is broken or gone, or the loop panicked; the device must be removed or started anew. It is the last
    /// event, and all operations have ended: nothing touches the ring's data any more.
    Ended(String),
}

/// Why a size was not taken over. The old size stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// Not a size for this device.
    #[error("{0}")]
    Invalid(String),
    /// The handler can not or will not.
    #[error("handler refuses the new size: {0}")]
    Refused(String),
    /// The loop has ended.
    #[error("the device has stopped")]
    Stopped,
    /// Commands did not end in time.
    #[error("commands in progress did not end in time; try again")]
    TimedOut,
}

/// Why a device did not stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// A store keeps operations that can not be cancelled; the thread ends when they do.
    #[error("{0} store operations have not ended in time; their buffers stay reserved until they do")]
    StoreBusy(u64),
    /// The loop panicked: a defect of the host.
    #[error("the device's thread failed")]
    Panicked,
}

/// What becomes of the ring when its loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that is in the ring is served first.
    Drain,
    /// Nothing more is taken from the ring: what was taken is finished, what waits is left to the next loop, which
    /// begins where this one ended ([`lunbox_tcmu::Ring::attach`]). Initiators see a pause and nothing else. Stores
    /// are flushed while the loop still serves, so that the flush at its very end is short.
    HandOver,
    /// Nothing more is taken; what was taken is cancelled and answered BUSY.
    Cancel,
}

/// How SET TARGET PORT GROUPS ends (SPC-5 6.45).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessStateAnswer {
    /// The group has the state: GOOD.
    Set,
    /// There is no such group, or it does not support the state: 5/26/00.
    Unsupported,
    /// The change failed: 4/67/0A.
    Failed,
}

pub(crate) enum Control {
    Identity(Identity),
    AccessState(u64, AccessStateAnswer),
    Resize(Bytes, ResizeClaim, Sender<Result<(), ResizeError>>),
    WriteCache(bool, ResizeClaim, Sender<Result<(), WriteCacheError>>),
    /// A second one cancels, whatever it says.
    Stop(Ending),
}

/// Decides between the loop that takes a size (or a write cache) over and the asker who runs out of patience: one of them is first.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResizeClaim(Arc<AtomicBool>);

impl ResizeClaim {
    /// True for whoever comes first.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Somebody was first already.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The receiving end, owned by the loop.
pub(crate) struct Inbox {
    pub(crate) messages: Receiver<Control>,
    wake: Arc<EventFd>,
}

impl Inbox {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn acknowledge(&self) {
        // EAGAIN means that nothing had been sent: the messages are looked at either way.
        let _ = self.wake.read();
    }
}

/// A running device, for any thread. Dropping it without [`DeviceHandle::end`] tells the loop to end and does not
/// wait.
pub struct DeviceHandle {
    name: String,
    messages: Sender<Control>,
    wake: Arc<EventFd>,
    counters: Arc<Counters>,
    trace: Arc<Trace>,
    thread: Mutex<Thread>,
}

/// The loop's thread, for whoever waits for its end.
struct Thread {
    ended: Receiver<()>,
    /// None once it was waited for.
    join: Option<JoinHandle<()>>,
}

/// Starts a device and returns when its handler is configured and the loop takes commands.
///
/// # Errors
/// See [`StartError`]; the ring's and the stores' descriptors are closed.
pub fn spawn(parts: DeviceParts) -> Result<DeviceHandle, StartError> {
    let wake = Arc::new(
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(std::io::Error::from)?,
    );
    let (messages, inbox) = channel();
    let (started, start) = channel();
    let (end, ended) = channel();
    let counters = Arc::new(Counters::default());
    let trace = Arc::new(Trace::default());
    let name = parts.name.clone();
    let inbox = Inbox { messages: inbox, wake: Arc::clone(&wake) };
    let thread = {
        let (counters, trace) = (Arc::clone(&counters), Arc::clone(&trace));
        // Linux keeps 15 characters of a thread's name.
        let label: String = format!("lun-{name}").chars().take(15).collect();
        let events = Arc::clone(&parts.events);
        std::thread::Builder::new().name(label).spawn(move || {
            let panic = match DeviceLoop::new(parts, inbox, Arc::clone(&counters), trace) {
                Ok(device) => {
                    let _ = started.send(Ok(()));
                    serve(device, &counters, &*events)
                }
                Err(error) => {
                    counters.set_health(Health::Stopped);
                    let _ = started.send(Err(error));
                    None
                }
            };
            let _ = end.send(());
            if let Some(panic) = panic {
                // For whoever joins the thread: StopError::Panicked.
                resume_unwind(panic);
            }
        })?
    };
    match start.recv() {
        Ok(Ok(())) => {
            let thread = Mutex::new(Thread { ended, join: Some(thread) });
            Ok(DeviceHandle { name, messages, wake, counters, trace, thread })
        }
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        Err(_) => {
            let _ = thread.join();
            Err(StartError::Thread(std::io::Error::other("the device's thread failed while starting")))
        }
    }
}

/// Runs the loop to its end, tells of an end that nobody asked for, and returns a panic.
///
/// Initiators whose commands were in the ring wait until somebody hears of it, so a defect of the loop or of a native
/// handler must not keep it from being told.
fn serve(device: DeviceLoop, counters: &Counters, events: &dyn Fn(Event)) -> Option<Box<dyn Any + Send>> {
    // Unwinding drops the loop, which awaits its operations; nothing of it is seen afterwards.
    let ended = catch_unwind(AssertUnwindSafe(|| device.run()));
    counters.set_health(Health::Stopped);
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            events(Event::Ended(error.to_string()));
            None
        }
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("without a message");
            let reason = format!("the device's thread panicked ({message}); this is a defect");
            tracing::error!(reason, "device stopped");
            events(Event::Ended(reason));
            Some(panic)
        }
    }
}

impl DeviceHandle {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A snapshot of the counters; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.counters.snapshot()
    }

    /// What the device has done, by class of command; never blocks.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    /// Begins to keep a record of each command that is completed, or ends it; what was kept is dropped. The loop
    /// never waits for whoever takes the records: beyond a few thousand they are lost, and counted.
    pub fn set_trace(&self, on: bool) {
        self.trace.switch(on);
    }

    /// Records are kept.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.trace.is_on()
    }

    /// Takes at most `most` records, oldest first, and returns how many were lost since the last call.
    pub fn take_trace(&self, most: usize, out: &mut Vec<TraceRecord>) -> u64 {
        self.trace.take(most, out)
    }

    /// Answers [`Event::IdentityWanted`]; never blocks.
    pub fn set_identity(&self, identity: Identity) {
        self.send(Control::Identity(identity));
    }

    /// Answers [`Event::AccessStateWanted`]; never blocks. A call that has ended meanwhile is ignored.
    pub fn answer_access_state(&self, call: u64, answer: AccessStateAnswer) {
        self.send(Control::AccessState(call, answer));
    }

    /// Changes the size of the LUN: waits until the commands in progress have ended, asks the handler, and tells
    /// initiators by one unit attention (6/2A/09). Blocks for at most `patience`.
    ///
    /// # Errors
    /// See [`ResizeError`].
    pub fn resize(&self, size: Bytes, patience: Duration) -> Result<(), ResizeError> {
        let (reply, answer) = channel();
        let claim = ResizeClaim::default();
        self.send(Control::Resize(size, claim.clone(), reply));
        match answer.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) if claim.take() => {
                // The loop takes no commands while it waits to resize: it must hear that nobody waits any more.
                let _ = self.wake.write(1);
                Err(ResizeError::TimedOut)
            }
            // The loop was first: the handler is being asked, within its own deadline.
            Err(RecvTimeoutError::Timeout) => answer.recv().unwrap_or(Err(ResizeError::Stopped)),
            Err(RecvTimeoutError::Disconnected) => Err(ResizeError::Stopped),
        }
    }

    /// Switches the write cache of the LUN. Without one each write is durable before it is answered, and the caching
    /// mode page says so; what was written before is flushed first. Waits until the commands in progress have ended,
    /// and tells initiators by one unit attention (6/2A/01). Blocks for at most `patience`.
    ///
    /// # Errors
    /// See [`WriteCacheError`]; nothing has changed then.
    pub fn set_write_cache(&self, on: bool, patience: Duration) -> Result<(), WriteCacheError> {
        let (reply, answer) = channel();
        let claim = ResizeClaim::default();
        self.send(Control::WriteCache(on, claim.clone(), reply));
        match answer.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) if claim.take() => {
                // The loop takes no commands while it waits.
                let _ = self.wake.write(1);
                Err(WriteCacheError::TimedOut)
            }
            // The loop was first, and its answer is on the way.
            Err(RecvTimeoutError::Timeout) => answer.recv().unwrap_or(Err(WriteCacheError::Stopped)),
            Err(RecvTimeoutError::Disconnected) => Err(WriteCacheError::Stopped),
        }
    }

    /// Serves what is in the ring, flushes, and ends the loop: [`Self::end`] with [`Ending::Drain`].
    ///
    /// # Errors
    /// See [`StopError`].
    pub fn stop(self, patience: Duration) -> Result<(), StopError> {
        self.end(Ending::Drain, patience)
    }

    /// Ends the loop. After `patience` the commands in progress are cancelled (BUSY); what can not be cancelled is
    /// left to end by itself. Blocks for at most about twice `patience`. When it returns `Ok`, no operation refers
    /// to the ring's data, and every command that was taken is completed, unless the ring broke.
    ///
    /// # Errors
    /// See [`StopError`]. After [`StopError::StoreBusy`] it may be called again, to wait for longer. Callers on
    /// several threads wait for each other.
    pub fn end(&self, ending: Ending, patience: Duration) -> Result<(), StopError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.join.is_none() {
            return Ok(());
        }
        self.send(Control::Stop(ending));
        if thread.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(device = self.name, "commands have not ended in time: cancelling them");
            self.send(Control::Stop(Ending::Cancel));
            if thread.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                return Err(StopError::StoreBusy(self.counters.in_flight.get()));
            }
        }
        match thread.join.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(StopError::Panicked),
            _ => Ok(()),
        }
    }

    fn send(&self, message: Control) {
        // A loop that has ended takes no messages; `status` says so.
        if self.messages.send(message).is_ok() {
            // The counter of an eventfd that nobody reads overflows after 2^64 writes.
            let _ = self.wake.write(1);
        }
    }
}

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if thread.join.is_some() {
            self.send(Control::Stop(Ending::Drain));
            self.send(Control::Stop(Ending::Cancel));
        }
    }
}
