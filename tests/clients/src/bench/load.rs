//! The clients that make load, and what they say about it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{process, programs};

/// Bytes of a logical block of the served file.
pub const BLOCK: u32 = 512;

/// Which way the data goes, and so which client makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Random reads by libiscsi's `iscsi-perf`.
    RandomRead,
    /// Sequential writes by `qemu-img bench` (it can nothing else); nothing is flushed.
    Write,
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which way.
    pub direction: Direction,
    /// Bytes of a command: a multiple of 512.
    pub bytes: u32,
    /// Commands in flight.
    pub depth: u32,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Commands that ended.
    pub commands: f64,
    /// Seconds that they took, by the client's own clock.
    pub seconds: f64,
}

impl Load {
    /// Runs it on what `url` names: reads for `seconds`, writes until `writes` of them have ended.
    ///
    /// # Errors
    /// When the client is not installed, fails, or prints what nobody understands.
    pub fn run(self, url: &str, seconds: u32, writes: u32) -> Result<Done> {
        match self.direction {
            Direction::RandomRead => self.read(url, seconds),
            Direction::Write => self.write(url, writes),
        }
    }

    fn read(self, url: &str, seconds: u32) -> Result<Done> {
        let mut command = programs::ISCSI_PERF.command()?;
        let blocks = self.bytes / BLOCK;
        command.args(["-r", "-m", &self.depth.to_string(), "-b", &blocks.to_string()]);
        command.args(["-t", &seconds.to_string(), url]);
        let limit = Duration::from_secs(u64::from(seconds) + 20);
        let printed = process::run(command, limit)?.success("iscsi-perf")?;
        let iops = iscsi_perf(&printed)?;
        Ok(Done { commands: iops * f64::from(seconds), seconds: f64::from(seconds) })
    }

    fn write(self, url: &str, writes: u32) -> Result<Done> {
        programs::require_qemu_iscsi()?;
        let mut command = programs::QEMU_IMG.command()?;
        command.args([
            "bench",
            "-w",
            "-f",
            "raw",
            "-d",
            &self.depth.to_string(),
            "-s",
            &self.bytes.to_string(),
        ]);
        command.args(["-c", &writes.to_string(), url]);
        let printed = process::run(command, Duration::from_secs(120))?.success("qemu-img bench")?;
        Ok(Done { commands: f64::from(writes), seconds: qemu_img_bench(&printed)? })
    }
}

/// Commands per second that `iscsi-perf` ends with: `iops average 40086 (156 MB/s)`.
///
/// # Errors
/// When it has not finished, or names no average.
pub fn iscsi_perf(printed: &str) -> Result<f64> {
    if !printed.contains("finished.") {
        bail!("iscsi-perf: has not finished:\n{printed}");
    }
    let (_, last) = printed.rsplit_once("iops average ").context("iscsi-perf: no average")?;
    let number = last.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("iscsi-perf: average {number:?}"))
}

/// Seconds that `qemu-img bench` took: `Run completed in 1.178 seconds.`
///
/// # Errors
/// When it has not completed.
pub fn qemu_img_bench(printed: &str) -> Result<f64> {
    let (_, after) = printed
        .split_once("Run completed in ")
        .with_context(|| format!("qemu-img bench: has not completed:\n{printed}"))?;
    let number = after.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("qemu-img bench: seconds {number:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_average_of_iscsi_perf() {
        let printed = "iscsi-perf version 0.1\n\nwill run for 3 seconds.\n\n\
            \r00:00:02 - lba 106335, iops current 42419 (165 MB/s), iops average 42419 (165 MB/s), in_flight 32, busy 0 \
            \r00:00:01 - lba 276008, iops current 38203 (149 MB/s), iops average 40311 (157 MB/s), in_flight 32, busy 0 \
            \riops average 40086 (156 MB/s)                      \n\nfinished.\n";
        assert!((iscsi_perf(printed).unwrap() - 40086.0).abs() < 0.1);
    }

    #[test]
    fn iscsi_perf_that_did_not_finish_is_no_result() {
        assert!(iscsi_perf("\riops average 40086 (156 MB/s)\n").is_err());
        assert!(iscsi_perf("finished.\n").is_err());
    }

    #[test]
    fn takes_the_seconds_of_qemu_img_bench() {
        let printed = "Sending 50000 write requests, 4096 bytes each, 32 in parallel (starting at offset 0, step size 4096)\n\
                       Run completed in 1.178 seconds.\n";
        assert!((qemu_img_bench(printed).unwrap() - 1.178).abs() < 1e-9);
        assert!(qemu_img_bench("Sending 50000 write requests").is_err());
    }
}
