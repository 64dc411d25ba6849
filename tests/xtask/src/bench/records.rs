//! What the guest prints: one JSON object per line (tests/guest/bench.sh), and lines for people between them.

use super::case::{Case, Side, parse_job};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Microseconds of a nanosecond.
const US_PER_NS: f64 = 1e-3;

/// One line of the guest.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// Comes first.
    Machine(Machine),
    /// Counters around one job; comes before its round's report.
    Counters {
        /// From 1.
        round: u32,
        /// Its name.
        job: String,
        /// When it began.
        before: Counters,
        /// When it had ended.
        after: Counters,
    },
    /// fio's report on all jobs of a round.
    Fio {
        /// From 1.
        round: u32,
        /// Its JSON.
        report: Report,
    },
    /// System calls of a daemon that has nothing to do.
    Idle {
        /// Whose.
        side: String,
        /// Of a second.
        hundredths: f64,
        /// Number by name.
        calls: HashMap<String, f64>,
    },
    /// Memory of a process of ours that has nothing to do.
    Memory(Memory),
    /// Times from the death of a worker to the next I/O that its LUN served.
    Restart {
        /// One for each death.
        milliseconds: Vec<f64>,
    },
    /// System calls while I/O was going on.
    Trace {
        /// Who counted.
        how: How,
        /// Name of the job that it stands for.
        job: String,
        /// I/Os that the disk completed.
        ios: f64,
        /// Of a second, from the beginning of the count to its end.
        hundredths: f64,
        /// From the first to the last call on the UIO device, if only what lies between was counted.
        seconds: Option<f64>,
        /// Writes to the UIO device.
        doorbells: f64,
        /// Number by name.
        calls: HashMap<String, f64>,
    },
}

/// What counts system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// strace: it slows the daemon, and more I/Os share a call.
    Strace,
    /// The kernel's own histograms.
    Tracefs,
}

/// The guest.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Machine {
    /// Name and release.
    pub kernel: String,
    /// How many.
    pub processors: u32,
    /// Unit of processor time.
    pub ticks_per_second: f64,
    /// Size of each LUN.
    pub lun_mib: u32,
    /// Version of tcmu-runner.
    pub runner: String,
    /// Version of fio.
    pub fio: String,
}

/// Memory of an idle process.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Memory {
    /// `lunbox` or `single`.
    pub side: String,
    /// `supervisor`, `worker`, or `daemon` if it is all in one.
    pub process: String,
    /// That are served.
    pub devices: u32,
    /// Resident: with what it shares with others.
    pub rss_kib: f64,
    /// Proportional: of what it shares, its part; 0 where the kernel does not tell.
    pub pss_kib: f64,
}

/// Machine's ticks, daemon's ticks, its read calls, its write calls, the kernel's events for its UIO device.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Counters([f64; 5]);

/// fio's report.
#[derive(Debug, Deserialize)]
pub struct Report {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Job {
    jobname: String,
    error: i32,
    read: Direction,
    write: Direction,
}

#[derive(Debug, Deserialize)]
struct Direction {
    total_ios: f64,
    iops: f64,
    /// From submission to completion.
    lat_ns: Latency,
}

#[derive(Debug, Deserialize)]
struct Latency {
    mean: f64,
    #[serde(default)]
    percentile: HashMap<String, f64>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// I/Os that ended.
    pub ios: f64,
    /// I/Os per second.
    pub iops: f64,
    /// Mean latency in microseconds, from submission to completion.
    pub mean_us: f64,
    /// The latency that 99 of 100 I/Os do not exceed, in microseconds.
    pub p99_us: f64,
    /// CPU time of the daemon, milliseconds for 1000 I/Os.
    pub daemon_cpu_ms: f64,
    /// CPU time of the whole guest, milliseconds for 1000 I/Os.
    pub guest_cpu_ms: f64,
    /// Write calls of the daemon per I/O (write(2) and its kin, not what io_uring writes).
    pub write_calls: f64,
    /// Times that the kernel rang the daemon, per I/O.
    pub wakes: f64,
}

/// System calls for one I/O, counted apart from the measured rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// Who counted.
    pub how: How,
    /// All but those that the daemon makes without I/O, too.
    pub calls: f64,
    /// Writes to the UIO device.
    pub doorbells: f64,
    /// Writes to anything else.
    pub other_writes: f64,
}

