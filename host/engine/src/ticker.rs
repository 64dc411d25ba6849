//! The thread that advances an engine's epoch while guests are called.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Ticks without a call after which the thread goes to sleep: an idle daemon is idle, and a device with a command now
/// and then does not wake the thread for each.
const IDLE_TICKS: u32 = 100;

/// What callers of guests and the ticker tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// A guest was called, or found running, since the last tick.
    active: AtomicBool,
    end: AtomicBool,
    thread: OnceLock<Thread>,
    /// The ticker sleeps, or is about to: whether it does can not be seen from outside.
    #[cfg(test)]
    asleep: AtomicBool,
}

impl Pulse {
    /// Makes sure that ticks come. To be called after the epoch deadline of a call has been set, and when a tick finds
    /// the call running.
    ///
    /// No call is left without ticks: the ticker sleeps only when it finds `active` false after a tick. A caller
    /// that sees it true was before that, so a tick follows its deadline; the tick stops the guest, which comes
    /// here again.
    #[inline]
    pub(crate) fn beat(&self) {
        // The epoch was read for the deadline; `active` must not be read before it.
        fence(Ordering::Acquire);
        if !self.active.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.active.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Advances the epoch once per tick, and ends when dropped. One for all instances of an engine: each instance
/// measures its own CPU time when a tick finds it running. Sleeps while no guest is called.
#[derive(Debug)]
pub(crate) struct Ticker {
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        Self::drive(tick, move || engine.increment_epoch())
    }

    fn drive(tick: Duration, advance: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let thread = std::thread::Builder::new().name("lunbox-epoch".to_owned()).spawn({
            let pulse = Arc::clone(&pulse);
            move || run(&pulse, tick, advance)
        })?;
        // Whoever gets the pulse gets it from here, so that nobody beats before.
        let _ = pulse.thread.set(thread.thread().clone());
        Ok(Self { pulse, thread: Some(thread) })
    }

    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

fn run(pulse: &Pulse, tick: Duration, advance: impl Fn()) {
    let mut idle = 0;
    while !pulse.end.load(Ordering::Acquire) {
        if idle < IDLE_TICKS {
            std::thread::sleep(tick);
        } else {
            #[cfg(test)]
            pulse.asleep.store(true, Ordering::SeqCst);
            // Woken for no reason it ticks once more, which does no harm.
            std::thread::park();
            #[cfg(test)]
            pulse.asleep.store(false, Ordering::SeqCst);
        }
        advance();
        idle = if pulse.active.swap(false, Ordering::AcqRel) { 0 } else { idle.saturating_add(1) };
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.end.store(true, Ordering::Release);
        self.pulse.wake();
        if let Some(thread) = self.thread.take() {
            // It can not panic; and if it did, its message has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    const TICK: Duration = Duration::from_millis(1);

    fn counting() -> (Ticker, Arc<AtomicU64>) {
        let ticks = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ticks);
        let ticker = Ticker::drive(TICK, move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (ticker.unwrap(), ticks)
    }

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    /// Waits until the thread sleeps.
    fn fall_asleep(ticker: &Ticker) {
        wait_until("the ticker does not sleep", || ticker.pulse().asleep.load(Ordering::SeqCst));
    }

    #[test]
    fn it_sleeps_when_nobody_is_called_and_wakes_when_somebody_is() {
        let (ticker, ticks) = counting();
        for _ in 0..3 {
            fall_asleep(&ticker);
            // Nothing ticks now: the next one comes of the beat.
            let before = ticks.load(Ordering::SeqCst);
            ticker.pulse().beat();
            wait_until("no tick follows a beat", || ticks.load(Ordering::SeqCst) > before);
        }
    }

    #[test]
    fn it_ticks_as_long_as_a_tick_finds_somebody_running() {
        let (ticker, ticks) = counting();
        let mut seen = 0;
        while seen < 2 * u64::from(IDLE_TICKS) {
            let before = ticks.load(Ordering::SeqCst);
            ticker.pulse().beat();
            wait_until("no tick follows a beat", || ticks.load(Ordering::SeqCst) > before);
            seen += 1;
        }
    }

    #[test]
    fn it_ends_when_dropped_asleep_or_not() {
        let (ticker, _) = counting();
        drop(ticker);
        let (ticker, ticks) = counting();
        fall_asleep(&ticker);
        drop(ticker);
        assert_eq!(Arc::strong_count(&ticks), 1, "the thread has ended");
    }
}
