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
const SETS: usize = 1024;
/// … of so many slots. Enough for 500 devices that each complain in three places; with more at a time the oldest windows
/// end early.
const WAYS: usize = 8;

/// Bytes of a suppressed line that are kept to say what was repeated.
const KEPT: usize = 256;

/// Bytes of its fields that are kept, for the journal. With more none are.
const KEPT_FIELDS: usize = 2048;

/// What counts as the same line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) hash: u64,
    /// The text is part of it: what was suppressed were repetitions. Otherwise other texts may be among them.
    pub(crate) text: bool,
}

#[derive(Debug, Default)]
struct Slot {
    key: u64,
    /// [`Key::text`]
    same_text: bool,
    /// Begin of the window; none: free.
    since: Option<Instant>,
    lines: u32,
    /// Its own allocation, because few slots have any.
    suppressed: Option<Box<Suppressed>>,
}

/// What was not written in a window: how often, and what the first was.
#[derive(Debug)]
struct Suppressed {
    times: u64,
    level: Level,
    text: String,
    fields: Vec<u8>,
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
        let Suppressed { times, level, text, fields } = *self.suppressed.take()?;
        let text = match (self.same_text, times) {
            (true, _) => format!("{text} … repeated {times} more times"),
            (false, 1) => text,
            (false, _) => format!("{text} … and {} more lines like it", times - 1),
        };
        Some(Box::new(Line { level, when: Timestamp::now(), text, fields }))
    }
}

impl Repeats {
    /// Key of what counts as the same.
    pub(crate) fn key(&self, same: impl std::hash::Hash, text: Option<&String>) -> Key {
        Key { hash: self.hasher.hash_one((same, text)), text: text.is_some() }
    }

    /// Judges a line.
    pub(crate) fn judge(&self, key: Key, line: &Line, now: Instant) -> Verdict {
        let Key { hash: key, text: same_text } = key;
        let set = usize::try_from(key).unwrap_or(0) % SETS;
        let Some(set) = self.sets.get(set) else { return Verdict::Pass(None) };
        let mut set = lock(set);
        let known = set.iter().position(|slot| slot.since.is_some() && slot.key == key);
        let oldest = set.iter().enumerate().min_by_key(|(_, slot)| slot.since).map_or(0, |(at, _)| at);
        let Some(slot) = set.get_mut(known.unwrap_or(oldest)) else { return Verdict::Pass(None) };
        if known.is_none() || slot.is_over(now) {
            let summary = slot.summary();
            *slot = Slot { key, same_text, since: Some(now), lines: 1, ..Slot::default() };
            return Verdict::Pass(summary);
        }
        if slot.lines < PASS {
            slot.lines += 1;
            return Verdict::Pass(None);
        }
        let first = slot.suppressed.is_none();
        let fields = if line.fields.len() <= KEPT_FIELDS { line.fields.as_slice() } else { &[] };
        let suppressed = slot.suppressed.get_or_insert_with(|| {
            let text = line.text[..line.text.floor_char_boundary(KEPT)].to_owned();
            Box::new(Suppressed { times: 0, level: line.level, text, fields: fields.to_vec() })
        });
        suppressed.times += 1;
        if first {
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
            for slot in lock(set).iter_mut().filter(|slot| slot.suppressed.is_some()) {
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
