//! What could not be done and is tried again after a while, without a job that waits meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lunbox_tcmu::Minor;

use super::{Control, Kernel, Phase};
use crate::job::{Job, Reason};
use crate::service::Starter;

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Chore {
    /// Taking over a device whose UIO node somebody else has open. The kernel tells nobody when a node is closed.
    TakeOver,
    /// Letting commands in again.
    Unblock,
    /// Bringing a device back for which something was wanting here.
    Mend,
    /// Moving a device to another worker, which could not be had.
    HandOver,
    /// Telling the kernel of a size that the handler found.
    TellSize,
}

impl Chore {
    /// The first pause and the longest.
    const fn pauses(self) -> (Duration, Duration) {
        match self {
            Self::TakeOver | Self::Unblock | Self::Mend | Self::TellSize => {
                (Duration::from_secs(1), Duration::from_secs(10))
            }
            // The device is served.
            Self::HandOver => (Duration::from_secs(10), Duration::from_secs(600)),
        }
    }
}

/// All that is to be tried again.
#[derive(Debug, Default)]
pub(super) struct Later {
    chores: BTreeMap<(Chore, Minor), Next>,
}

#[derive(Debug)]
struct Next {
    /// None while it is being tried.
    due: Option<Instant>,
    /// Before the try behind that.
    pause: Duration,
}

impl Later {
    /// Has something tried again after a pause, longer each time; true if it is the first time.
    pub fn put_off(&mut self, chore: Chore, minor: Minor) -> bool {
        let (first, longest) = chore.pauses();
        let known = self.chores.get(&(chore, minor)).map(|next| next.pause);
        let pause = known.unwrap_or(first);
        let next = Next { due: Some(Instant::now() + pause), pause: pause.saturating_mul(2).min(longest) };
        self.chores.insert((chore, minor), next);
        known.is_none()
    }

    /// It was done, or is not to be done any more.
    pub fn forget(&mut self, chore: Chore, minor: Minor) {
        self.chores.remove(&(chore, minor));
    }

    /// Nothing is to be done for this node any more.
    pub fn forget_all(&mut self, minor: Minor) {
        self.chores.retain(|(_, other), _| *other != minor);
    }

    /// It was put off and has not been done since.
    pub fn is_known(&self, chore: Chore, minor: Minor) -> bool {
        self.chores.contains_key(&(chore, minor))
    }

    /// Its pause is not over.
    pub fn is_waiting(&self, chore: Chore, minor: Minor) -> bool {
        self.chores.get(&(chore, minor)).is_some_and(|next| next.due.is_some())
    }

    /// How long until something is due.
    pub fn next(&self) -> Option<Duration> {
        let due = self.chores.values().filter_map(|next| next.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// What is due; each is given out once, until it is put off again.
    fn take(&mut self) -> Vec<(Chore, Minor)> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for (&key, next) in &mut self.chores {
            if next.due.is_some_and(|due| due <= now) {
                next.due = None;
                taken.push(key);
            }
        }
        taken
    }
}

#[cfg(test)]
impl Later {
    /// All pauses are over.
    pub fn hurry(&mut self) {
        for next in self.chores.values_mut().filter(|next| next.due.is_some()) {
            next.due = Some(Instant::now());
        }
    }
}

impl<K: Kernel, S: Starter> Control<K, S> {
    /// How long until something is to be tried again.
    pub(super) fn next_chore(&self) -> Option<Duration> {
        if self.phase == Phase::Serving { self.later.next() } else { None }
    }

    /// Tries again what is due.
    pub(super) fn do_chores(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        for (chore, minor) in self.later.take() {
            let busy = self.registry.get(minor).is_some_and(|entry| entry.job.is_some());
            let name = self.registry.served(minor).map(|served| served.name.clone());
            match (chore, name) {
                (Chore::TakeOver, None) if !busy => {
                    self.begin(minor, None, Job::admit(minor, Reason::TakeOver, Duration::ZERO));
                }
                // Somebody else looks at the node, or has done so.
                (Chore::TakeOver, _)
                | (Chore::Unblock | Chore::Mend | Chore::HandOver | Chore::TellSize, None) => {
                    self.later.forget(chore, minor);
                }
                (Chore::Unblock, Some(_)) if busy => {
                    self.later.put_off(chore, minor);
                }
                (Chore::Unblock, Some(name)) => self.submit(minor, Job::Unblock { minor, name }),
                (Chore::Mend, Some(_)) => self.mend(minor),
                (Chore::HandOver, Some(_)) => self.hand_over_next(),
                (Chore::TellSize, Some(_)) => self.tell_size(minor),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_it_was_done_and_nothing_is_given_out_twice() {
        let mut later = Later::default();
        let minor = Minor(3);
        assert!(later.put_off(Chore::TakeOver, minor));
        assert!(later.is_waiting(Chore::TakeOver, minor) && later.take().is_empty());
        for (seconds, next) in [(1, 2), (2, 4), (4, 8), (8, 10), (10, 10)] {
            let wait = later.next().unwrap();
            assert!(wait <= Duration::from_secs(seconds) && wait > Duration::from_secs(seconds) / 2);
            assert_eq!(later.chores[&(Chore::TakeOver, minor)].pause, Duration::from_secs(next));
            later.chores.get_mut(&(Chore::TakeOver, minor)).unwrap().due = Some(Instant::now());
            assert_eq!(later.take(), [(Chore::TakeOver, minor)]);
            assert!(later.take().is_empty() && later.next().is_none());
            assert!(later.is_known(Chore::TakeOver, minor) && !later.is_waiting(Chore::TakeOver, minor));
            assert!(!later.put_off(Chore::TakeOver, minor));
        }
        later.forget_all(minor);
        assert!(later.put_off(Chore::TakeOver, minor));
    }
}
