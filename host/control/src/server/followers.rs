//! Those who want to know what happens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::message::Said;
use crate::report::EventReport;
use crate::statistics::TraceReport;

/// Events that wait for one follower.
const QUEUE: usize = 1024;

/// Lines with traces that wait for one follower: each holds some hundred commands.
const TRACES: usize = 64;

/// All followers.
#[derive(Debug, Default)]
pub(super) struct Followers {
    list: Mutex<Vec<Weak<Follower>>>,
    lost: AtomicU64,
}

/// One follower's events. They end with it.
#[derive(Debug)]
pub(super) struct Follower {
    waiting: Mutex<Waiting>,
    wake: EventFd,
}

/// Tells one follower of commands. When it is dropped the follower has heard all.
#[derive(Debug)]
pub struct Teller {
    follower: Arc<Follower>,
    /// Commands that were left out since the last line.
    lost: u64,
}

/// What a follower has not taken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Lines with their ends.
    pub(super) lines: VecDeque<Arc<str>>,
    /// Events that came after these and were left out.
    pub(super) lost: u64,
    /// Nothing comes after these.
    pub(super) ended: bool,
}

impl Followers {
    /// A new follower, who hears of everything that is published from now on.
    pub(super) fn join(&self) -> io::Result<Arc<Follower>> {
        let follower = Follower::new()?;
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&follower));
        Ok(follower)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self, event: EventReport) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|follower| follower.strong_count() > 0);
        if list.is_empty() {
            return;
        }
        // Strings and numbers can always be serialised.
        let Ok(mut line) = serde_json::to_string(&Said { event: Some(event), ..Said::default() }) else {
            return;
        };
        line.push('\n');
        let line: Arc<str> = line.into();
        for follower in list.iter().filter_map(Weak::upgrade) {
            if !follower.offer(&line) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Follower {
    fn new() -> io::Result<Arc<Self>> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Arc::new(Self { waiting: Mutex::default(), wake }))
    }

    /// A follower of a device's commands, and who tells it of them.
    pub(super) fn of_commands() -> io::Result<(Arc<Self>, Teller)> {
        let follower = Self::new()?;
        let teller = Teller { follower: Arc::clone(&follower), lost: 0 };
        Ok((follower, teller))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_up(&self) {
        // The counter is read before it can come to its end; and then it would wake all the same.
        let _ = self.wake.write(1);
    }

    /// Whether it has room for the line.
    fn offer(&self, line: &Arc<str>) -> bool {
        let mut waiting = self.waiting();
        // Once something was left out, what follows must not come before the word about it.
        let room = waiting.lost == 0 && waiting.lines.len() < QUEUE;
        if room {
            waiting.lines.push_back(Arc::clone(line));
        } else {
            waiting.lost += 1;
        }
        drop(waiting);
        self.wake_up();
        room
    }

    /// Becomes readable when something waits.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// All that waits.
    pub(super) fn take(&self) -> Waiting {
        // Nothing to read: then something comes later, and wakes again.
        let _ = self.wake.read();
        let mut waiting = self.waiting();
        // An end stays one.
        let rest = Waiting { ended: waiting.ended, ..Waiting::default() };
        std::mem::replace(&mut waiting, rest)
    }
}

impl Teller {
    /// Tells of commands; never blocks. If the follower does not read, commands are left out and counted.
    pub fn tell(&mut self, mut report: TraceReport) {
        let count = |report: &TraceReport| u64::try_from(report.commands.len()).unwrap_or(u64::MAX);
        let commands = count(&report);
        report.lost = report.lost.saturating_add(self.lost);
        self.lost = report.lost;
        if self.follower.waiting().lines.len() >= TRACES {
            self.lost = self.lost.saturating_add(commands);
            return;
        }
        // Numbers can always be serialised.
        let Ok(mut line) = serde_json::to_string(&Said { trace: Some(report), ..Said::default() }) else {
            return;
        };
        line.push('\n');
        self.follower.waiting().lines.push_back(line.into());
        self.lost = 0;
        self.follower.wake_up();
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.follower.waiting().ended = true;
        self.follower.wake_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> EventReport {
        EventReport { at: number, ..EventReport::default() }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_order_is_kept() {
        let followers = Followers::default();
        followers.publish(event(0));
        let (slow, quick) = (followers.join().unwrap(), followers.join().unwrap());
        let queue = u64::try_from(QUEUE).unwrap();
        for number in 1..=queue + 3 {
            followers.publish(event(number));
            if number == 10 {
                assert_eq!(quick.take().lines.len(), 10);
            }
        }
        let waiting = slow.take();
        assert_eq!((waiting.lines.len(), waiting.lost), (QUEUE, 3));
        assert!(waiting.lines[0].contains("\"at\":1,"), "nothing from before it joined");
        assert!(waiting.lines.iter().all(|line| line.ends_with("}\n")));
        assert_eq!((quick.take().lost, followers.lost()), (0, 3));
        followers.publish(event(5000));
        let waiting = slow.take();
        assert_eq!((waiting.lines.len(), waiting.lost), (1, 0), "it hears again");
    }

    #[test]
    fn commands_that_are_left_out_are_counted_in_order() {
        let (follower, mut teller) = Follower::of_commands().unwrap();
        let report = || TraceReport { commands: vec![Default::default(); 3], lost: 1 };
        for _ in 0..TRACES + 2 {
            teller.tell(report());
        }
        let waiting = follower.take();
        assert_eq!((waiting.lines.len(), waiting.ended), (TRACES, false));
        teller.tell(report());
        drop(teller);
        let waiting = follower.take();
        assert_eq!((waiting.lines.len(), waiting.ended), (1, true));
        let said: Said = serde_json::from_str(&waiting.lines[0]).unwrap();
        let trace = said.trace.unwrap();
        assert_eq!(
            (trace.commands.len(), trace.lost),
            (3, 2 * 4 + 1),
            "those of two lines, and one of its own"
        );
        assert!(follower.take().ended, "it stays at its end");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let followers = Followers::default();
        drop(followers.join().unwrap());
        followers.publish(event(1));
        assert!(followers.list.lock().unwrap().is_empty());
    }
}
