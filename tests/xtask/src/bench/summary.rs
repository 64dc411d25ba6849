//! What the rounds say: figures per side, ratios with spread, and whether what is promised was held.

use super::band::Band;
use super::case::{Case, Side};
use super::records::{How, Machine, Memory, Run, Sample, Traced};
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;

/// Results of one guest.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// User-Mode Linux or qemu.
    pub name: &'static str,
    /// The guest.
    pub machine: Machine,
    /// Rounds of the case with the fewest.
    pub rounds: usize,
    /// By case.
    pub rows: Vec<Row>,
    /// System calls per second of the idle daemons.
    pub idle_calls_per_second: BTreeMap<Side, f64>,
    /// Memory of our idle processes.
    pub memory: Vec<Memory>,
    /// Milliseconds from a worker's death to the next I/O of its LUN.
    pub restart_ms: Option<Band>,
    /// What is promised.
    pub verdicts: Vec<Verdict>,
}

/// Results of one case.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The load.
    pub case: Case,
    /// By side.
    pub sides: BTreeMap<Side, Figures>,
    /// lunboxd over tcmu-runner.
    pub ours: Ratios,
    /// Our second LUN over our first: what equal things differ by.
    pub control: Option<Ratios>,
    /// lunboxd with workers over lunboxd in one process.
    pub split: Option<Ratios>,
    /// IOPS of lunboxd over the kernel's fileio.
    pub iops_over_fileio: Band,
}

/// One side in one case.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// I/Os per second.
    pub iops: Band,
    /// Mean latency from submission to completion, in microseconds.
    pub mean_us: Band,
    /// 99th percentile of that latency in microseconds.
    pub p99_us: Band,
    /// CPU time of the daemon, milliseconds for 1000 I/Os.
    pub daemon_cpu_ms: Band,
    /// CPU time of the whole guest, milliseconds for 1000 I/Os.
    pub guest_cpu_ms: Band,
    /// Times that the kernel rang the daemon, per I/O.
    pub wakes: Band,
    /// System calls per I/O; only where they were counted.
    pub calls: Option<f64>,
    /// Doorbells per I/O: as the kernel counted them; else the write calls of the measured rounds less those that strace
    /// saw go elsewhere.
    pub doorbells: Option<f64>,
    /// Who counted the calls.
    pub how: Option<How>,
}

/// One side over another, paired by rounds.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// Of I/Os per second: more is better.
    pub iops: Band,
    /// Of mean latencies: less is better.
    pub latency: Band,
    /// Of daemon CPU per I/O: less is better.
    pub cpu: Band,
}

/// A promise and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The promise, with its case.
    pub promise: String,
    /// The figure.
    pub figure: Band,
    /// Of the figure; empty for a ratio of lunboxd over what the promise names.
    pub unit: &'static str,
    /// Whether it is kept: by the median of a ratio, by the highest of other figures.
    pub held: bool,
    /// Not held, but the bound lies within the spread: this run cannot tell.
    pub undecided: bool,
}

/// Puts a run together. `name` is the machine's.
///
/// # Errors
/// When a side lacks a case, or a figure cannot be had.
pub fn summarize(name: &'static str, run: &Run) -> anyhow::Result<Summary> {
    let machine = run.machine.clone().context("the guest has not said what it is")?;
    let mut rows = Vec::new();
    for case in cases(run) {
        rows.push(row(&case, run).with_context(|| format!("{name}: {case}"))?);
    }
    let restart_ms = Band::of(run.restarts.iter().copied());
    let mut verdicts: Vec<Verdict> = rows.iter().flat_map(verdicts).collect();
    verdicts.extend(
        restart_ms.map(|figure| below("a killed worker's LUN serves again", figure, RESTART_MS, "ms")),
    );
    verdicts.extend(memory_verdicts(&run.memory));
    let rounds = run.samples.values().map(Vec::len).min().unwrap_or(0);
    Ok(Summary {
        name,
        machine,
        rounds,
        rows,
        idle_calls_per_second: run.idle.clone(),
        memory: run.memory.clone(),
        restart_ms,
        verdicts,
    })
}

/// The cases, the small blocks first, then by depth from the deepest, reads before writes, memory before disk.
fn cases(run: &Run) -> Vec<Case> {
    let mut cases: Vec<Case> = run.samples.keys().map(|(case, _)| case.clone()).collect();
    let order =
        |case: &Case| (case.store == "ext4", case.block != "4k", u32::MAX - case.depth, case.rw.clone());
    cases.sort_by_key(order);
    cases.dedup();
    cases
}

