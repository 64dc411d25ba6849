//! io_uring (io_uring(7); kernel header include/uapi/linux/io_uring.h): submission, completion and polls.
//!
//! Memory that the kernel was told about is owned here, by key of its operation, until its completion has been
//! taken. Dropping the ring cancels what is under way and awaits it; should that fail, the memory is leaked
//! rather than freed under the kernel's hands.
#![allow(unsafe_code, reason = "submission entries carry addresses that the kernel reads and writes later")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use nix::libc;

use crate::ExecutorError;
use crate::operation::Call;
use crate::pool::Finished;
use crate::transfer::Transfer;

/// Completion entries for each submission entry: operations in flight are not bounded by the submission queue.
const COMPLETIONS_PER_ENTRY: u32 = 4;

/// What a completion belongs to; the top byte of its user data.
const OPERATION: u64 = 0;
const POLL: u64 = 1;
const CANCEL: u64 = 2;

fn user_data(class: u64, generation: u32, index: u32) -> u64 {
    class << 56 | u64::from(generation & 0xff_ffff) << 32 | u64::from(index)
}

/// Memory under way, by key of its operation.
#[derive(Debug, Default)]
struct Running {
    transfer: Option<Transfer>,
    /// Counts the uses of the key, so that a late cancel does not hit its next operation.
    generation: u32,
}

/// One io_uring. All methods from one thread at a time.
pub(crate) struct Uring {
    ring: IoUring,
    running: Vec<Running>,
    running_count: usize,
    /// Watches with a poll under way.
    polls: Vec<u32>,
    /// Entries that did not fit into the submission queue, oldest first.
    backlog: VecDeque<squeue::Entry>,
    syscalls: u64,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("running", &self.running_count).finish_non_exhaustive()
    }
}

