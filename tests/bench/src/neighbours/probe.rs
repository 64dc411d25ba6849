//! The neighbour: 4 KiB random reads at a fixed depth, each of them timed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lunbox_emulator::{CommandSpec, Data, QueueError};
use lunbox_engine::Limits;
use lunbox_store::Store;

use crate::lun::{Lun, Placement};

const SIZE: u64 = 64 << 20;
const BYTES: u32 = 4096;
const BLOCKS: u32 = BYTES / 512;
/// No command may take so long, whoever misbehaves beside it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one measurement found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Commands per second.
    pub iops: f64,
    /// Half of the commands were not slower, in microseconds.
    pub median_us: f64,
    /// 99 of 100 were not slower, in microseconds.
    pub p99_us: f64,
    /// The slowest, in microseconds.
    pub max_us: f64,
}

impl Latency {
    /// `None` without commands.
    #[allow(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
    fn of(mut times: Vec<Duration>, elapsed: Duration) -> Option<Self> {
        times.sort_unstable();
        let us = |time: &Duration| time.as_secs_f64() * 1e6;
        Some(Self {
            iops: times.len() as f64 / elapsed.as_secs_f64(),
            median_us: us(&times[times.len().checked_sub(1)? / 2]),
            p99_us: us(&times[(times.len() - 1) * 99 / 100]),
            max_us: us(times.last()?),
        })
    }
}

/// The neighbour and its initiator.
pub struct Probe {
    lun: Lun,
    depth: usize,
    random: u64,
}

impl Probe {
    /// Starts it.
    pub fn start(depth: usize) -> Result<Self> {
        let handler = lunbox_behaviour::wasm("lunbox-handler-file");
        let in_flight = u64::from(BYTES) * u64::try_from(depth)?;
        let lun = Lun::start(handler, Store::memory(SIZE)?, Limits::default(), in_flight, Placement::Free)?;
        Ok(Self { lun, depth, random: 0x9e37_79b9_7f4a_7c15 })
    }

    fn queue(&mut self, token: u64) -> Result<()> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let lba = self.random % (SIZE / u64::from(BYTES)) * u64::from(BLOCKS);
        let mut cdb = [0; 16];
        cdb[0] = 0x88;
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&BLOCKS.to_be_bytes());
        match self.lun.kernel.queue(&CommandSpec { cdb: &cdb, data: Data::In(BYTES), token }) {
            Ok(_) => Ok(()),
            Err(QueueError::Full) => anyhow::bail!("the ring is too small for depth {}", self.depth),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the depth filled for `length`, then lets the rest finish.
    pub fn round(&mut self, length: Duration) -> Result<Latency> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(1 << 20);
        // When the command of each token was queued.
        let mut queued = vec![start; self.depth];
        let mut free: Vec<usize> = (0..self.depth).collect();
        let mut failed = 0_u64;
        loop {
            let mut news = false;
            while start.elapsed() < length
                && let Some(token) = free.pop()
            {
                queued[token] = Instant::now();
                self.queue(u64::try_from(token)?)?;
                news = true;
            }
            if news {
                self.lun.kernel.signal()?;
            }
            if free.len() == self.depth {
                break;
            }
            ensure!(
                self.lun.kernel.wait_rung(PATIENCE)?,
                "the neighbour was not answered within {PATIENCE:?}"
            );
            let now = Instant::now();
            self.lun.kernel.collect_with(|completion| {
                failed += u64::from(completion.status != 0);
                let token = usize::try_from(completion.token).unwrap_or(usize::MAX);
                if let Some(since) = queued.get(token) {
                    times.push(now - *since);
                    free.push(token);
                }
            });
        }
        ensure!(failed == 0, "{failed} of {} commands of the neighbour failed", times.len());
        Latency::of(times, start.elapsed()).context("the neighbour got nothing done")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_sorted_times() {
        let times = (1..=1000).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(times, Duration::from_secs(2)).unwrap();
        assert_eq!((latency.iops, latency.median_us, latency.max_us), (500.0, 500.0, 1000.0));
        assert!((latency.p99_us - 990.0).abs() < 1.5, "{}", latency.p99_us);
        assert_eq!(Latency::of(Vec::new(), Duration::from_secs(1)), None);
        let one = Latency::of(vec![Duration::from_micros(7)], Duration::from_secs(1)).unwrap();
        assert_eq!((one.median_us, one.p99_us), (7.0, 7.0));
    }
}
