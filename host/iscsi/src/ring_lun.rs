//! A logical unit behind a TCM-User ring: this side plays the kernel.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lunbox_emulator::{CommandSpec, Kernel, QueueError};
use lunbox_scsi::BlockSize;

use crate::lun::{CommandId, Data, Ended, LogicalUnit, Refusal, TaskManagement};

/// Serves a LUN with whatever device loop sits at the other end of the ring.
///
/// Whether the ring carries task management entries, and whether data blocks are poisoned, is decided by the
/// options with which the [`Kernel`] was made.
pub struct RingLun {
    kernel: Kernel,
    block_size: BlockSize,
    max_data: u32,
    task_management: bool,
    /// The breakdown has been logged.
    reported: bool,
    /// Nobody is at the other end any more; set by [`RingCloser`].
    closed: Arc<AtomicBool>,
    name: String,
}

impl fmt::Debug for RingLun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingLun").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RingLun {
    /// Takes over a device. `name` is for logs.
    ///
    /// `max_data` is cut to the size of the data area, in which all running commands share the room.
    #[must_use]
    pub fn new(name: String, kernel: Kernel, block_size: BlockSize, limits: RingLimits) -> Self {
        let area = u64::from(kernel.free_blocks()) * u64::from(lunbox_emulator::BLOCK_BYTES);
        let max_data = limits.max_data.min(u32::try_from(area).unwrap_or(u32::MAX));
        let task_management = limits.task_management;
        let closed = Arc::default();
        Self { kernel, block_size, max_data, task_management, reported: false, closed, name }
    }

    /// The means to tell this side that the device loop has ended: without it, commands in the ring would never be
    /// answered.
    ///
    /// # Errors
    /// The error of duplicating the doorbell's descriptor.
    pub fn closer(&self) -> std::io::Result<RingCloser> {
        let doorbell = File::from(self.kernel.doorbell().try_clone_to_owned()?);
        Ok(RingCloser { closed: Arc::clone(&self.closed), doorbell })
    }

    /// The emulated kernel back, for whoever wants to check what was done to it.
    #[must_use]
    pub fn into_kernel(self) -> Kernel {
        self.kernel
    }
}

/// Tells a [`RingLun`] that its device loop has ended.
#[derive(Debug)]
pub struct RingCloser {
    closed: Arc<AtomicBool>,
    /// Of the ring: whoever collects is woken.
    doorbell: File,
}

impl RingCloser {
    /// The commands in the ring end with CHECK CONDITION 2/08/00, and so do all new ones from now on, for good. From
    /// any thread, as often as wanted; never blocks.
    ///
    /// To be called when nothing touches the ring's data any more: the commands are answered at once.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // It fails only when nobody has collected 2^64 − 2 times; then the doorbell is readable anyway.
        let _ = (&self.doorbell).write(&1u64.to_ne_bytes());
    }
}

/// What a [`RingLun`] may be asked to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Most bytes of data of one command.
    pub max_data: u32,
    /// The ring was made with task management entries ([`lunbox_emulator::Features::tmr`]), so that aborts reach
    /// the device loop. Otherwise aborted commands run to their end.
    pub task_management: bool,
}

impl LogicalUnit for RingLun {
    fn block_size(&self) -> BlockSize {
        self.block_size
    }

    fn max_data(&self) -> u32 {
        self.max_data
    }

    fn start(&mut self, token: u64, cdb: &[u8], data: Data<'_>) -> Result<CommandId, Refusal> {
        if self.is_closed() {
            return Err(Refusal::Broken);
        }
        self.kernel.queue(&CommandSpec { cdb, data, token }).map_err(|error| self.refusal(error))
    }

    fn flush_signal(&mut self) -> nix::Result<()> {
        self.kernel.signal()
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.kernel.doorbell()
    }

    fn collect(&mut self, ended: &mut dyn FnMut(Ended<'_>)) {
        let mut deliver = |completion: lunbox_emulator::CompletionRef<'_>| {
            let lunbox_emulator::CompletionRef { token, status, sense, data_in, .. } = completion;
            ended(Ended { token, status, sense, data_in });
        };
        // Looked at first: what the device loop completed before its end was collected below.
        let closed = self.is_closed();
        self.kernel.collect_with(&mut deliver);
        if closed {
            self.kernel.reset_ring(lunbox_emulator::ResetMode::Check);
            self.kernel.deliver_made(&mut deliver);
        } else if self.kernel.is_broken() {
            // Nothing in the ring would ever end: do what an administrator does on a real kernel. The device loop
            // notices a reset and starts over.
            if !self.reported {
                self.reported = true;
                let reason = self.kernel.check().err().map_or_else(String::new, |report| report.to_string());
                tracing::error!(lun = self.name, reason, "ring broken by the device loop; resetting it");
            }
            self.kernel.reset_ring(lunbox_emulator::ResetMode::Check);
            self.kernel.deliver_made(&mut deliver);
        }
    }

    fn abort(&mut self, kind: TaskManagement, commands: &[CommandId]) -> Result<(), Refusal> {
        if !self.task_management || self.is_closed() {
            return Ok(());
        }
        match self.kernel.queue_tmr(kind, commands) {
            Ok(()) | Err(QueueError::NoTaskManagement) => Ok(()),
            Err(error) => Err(self.refusal(error)),
        }
    }
}

impl RingLun {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn refusal(&self, error: QueueError) -> Refusal {
        match error {
            QueueError::Full => Refusal::Full,
            QueueError::Blocked => Refusal::Blocked,
            QueueError::TooBig => Refusal::TooBig,
            QueueError::Broken | QueueError::Cdb { .. } | QueueError::NoTaskManagement => Refusal::Broken,
            QueueError::Memory(errno) => {
                tracing::warn!(lun = self.name, %errno, "no memory for a command's data");
                Refusal::Blocked
            }
        }
    }
}