impl Uring {
    /// Sets a ring up with `entries` submission entries (rounded and clamped by the kernel). At most `workers`
    /// kernel threads work on operations that have to wait.
    ///
    /// # Errors
    /// [`ExecutorError::Setup`], [`ExecutorError::Feature`].
    pub(crate) fn new(entries: u32, workers: u32) -> Result<Self, ExecutorError> {
        let entries = entries.max(1);
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY)).dontfork();
        // Completions wait until the owner enters the kernel, which saves interrupts. Linux 5.19 has this;
        // before, the flags are refused. Neither binds the ring to a thread.
        let ring = match builder.clone().setup_coop_taskrun().setup_taskrun_flag().build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(entries),
            other => other,
        };
        let ring = ring.map_err(ExecutorError::Setup)?;
        let parameters = ring.params();
        for (there, feature) in [
            (parameters.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG"),
            (parameters.is_feature_nodrop(), "IORING_FEAT_NODROP"),
            (parameters.is_feature_submit_stable(), "IORING_FEAT_SUBMIT_STABLE"),
        ] {
            if !there {
                return Err(ExecutorError::Feature { feature });
            }
        }
        let mut limits = [workers.max(1); 2];
        if let Err(error) = ring.submitter().register_iowq_max_workers(&mut limits) {
            // Linux 5.15 has it. Without, the kernel's own bound holds.
            tracing::debug!(%error, "the kernel's worker threads can not be bounded");
        }
        Ok(Self {
            ring,
            running: Vec::new(),
            running_count: 0,
            polls: Vec::new(),
            backlog: VecDeque::new(),
            syscalls: 2,
        })
    }

    /// System calls so far.
    pub(crate) fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Queues a call and takes its memory until [`Self::turn`] gives it back. `may_wait` sends it to a kernel
    /// thread at once. Calls that io_uring does not know are handed back. Enters the kernel only if the
    /// submission queue is full.
    pub(crate) fn start(
        &mut self,
        key: u32,
        file: &OwnedFd,
        call: Call,
        transfer: Transfer,
        may_wait: bool,
    ) -> Result<(), Transfer> {
        let fd = Fd(file.as_raw_fd());
        let pieces = transfer.chunk();
        let vector: *const libc::iovec = pieces.as_ptr().cast();
        let count = u32::try_from(pieces.len()).expect("a chunk has at most MAX_PIECES pieces");
        let entry = match call {
            Call::Read { offset } => {
                opcode::Readv::new(fd, vector, count).offset(offset.cast_unsigned()).build()
            }
            Call::Write { offset, durable } => opcode::Writev::new(fd, vector, count)
                .offset(offset.cast_unsigned())
                .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
                .build(),
            Call::Sync { data_only } => {
                let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(fd).flags(flags).build()
            }
            Call::Allocate { mode, offset, length } => opcode::Fallocate::new(fd, length.cast_unsigned())
                .offset(offset.cast_unsigned())
                .mode(mode)
                .build(),
            Call::BlockDiscard { .. }
            | Call::Data { .. }
            | Call::Hole { .. }
            | Call::Extents { .. }
            | Call::Space => {
                return Err(transfer);
            }
        };
        let index = key as usize;
        if self.running.len() <= index {
            self.running.resize_with(index + 1, Running::default);
        }
        let running = &mut self.running[index];
        assert!(running.transfer.is_none(), "an operation has one call under way at a time");
        running.generation = running.generation.wrapping_add(1);
        running.transfer = Some(transfer);
        self.running_count += 1;
        let entry = entry.user_data(user_data(OPERATION, running.generation, key));
        self.push(if may_wait { entry.flags(squeue::Flags::ASYNC) } else { entry });
        Ok(())
    }

    /// Asks the kernel to cancel a call; its end still comes.
    pub(crate) fn cancel(&mut self, key: u32) {
        if let Some(Running { transfer: Some(_), generation }) = self.running.get(key as usize) {
            let target = user_data(OPERATION, *generation, key);
            self.push(opcode::AsyncCancel::new(target).build().user_data(user_data(CANCEL, 0, 0)));
        }
    }

    /// Queues a one-shot poll for readability of a file descriptor that stays open while it is watched.
    pub(crate) fn poll(&mut self, watch: u32, fd: BorrowedFd<'_>) {
        self.poll_raw(watch, fd.as_raw_fd());
    }

    fn poll_raw(&mut self, watch: u32, fd: RawFd) {
        let events = u32::from(libc::POLLIN.cast_unsigned());
        self.polls.push(watch);
        self.push(opcode::PollAdd::new(Fd(fd), events).build().user_data(user_data(POLL, 0, watch)));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        // What does not fit now is pushed by the next turn.
        if self.enter(false, None).is_ok() {
            self.flush_backlog();
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: needed to submit. The entry's addresses, if it has any, are the heap memory of a transfer in
        // `running`, which leaves there only when the completion has been taken (or never). Its file is owned
        // by the executor, which drops its stores after this ring.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn flush_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Submits what is queued, sleeps until something has ended (not at all if something has already, at most
    /// `limit` if there is one), and takes the ends. It may return early with nothing.
    ///
    /// # Errors
    /// [`ExecutorError::Enter`]: nothing was lost, but the ring may be unusable.
    pub(crate) fn turn(
        &mut self,
        limit: Option<Duration>,
        finished: &mut Vec<Finished>,
        fired: &mut Vec<u32>,
    ) -> Result<(), ExecutorError> {
        self.flush_backlog();
        let found = self.reap(finished, fired);
        let sleep = !found && limit != Some(Duration::ZERO);
        let queue = self.ring.submission();
        let idle = queue.is_empty() && !queue.cq_overflow() && !queue.taskrun();
        drop(queue);
        if idle && !sleep {
            return Ok(());
        }
        let entered = self.enter(sleep, limit);
        let found = self.reap(finished, fired) || found;
        match entered {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                // The kernel is short of memory or of completion entries. The latter were just taken.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    if !found {
                        std::thread::yield_now();
                        self.syscalls += 1;
                    }
                    Ok(())
                }
                _ => Err(ExecutorError::Enter(error)),
            },
        }
    }

    fn enter(&mut self, sleep: bool, limit: Option<Duration>) -> io::Result<()> {
        self.syscalls += 1;
        let submitter = self.ring.submitter();
        match (sleep, limit) {
            (false, _) => submitter.submit(),
            (true, None) => submitter.submit_and_wait(1),
            (true, Some(limit)) => {
                let limit = Timespec::from(limit);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
        }
        .map(drop)
    }

    /// Takes the completions that are there. True if there were any.
    fn reap(&mut self, finished: &mut Vec<Finished>, fired: &mut Vec<u32>) -> bool {
        let mut found = false;
        for completion in self.ring.completion() {
            let data = completion.user_data();
            let key = u32::try_from(data & 0xffff_ffff).expect("masked to 32 bits");
            match data >> 56 {
                OPERATION => {
                    let running = self.running.get_mut(key as usize);
                    if let Some(transfer) = running.and_then(|running| running.transfer.take()) {
                        self.running_count -= 1;
                        finished.push(Finished { key, result: completion.result().into(), transfer });
                        found = true;
                    }
                }
                POLL => {
                    self.polls.retain(|&watch| watch != key);
                    fired.push(key);
                    found = true;
                }
                _ => {}
            }
        }
        found
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for key in 0..self.running.len() {
            self.cancel(u32::try_from(key).expect("keys are 32 bits"));
        }
        // A poll keeps its file open until the kernel has torn the ring down, which happens some time after
        // close. A UIO device that its successor wants to open must not stay busy so long.
        for watch in self.polls.clone() {
            let target = user_data(POLL, 0, watch);
            self.push(opcode::AsyncCancel::new(target).build().user_data(user_data(CANCEL, 0, 0)));
        }
        let (mut finished, mut fired) = (Vec::new(), Vec::new());
        while self.running_count > 0 || !self.polls.is_empty() {
            if let Err(error) = self.turn(None, &mut finished, &mut fired) {
                tracing::error!(%error, "operations can not be awaited: their memory is leaked");
                Box::leak(Box::new(std::mem::take(&mut self.running)));
                return;
            }
        }
    }
}