fn row(case: &Case, run: &Run) -> anyhow::Result<Row> {
    let samples = |side: Side| run.samples.get(&(case.clone(), side)).map(Vec::as_slice);
    let lunbox = samples(Side::Lunbox).context("lunboxd was not measured")?;
    let runner = samples(Side::Runner).context("tcmu-runner was not measured")?;
    let fileio = samples(Side::Fileio).context("fileio was not measured")?;
    let control = samples(Side::Control);
    let single = samples(Side::Single);

    let mut sides = BTreeMap::new();
    for side in [Side::Lunbox, Side::Control, Side::Single, Side::Runner, Side::Fileio] {
        if let Some(samples) = samples(side) {
            sides.insert(side, figures(case, side, samples, run).context("a figure is no number")?);
        }
    }
    Ok(Row {
        case: case.clone(),
        sides,
        ours: ratios(lunbox, runner).context("tcmu-runner used no measurable time")?,
        control: control
            .map(|control| ratios(control, lunbox).context("lunboxd used no measurable time"))
            .transpose()?,
        split: single
            .map(|single| ratios(lunbox, single).context("lunboxd in one process used no measurable time"))
            .transpose()?,
        iops_over_fileio: Band::ratio(&all(lunbox, |s| s.iops), &all(fileio, |s| s.iops))
            .context("fileio did nothing")?,
    })
}

fn all(samples: &[Sample], figure: fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(figure).collect()
}

fn ratios(a: &[Sample], b: &[Sample]) -> Option<Ratios> {
    let of = |figure: fn(&Sample) -> f64| Band::ratio(&all(a, figure), &all(b, figure));
    Some(Ratios { iops: of(|s| s.iops)?, latency: of(|s| s.mean_us)?, cpu: of(|s| s.daemon_cpu_ms)? })
}

fn figures(case: &Case, side: Side, samples: &[Sample], run: &Run) -> Option<Figures> {
    let band = |figure: fn(&Sample) -> f64| Band::of(all(samples, figure));
    let traced = run.traced.get(&(case.clone(), side));
    let doorbells = |traced: &Traced| match traced.how {
        How::Tracefs => Some(traced.doorbells),
        How::Strace => band(|s| s.write_calls).map(|calls| (calls.median - traced.other_writes).max(0.0)),
    };
    Some(Figures {
        iops: band(|s| s.iops)?,
        mean_us: band(|s| s.mean_us)?,
        p99_us: band(|s| s.p99_us)?,
        daemon_cpu_ms: band(|s| s.daemon_cpu_ms)?,
        guest_cpu_ms: band(|s| s.guest_cpu_ms)?,
        wakes: band(|s| s.wakes)?,
        calls: traced.map(|traced| traced.calls),
        doorbells: traced.and_then(doorbells),
        how: traced.map(|traced| traced.how),
    })
}

/// What is promised of a case: at 4 KiB and depth 32 not slower and with less CPU than tcmu-runner, at depth 1 no longer
/// latency; and where the daemon in one process was measured, that workers cost nothing.
fn verdicts(row: &Row) -> Vec<Verdict> {
    let mut verdicts = against_runner(row);
    if let (Some(split), Some(control)) = (&row.split, &row.control) {
        let (what, figure, held) = if row.case.depth == 1 {
            ("latency", split.latency, split.latency.median <= control.latency.high.max(1.0))
        } else {
            ("I/Os per second", split.iops, split.iops.median >= control.iops.low.min(1.0))
        };
        verdicts.push(Verdict {
            promise: format!("{}: workers cost no {what} beyond the A/A spread", row.case),
            figure,
            unit: "",
            held,
            undecided: !held && figure.covers(1.0),
        });
    }
    verdicts
}

/// Most milliseconds from a worker's death to the next I/O.
const RESTART_MS: f64 = 200.0;
/// Most MiB of an idle supervisor, and of an idle worker with one device.
const SUPERVISOR_MIB: f64 = 16.0;
const WORKER_MIB: f64 = 24.0;

/// A figure that has to be no higher than `bound`.
fn below(what: &str, figure: Band, bound: f64, unit: &'static str) -> Verdict {
    Verdict {
        promise: format!("{what}: at most {bound} {unit}"),
        figure,
        unit,
        held: figure.high <= bound,
        undecided: figure.high > bound && figure.median <= bound,
    }
}

fn memory_verdicts(memory: &[Memory]) -> Vec<Verdict> {
    let of = |process: &str, most_devices: u32| {
        let those = memory.iter().filter(|memory| {
            memory.side == "lunbox" && memory.process == process && memory.devices <= most_devices
        });
        Band::of(those.map(|memory| memory.rss_kib / 1024.0))
    };
    let supervisor = of("supervisor", u32::MAX);
    let worker = of("worker", 1);
    [
        supervisor
            .map(|figure| below("resident memory of the idle supervisor", figure, SUPERVISOR_MIB, "MiB")),
        worker.map(|figure| {
            below("resident memory of an idle worker with one device", figure, WORKER_MIB, "MiB")
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn against_runner(row: &Row) -> Vec<Verdict> {
    let verdict = |what: &str, ratio: Band, held: bool| Verdict {
        promise: format!("{}: {what}", row.case),
        figure: ratio,
        unit: "",
        held,
        undecided: !held && ratio.covers(1.0),
    };
    let Ratios { iops, latency, cpu } = row.ours;
    match (row.case.block.as_str(), row.case.depth) {
        ("4k", 32) => vec![
            verdict("not slower than tcmu-runner", iops, iops.median >= 1.0),
            verdict("less CPU per I/O than tcmu-runner", cpu, cpu.median < 1.0),
        ],
        ("4k", 1) => vec![verdict("latency not longer than tcmu-runner's", latency, latency.median <= 1.0)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
