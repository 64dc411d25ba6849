//! Lines that come again and again. Of the same place in the program and the same device ten pass in five seconds; the
//! others are counted, and one line says how many they were.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::level::Level;
use crate::line::Line;

/// Lines that pass in one window.
const PASS: u32 = 10;

/// Length of a window.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);

/// Slots are found by the hash of place and device: one of so many sets …
const SETS: usize = 256;
/// … of so many slots. With more devices in trouble at a time the oldest windows end early.
const WAYS: usize = 4;

/// Bytes of a suppressed line that are kept to say what was repeated.
const KEPT: usize = 256;

#[derive(Debug, Default)]
struct Slot {
    key: u64,
    /// Begin of the window; none: free.
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
    level: Option<Level>,
    text: String,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Repeats {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
    /// Something is suppressed that was not yet reported.
    pending: AtomicBool,
    hasher: RandomState,
}

/// What becomes of a line.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is written; before it what was counted in an earlier window.
    Pass(Option<Box<Line>>),
    /// It is not; true for the first of a window.
    Suppressed(bool),
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            pending: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }
}

fn lock(set: &Mutex<[Slot; WAYS]>) -> MutexGuard<'_, [Slot; WAYS]> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn is_over(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= WINDOW)
    }

    fn summary(&mut self) -> Option<Box<Line>> {
        let times = std::mem::take(&mut self.suppressed);
        let text = std::mem::take(&mut self.text);
        let level = self.level.take().filter(|_| times > 0)?;
        let text = format!("{text} … repeated {times} more times");
        Some(Box::new(Line { level, when: Timestamp::now(), text, fields: Vec::new() }))
    }
}

impl Repeats {
    /// Key of what counts as the same.
    pub(crate) fn key(&self, same: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(same)
    }

    /// Judges a line.
    pub(crate) fn judge(&self, key: u64, line: &Line, now: Instant) -> Verdict {
        let set = usize::try_from(key).unwrap_or(0) % SETS;
        let Some(set) = self.sets.get(set) else { return Verdict::Pass(None) };
        let mut set = lock(set);
        let known = set.iter().position(|slot| slot.since.is_some() && slot.key == key);
        let oldest = set.iter().enumerate().min_by_key(|(_, slot)| slot.since).map_or(0, |(at, _)| at);
        let Some(slot) = set.get_mut(known.unwrap_or(oldest)) else { return Verdict::Pass(None) };
        if known.is_none() || slot.is_over(now) {
            let summary = slot.summary();
            *slot = Slot { key, since: Some(now), lines: 1, ..Slot::default() };
            return Verdict::Pass(summary);
        }
        if slot.lines < PASS {
            slot.lines += 1;
            return Verdict::Pass(None);
        }
        slot.suppressed += 1;
        let first = slot.suppressed == 1;
        if first {
            slot.level = Some(line.level);
            slot.text.push_str(&line.text[..line.text.floor_char_boundary(KEPT)]);
            self.pending.store(true, Ordering::Release);
        }
        Verdict::Suppressed(first)
    }

    /// Whether [`Repeats::sweep`] has something to do, now or later.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Reports what was counted in windows that are over; with `all` in those that are not, too.
    pub(crate) fn sweep(&self, now: Instant, all: bool, mut report: impl FnMut(&Line)) {
        self.pending.store(false, Ordering::Release);
        for set in &self.sets {
            let mut ready = Vec::new();
            for slot in lock(set).iter_mut().filter(|slot| slot.suppressed > 0) {
                if all || slot.is_over(now) {
                    ready.extend(slot.summary());
                } else {
                    self.pending.store(true, Ordering::Release);
                }
            }
            // Without the lock: others log meanwhile.
            ready.iter().for_each(|line| report(line));
        }
    }
}
