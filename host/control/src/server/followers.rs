//! Those who want to know what happens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::message::Said;
use crate::report::EventReport;

/// Events that wait for one follower.
const QUEUE: usize = 1024;

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

/// What a follower has not taken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Lines with their ends.
    pub(super) lines: VecDeque<Arc<str>>,
    /// Events that came after these and were left out.
    pub(super) lost: u64,
}

impl Followers {
    /// A new follower, who hears of everything that is published from now on.
    pub(super) fn join(&self) -> io::Result<Arc<Follower>> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let follower = Arc::new(Follower { waiting: Mutex::default(), wake });
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
    /// Whether it has room for the line.
    fn offer(&self, line: &Arc<str>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Once something was left out, what follows must not come before the word about it.
        let room = waiting.lost == 0 && waiting.lines.len() < QUEUE;
        if room {
            waiting.lines.push_back(Arc::clone(line));
        } else {
            waiting.lost += 1;
        }
        drop(waiting);
        // The counter is read before it can come to its end; and then it would wake all the same.
        let _ = self.wake.write(1);
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
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
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
    fn who_has_gone_is_forgotten() {
        let followers = Followers::default();
        drop(followers.join().unwrap());
        followers.publish(event(1));
        assert!(followers.list.lock().unwrap().is_empty());
    }
}
