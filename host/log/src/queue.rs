//! The queue, and the thread that empties it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::LogError;
use crate::line::Line;
use crate::output::Output;
use crate::repeat::{Key, Repeats, Verdict};

/// Lines that may wait.
pub(crate) const LINES: usize = 4096;

/// Bytes that may wait.
const BYTES: usize = 8 << 20;

/// How often is looked whether a window of suppressed lines is over, while there is one.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a queue without room is tried again.
const FULL: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Item {
    Line(Box<Line>),
    /// Something was suppressed.
    Wake,
    /// Everything before it is to be written. With `last` also what is suppressed is reported.
    Barrier {
        done: SyncSender<()>,
        last: bool,
    },
}

/// Takes lines of all threads.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: OnceLock<SyncSender<Item>>,
    waiting_bytes: AtomicUsize,
    /// Lines for which there was no room, not yet given to the output.
    lost: AtomicU64,
    pub(crate) output: Output,
    pub(crate) repeats: Repeats,
}

impl Queue {
    pub(crate) fn new(output: Output) -> Arc<Self> {
        Arc::new(Self {
            sender: OnceLock::new(),
            waiting_bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            output,
            repeats: Repeats::default(),
        })
    }

    /// From now on a thread writes. Nothing happens if there is one.
    pub(crate) fn start_thread(self: &Arc<Self>) -> Result<(), LogError> {
        let (sender, receiver) = sync_channel(LINES);
        let queue = Arc::clone(self);
        // Signals are for threads that wait for them. A thread begins with the mask of the one that starts it.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
        let spawned = std::thread::Builder::new()
            .name("log".to_owned())
            .stack_size(256 << 10)
            .spawn(move || queue.empty(&receiver));
        if let Ok(mask) = mask {
            // It was in force before.
            let _ = mask.thread_set_mask();
        }
        spawned.map_err(LogError::Thread)?;
        // A second thread finds its queue closed and ends.
        let _ = self.sender.set(sender);
        Ok(())
    }

    /// Puts a line into the queue, unless it is one of too many of its kind. Never waits once there is a thread.
    pub(crate) fn take(&self, line: Box<Line>, key: Option<Key>) {
        if let Some(key) = key {
            match self.repeats.judge(key, &line, Instant::now()) {
                Verdict::Pass(None) => {}
                Verdict::Pass(Some(summary)) => self.push(summary),
                Verdict::Suppressed(first) => {
                    if let (true, Some(sender)) = (first, self.sender.get()) {
                        // A full queue wakes the thread as well.
                        let _ = sender.try_send(Item::Wake);
                    }
                    return;
                }
            }
        }
        self.push(line);
    }

    fn push(&self, line: Box<Line>) {
        let Some(sender) = self.sender.get() else {
            return self.output.write(&line);
        };
        let weight = line.weight();
        if self.waiting_bytes.fetch_add(weight, Ordering::Relaxed) > BYTES
            || sender.try_send(Item::Line(line)).is_err()
        {
            self.waiting_bytes.fetch_sub(weight, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that did not reach one of the places.
    pub(crate) fn lost(&self) -> u64 {
        self.output.lost() + self.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was logged before is written; false if it is not in time.
    pub(crate) fn flush(&self, patience: Duration, last: bool) -> bool {
        let Some(sender) = self.sender.get() else {
            if last {
                self.finish();
            }
            return true;
        };
        let deadline = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut item = Item::Barrier { done, last };
        loop {
            match sender.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    item = back;
                    std::thread::sleep(FULL);
                }
                Err(_) => return false,
            }
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    /// Says what is not said yet.
    fn finish(&self) {
        self.repeats.sweep(Instant::now(), true, |line| self.output.write(line));
        self.output.note_lost(self.lost.swap(0, Ordering::Relaxed));
        self.output.report_lost();
    }

    fn empty(&self, items: &Receiver<Item>) {
        let mut swept = Instant::now();
        loop {
            let item = if self.repeats.is_pending() {
                items.recv_timeout(SWEEP)
            } else {
                items.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match item {
                Ok(Item::Line(line)) => {
                    self.waiting_bytes.fetch_sub(line.weight(), Ordering::Relaxed);
                    self.output.note_lost(self.lost.swap(0, Ordering::Relaxed));
                    self.output.write(&line);
                }
                Ok(Item::Barrier { done, last }) => {
                    if last {
                        self.finish();
                    }
                    // Whoever waited may have given up.
                    let _ = done.try_send(());
                }
                Ok(Item::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.repeats.is_pending() && swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.repeats.sweep(swept, false, |line| self.output.write(line));
            }
        }
    }
}
