//! The LUN that misbehaves, and an initiator that makes it do so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lunbox_emulator::{CommandSpec, Data};
use lunbox_engine::Limits;
use lunbox_store::Store;

use super::misdeed::Misdeed;
use crate::lun::{Lun, Placement};

const SIZE: u64 = 64 << 20;
const BYTES: u32 = 4096;
const DEPTH: u32 = 32;
/// SAM-5, table 48.
const BUSY: u8 = 0x08;
/// Commands that must be planned well before the device loop forgets earlier faults, and a few more: those that
/// it had planned together with the fault count less.
const FORGIVEN_AFTER: u32 = 288;
/// A LUN must answer by then, and serve again, whatever its handler did.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the initiator does between two triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Nothing but wait a little after BUSY.
    Relentless,
    /// So many good reads that the host forgets the fault: the handler gets no pauses.
    Forgiven,
}

/// What the offender did while the neighbour was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    /// Triggers per second.
    pub triggers: f64,
    /// Instances lost per second.
    pub faults: f64,
    /// CPU time of its thread, as a part of one CPU.
    pub cpu: f64,
}

/// A LUN that can be made to misbehave.
pub struct Bad {
    lun: Lun,
    misdeed: &'static Misdeed,
}

impl Bad {
    /// Starts it.
    pub fn start(misdeed: &'static Misdeed, limits: &Limits) -> Result<Self> {
        let handler = lunbox_behaviour::wasm(misdeed.package);
        let in_flight = u64::from(BYTES * DEPTH);
        let lun = Lun::start(handler, Store::memory(SIZE)?, limits.clone(), in_flight, Placement::Free)?;
        Ok(Self { lun, misdeed })
    }

    /// Sends `count` reads at `lba` together; the result is how many were answered BUSY.
    fn read(&mut self, lba: u64, count: u32) -> Result<u32> {
        let mut cdb = [0; 16];
        cdb[0] = 0x88;
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&(BYTES / 512).to_be_bytes());
        for _ in 0..count {
            self.lun.kernel.queue(&CommandSpec { cdb: &cdb, data: Data::In(BYTES), token: 0 })?;
        }
        self.lun.kernel.signal()?;
        let (mut left, mut busy) = (count, 0);
        while left > 0 {
            ensure!(self.lun.kernel.wait_rung(PATIENCE)?, "no answer within {PATIENCE:?}");
            self.lun.kernel.collect_with(|completion| {
                left -= 1;
                busy += u32::from(completion.status == BUSY);
            });
        }
        Ok(busy)
    }

    /// Makes it misbehave once; whether it was answered BUSY.
    pub fn provoke(&mut self) -> Result<bool> {
        let place = self.misdeed.place(SIZE).context("the LUN is too small")?;
        let count = if self.misdeed.trigger.is_some() { 1 } else { DEPTH };
        Ok(self.read(place / 512, count)? > 0)
    }

    /// One good read; whether it was served.
    pub fn serves(&mut self) -> Result<bool> {
        Ok(self.read(0, 1)? == 0)
    }

    /// Good reads until earlier faults are forgotten.
    pub fn be_forgiven(&mut self) -> Result<()> {
        let mut left = FORGIVEN_AFTER;
        while left > 0 {
            left -= (DEPTH - self.read(0, DEPTH)?).min(left);
        }
        Ok(())
    }
}

/// A thread that makes a LUN misbehave until it is told to stop.
pub struct Offender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally>>,
}

impl Offender {
    /// Starts it; returns when it has misbehaved once.
    pub fn start(
        misdeed: &'static Misdeed,
        limits: &Limits,
        manners: Manners,
        busy_delay: Duration,
    ) -> Result<Self> {
        let mut bad = Bad::start(misdeed, limits)?;
        let stop = Arc::new(AtomicBool::new(false));
        let triggers = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, triggers) = (Arc::clone(&stop), Arc::clone(&triggers));
            move || offend(&mut bad, manners, busy_delay, &stop, &triggers)
        });
        let deadline = Instant::now() + PATIENCE;
        while triggers.load(Ordering::Relaxed) == 0 && !thread.is_finished() {
            ensure!(Instant::now() < deadline, "it did not misbehave within {PATIENCE:?}");
            std::thread::yield_now();
        }
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the offender's thread panicked"))?
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
fn offend(
    bad: &mut Bad,
    manners: Manners,
    busy_delay: Duration,
    stop: &AtomicBool,
    triggers: &AtomicU64,
) -> Result<Tally> {
    let (start, before) = (Instant::now(), bad.lun.device.status());
    while !stop.load(Ordering::Relaxed) {
        let busy = bad.provoke()?;
        triggers.fetch_add(1, Ordering::Relaxed);
        if !busy {
            continue;
        }
        // Not a wait for something: the initiator's delay is part of the load.
        std::thread::sleep(busy_delay);
        if manners == Manners::Forgiven {
            bad.be_forgiven()?;
        }
    }
    let after = bad.lun.device.status();
    let seconds = start.elapsed().as_secs_f64();
    Ok(Tally {
        triggers: triggers.load(Ordering::Relaxed) as f64 / seconds,
        faults: (after.faults - before.faults) as f64 / seconds,
        cpu: (after.cpu_ns - before.cpu_ns) as f64 / 1e9 / seconds,
    })
}
