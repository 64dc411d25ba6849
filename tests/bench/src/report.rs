//! What the rounds say, for people and for machines.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::load::{Direction, Sample};
use crate::side::StoreKind;

/// One combination that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Where the bytes are.
    pub store: StoreKind,
    /// Bytes per command.
    pub size: u32,
    /// Which way they go.
    pub direction: Direction,
    /// Commands in flight.
    pub depth: usize,
}

/// Medians of one combination.
#[derive(Clone, Debug)]
pub struct Row {
    case: Case,
    native: Sample,
    wasm: Sample,
    /// Wasm/native IOPS, paired round by round: median, lowest, highest.
    ratio: [f64; 3],
    /// Native/native IOPS likewise.
    control: [f64; 3],
    /// CPU nanoseconds per command that Wasm takes more, paired round by round: median, lowest, highest.
    tax: [f64; 3],
}

fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

fn median(samples: &[Sample]) -> Sample {
    let of = |field: fn(&Sample) -> f64| spread(samples.iter().map(field).collect())[0];
    Sample { iops: of(|s| s.iops), cpu_ns: of(|s| s.cpu_ns), syscalls: of(|s| s.syscalls) }
}

/// Puts the rounds of native, Wasm and the second native side together.
pub fn summarize(case: &Case, native: &[Sample], wasm: &[Sample], again: &[Sample]) -> Row {
    let pairs = |b: &[Sample], of: fn(&Sample, &Sample) -> f64| {
        spread(native.iter().zip(b).map(|(a, b)| of(a, b)).collect())
    };
    Row {
        case: *case,
        native: median(native),
        wasm: median(wasm),
        ratio: pairs(wasm, |a, b| b.iops / a.iops),
        control: pairs(again, |a, b| b.iops / a.iops),
        tax: pairs(wasm, |a, b| b.cpu_ns - a.cpu_ns),
    }
}

/// The heading.
pub fn header(rounds: usize, round: Duration, depth: usize) {
    println!("`file` handler in Wasm against the same handler compiled natively, emulated ring, one run.");
    println!(
        "{rounds} rounds of {} ms a side, alternating; {depth} commands in flight; medians.\n",
        round.as_millis()
    );
    println!(
        "{:<7}{:>8} {:<6}{:>12}{:>12}{:>10}{:>10}{:>9}{:>9}   {:<24}{:<24}tax CPU ns [low..high]",
        "store",
        "bytes",
        "",
        "native/s",
        "wasm/s",
        "cpu n",
        "cpu w",
        "sysc n",
        "sysc w",
        "wasm/native [low..high]",
        "native/native"
    );
}

/// One combination.
pub fn line(row: &Row) {
    let band = |[middle, low, high]: [f64; 3]| format!("{middle:.3} [{low:.2}..{high:.2}]");
    println!(
        "{:<7}{:>8} {:<6}{:>12.0}{:>12.0}{:>10.0}{:>10.0}{:>9.2}{:>9.2}   {:<24}{:<24}{:+.0} [{:+.0}..{:+.0}]",
        format!("{:?}", row.case.store).to_lowercase(),
        row.case.size,
        format!("{:?}", row.case.direction).to_lowercase(),
        row.native.iops,
        row.wasm.iops,
        row.native.cpu_ns,
        row.wasm.cpu_ns,
        row.native.syscalls,
        row.wasm.syscalls,
        band(row.ratio),
        band(row.control),
        row.tax[0],
        row.tax[1],
        row.tax[2],
    );
}

/// The figures that are promised, against what was measured. Says so; fails nothing: a loaded machine is no bug.
pub fn verdict(rows: &[Row]) {
    println!();
    for row in rows.iter().filter(|row| row.case.store == StoreKind::Null && row.case.size == 4096) {
        let direction = format!("{:?}", row.case.direction).to_lowercase();
        let tax = if row.tax[0] <= 500.0 { "within" } else { "ABOVE" };
        let ratio = if row.ratio[0] >= 0.9 { "within" } else { "BELOW" };
        println!(
            "sandbox cost of a 4 KiB {direction}: {:+.0} ns CPU per command ({tax} 500 ns), {:.1} % of native IOPS ({ratio} 90 %)",
            row.tax[0],
            row.ratio[0] * 100.0
        );
    }
}

/// All of it as JSON.
pub fn json(rows: &[Row]) -> Result<String> {
    let side =
        |sample: &Sample| json!({"iops": sample.iops, "cpu_ns": sample.cpu_ns, "syscalls": sample.syscalls});
    let band = |[median, low, high]: [f64; 3]| json!({"median": median, "low": low, "high": high});
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "store": format!("{:?}", row.case.store).to_lowercase(),
                "bytes": row.case.size,
                "direction": format!("{:?}", row.case.direction).to_lowercase(),
                "depth": row.case.depth,
                "native": side(&row.native),
                "wasm": side(&row.wasm),
                "iops_ratio": band(row.ratio),
                "control_ratio": band(row.control),
                "tax_cpu_ns": band(row.tax),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)?)
}
