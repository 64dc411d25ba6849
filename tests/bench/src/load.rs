//! The load: random commands at a fixed depth, straight on the emulated kernel.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lunbox_device::DeviceHandle;
use lunbox_emulator::{CommandSpec, Data, Kernel, QueueError};

use crate::report::Case;

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// READ(16).
    Read,
    /// WRITE(16).
    Write,
}

/// What one round measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Commands completed per second of wall time.
    pub iops: f64,
    /// CPU time of the device's thread per command in nanoseconds.
    pub cpu_ns: f64,
    /// System calls of the device's thread per command.
    pub syscalls: f64,
}

/// A generator of commands.
pub struct Load {
    direction: Direction,
    blocks: u32,
    places: u64,
    depth: usize,
    payload: Vec<u8>,
    random: u64,
}

impl Load {
    /// For a LUN of `size` bytes.
    pub fn new(case: &Case, size: u64) -> Self {
        Self {
            direction: case.direction,
            blocks: case.size / 512,
            places: size / u64::from(case.size),
            depth: case.depth,
            payload: vec![0xa5; case.size as usize],
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % self.places
    }

    fn queue(&mut self, kernel: &mut Kernel) -> Result<bool> {
        let lba = self.next() * u64::from(self.blocks);
        let mut cdb = [0; 16];
        cdb[0] = if self.direction == Direction::Read { 0x88 } else { 0x8a };
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&self.blocks.to_be_bytes());
        let data = match self.direction {
            Direction::Read => Data::In(self.blocks * 512),
            Direction::Write => Data::Out(&self.payload),
        };
        match kernel.queue(&CommandSpec { cdb: &cdb, data, token: 0 }) {
            Ok(_) => Ok(true),
            Err(QueueError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the depth filled for `length`, then lets the rest finish.
    #[allow(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
    pub fn run(&mut self, kernel: &mut Kernel, device: &DeviceHandle, length: Duration) -> Result<Sample> {
        let before = device.status();
        let start = Instant::now();
        let (mut in_flight, mut done, mut failed) = (0_usize, 0_u64, 0_u64);
        loop {
            let mut queued = false;
            let open = start.elapsed() < length;
            while open && in_flight < self.depth && self.queue(kernel)? {
                in_flight += 1;
                queued = true;
            }
            if queued {
                kernel.signal()?;
            }
            if in_flight == 0 {
                break;
            }
            ensure!(kernel.wait_rung(Duration::from_secs(10))?, "no completion within 10 s");
            kernel.collect_with(|completion| {
                in_flight -= 1;
                done += 1;
                failed += u64::from(completion.status != 0);
            });
        }
        let seconds = start.elapsed().as_secs_f64();
        ensure!(failed == 0, "{failed} of {done} commands failed");
        let after = device.status();
        let commands = (after.commands - before.commands) as f64;
        Ok(Sample {
            iops: done as f64 / seconds,
            cpu_ns: (after.cpu_ns - before.cpu_ns) as f64 / commands,
            syscalls: (after.syscalls - before.syscalls) as f64 / commands,
        })
    }
}
