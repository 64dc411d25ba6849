//! How other threads get the attention of the bus' thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::oneshot::Sender;

/// What it was rung for.
#[derive(Debug)]
pub(crate) enum Ring {
    /// The end.
    Stop,
    /// The handlers are not what the bus shows. Whoever waits for that is answered afterwards.
    Settle(Vec<Sender<()>>),
}

#[derive(Debug, Default)]
struct Rung {
    stop: bool,
    settle: bool,
    waiting: Vec<Sender<()>>,
    waker: Option<Waker>,
}

/// Rung by anybody, heard by one task, or by the thread between two connections.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<Rung>,
    stopped: Condvar,
}

impl Bell {
    fn rung(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection, and the thread.
    pub(crate) fn stop(&self) {
        let waker = {
            let mut rung = self.rung();
            rung.stop = true;
            rung.waker.take()
        };
        self.stopped.notify_all();
        wake(waker);
    }

    /// Has the bus show what there is. Does not wait; `waiting` is answered when that is so, or dropped.
    pub(crate) fn settle(&self, waiting: Option<Sender<()>>) {
        let waker = {
            let mut rung = self.rung();
            rung.settle = true;
            rung.waiting.extend(waiting);
            rung.waker.take()
        };
        wake(waker);
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Ring> {
        let mut rung = self.rung();
        if rung.stop {
            return Poll::Ready(Ring::Stop);
        }
        if std::mem::take(&mut rung.settle) {
            return Poll::Ready(Ring::Settle(std::mem::take(&mut rung.waiting)));
        }
        rung.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Hears nothing but the end.
    pub(crate) fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut rung = self.rung();
        if rung.stop {
            return Poll::Ready(());
        }
        rung.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Nobody will settle anything for now: whoever waits is told so.
    pub(crate) fn dismiss(&self) {
        let waiting = std::mem::take(&mut self.rung().waiting);
        drop(waiting);
    }

    /// Blocks for a time, or until it has been stopped; says whether it has.
    pub(crate) fn wait_stop(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut rung = self.rung();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if rung.stop || left.is_zero() {
                return rung.stop;
            }
            (rung, _) = self.stopped.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