/// Everything that one guest has said.
#[derive(Debug, Default)]
pub struct Run {
    /// The guest; there once it has begun.
    pub machine: Option<Machine>,
    /// By case and side, in the order of the rounds.
    pub samples: BTreeMap<(Case, Side), Vec<Sample>>,
    /// By case and side.
    pub traced: BTreeMap<(Case, Side), Traced>,
    /// System calls per second of an idle daemon.
    pub idle: BTreeMap<Side, f64>,
    /// In the order in which it was measured.
    pub memory: Vec<Memory>,
    /// Milliseconds from a worker's death to the next I/O.
    pub restarts: Vec<f64>,
    /// Counters whose report has not come yet, by round and job.
    open: HashMap<(u32, String), (Counters, Counters)>,
}

impl Run {
    /// Takes a line of results.
    ///
    /// # Errors
    /// When it is not as the guest's script writes it, or fio reports an error.
    pub fn take(&mut self, line: &str) -> anyhow::Result<()> {
        let record = serde_json::from_str(line).with_context(|| {
            format!("result of the guest: {}", line.chars().take(200).collect::<String>())
        })?;
        match record {
            Record::Machine(machine) => self.machine = Some(machine),
            Record::Counters { round, job, before, after } => {
                self.open.insert((round, job), (before, after));
            }
            Record::Fio { round, report } => {
                let ticks = self.machine.as_ref().context("a round before the machine")?.ticks_per_second;
                for job in report.jobs {
                    let counters = self.open.remove(&(round, job.jobname.clone()));
                    let counters =
                        counters.with_context(|| format!("round {round}: no counters of {}", job.jobname))?;
                    let key = parse_job(&job.jobname)?;
                    let sample = sample(&job, counters, ticks)?;
                    self.samples.entry(key).or_default().push(sample);
                }
            }
            Record::Idle { side, hundredths, calls } => {
                self.idle.insert(Side::parse(&side)?, total(calls.values()) / hundredths * 100.0);
            }
            Record::Memory(memory) => self.memory.push(memory),
            Record::Restart { milliseconds } => self.restarts.extend(milliseconds),
            Record::Trace { how, job, ios, hundredths, seconds, doorbells, calls } => {
                let (case, side) = parse_job(&job)?;
                ensure!(ios > 0.0, "{job}: nothing was traced");
                let seconds = seconds.unwrap_or(hundredths / 100.0);
                let idle = self.idle.get(&side).copied().unwrap_or(0.0) * seconds;
                let all = total(calls.values());
                let writes = total(WRITES.iter().filter_map(|name| calls.get(*name)));
                let traced = Traced {
                    how,
                    calls: (all - idle).max(0.0) / ios,
                    doorbells: doorbells / ios,
                    other_writes: (writes - doorbells).max(0.0) / ios,
                };
                self.traced.insert((case, side), traced);
            }
        }
        Ok(())
    }

    /// Measurements so far.
    pub fn measured(&self) -> usize {
        self.samples.values().map(Vec::len).sum::<usize>() + self.open.len()
    }
}

/// The sum; of nothing it is 0, not the -0 of `Iterator::sum`.
fn total<'a>(counts: impl Iterator<Item = &'a f64>) -> f64 {
    counts.fold(0.0, |sum, count| sum + count)
}

/// What the kernel counts as `syscw` in /proc/PID/io (proc(5)).
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];

fn sample(job: &Job, (before, after): (Counters, Counters), ticks: f64) -> anyhow::Result<Sample> {
    if job.error != 0 {
        bail!("fio: error {} in {}", job.error, job.jobname);
    }
    let direction = if job.write.total_ios > 0.0 { &job.write } else { &job.read };
    let ios = direction.total_ios;
    ensure!(ios > 0.0, "fio: no I/O in {}", job.jobname);
    let p99 = direction.lat_ns.percentile.get("99.000000").copied();
    let p99 = p99.with_context(|| format!("fio: no 99th percentile in {}", job.jobname))?;
    let [machine, daemon, _, writes, events] = std::array::from_fn(|index| after.0[index] - before.0[index]);
    let ms_per_1000 = |elapsed: f64| elapsed / ticks * 1e6 / ios;
    Ok(Sample {
        ios,
        iops: direction.iops,
        mean_us: direction.lat_ns.mean * US_PER_NS,
        p99_us: p99 * US_PER_NS,
        daemon_cpu_ms: ms_per_1000(daemon),
        guest_cpu_ms: ms_per_1000(machine),
        write_calls: writes / ios,
        wakes: events / ios,
    })
}

#[cfg(test)]
mod tests;
