//! How often and how many at once: a check costs a process, and everybody on the machine may ask for one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Checks of one user in a second, in the long run.
const RATE: f64 = 10.0;

/// Checks of one user that may come at once.
const BURST: f64 = 20.0;

/// Users that are told apart. More than that share one ration.
const USERS: usize = 256;

/// A user number that no user has (POSIX: `(uid_t)-1`); stands for all for whom there is no room.
const CROWD: u32 = u32::MAX;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn tokens(&self, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        seconds.mul_add(RATE, self.tokens).min(BURST)
    }
}

/// Who may check how often.
#[derive(Debug, Default)]
pub(crate) struct Rations(Mutex<HashMap<u32, Bucket>>);

impl Rations {
    /// Whether this user may check once more now.
    pub(crate) fn take(&self, user: u32, now: Instant) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !users.contains_key(&user) && users.len() >= USERS {
            users.retain(|_, bucket| bucket.tokens(now) < BURST);
        }
        let user = if users.contains_key(&user) || users.len() < USERS { user } else { CROWD };
        let bucket = users.entry(user).or_insert(Bucket { tokens: BURST, at: now });
        let tokens = bucket.tokens(now);
        let enough = tokens >= 1.0;
        *bucket = Bucket { tokens: if enough { tokens - 1.0 } else { tokens }, at: now };
        enough
    }
}

/// So many at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One of them. Dropped when it is free.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, unless `most` or more are taken.
    pub(crate) fn take(&self, most: usize) -> Option<Place> {
        let more = |taken| (taken < most).then_some(taken + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_user_has_twenty_at_once_and_ten_in_each_second_and_takes_none_of_anothers() {
        let rations = Rations::default();
        let now = Instant::now();
        assert_eq!((0..100).filter(|_| rations.take(1000, now)).count(), 20);
        assert!(rations.take(0, now));
        assert_eq!((0..100).filter(|_| rations.take(1000, now + Duration::from_secs(1))).count(), 10);
        assert_eq!((0..100).filter(|_| rations.take(1000, now + Duration::from_secs(3600))).count(), 20);
    }

    #[test]
    fn many_users_need_no_more_memory_and_share_what_is_left() {
        let rations = Rations::default();
        let now = Instant::now();
        for user in 0..256 {
            assert!(rations.take(user, now));
        }
        // One more has room only when others have not asked for a while.
        assert_eq!((1000..2000).filter(|&user| rations.take(user, now)).count(), 20);
        assert_eq!(rations.0.lock().unwrap().len(), USERS + 1);
        let later = now + Duration::from_secs(10);
        assert!(rations.take(5000, later));
        assert!(rations.0.lock().unwrap().len() < USERS);
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::default();
        let first = places.take(2);
        let second = places.take(2);
        assert!(first.is_some() && second.is_some());
        assert!(places.take(2).is_none());
        drop(first);
        assert!(places.take(2).is_some());
    }
}
