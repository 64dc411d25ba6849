//! What the rounds say, for people and for machines.

use std::fmt::Write as _;

use serde::Serialize;

use super::load::Direction;
use super::round::{Rounds, Sample};

/// File system that the promise is about.
const PROMISED: &str = "tmpfs";

/// Middle, lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Lowest.
    pub low: f64,
    /// Highest.
    pub high: f64,
}

/// One load, put together.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// "random read" or "write".
    pub load: &'static str,
    /// Bytes of a command.
    pub bytes: u32,
    /// Commands in flight.
    pub depth: u32,
    /// Commands per second.
    pub tgt_iops: Spread,
    /// Commands per second.
    pub lunbox_iops: Spread,
    /// lunbox/tgt of commands per second, paired round by round.
    pub ratio: Spread,
    /// Microseconds of the server's processor time for 1000 commands.
    pub tgt_cpu_us_per_1000: Spread,
    /// Microseconds of the server's processor time for 1000 commands.
    pub lunbox_cpu_us_per_1000: Spread,
    /// lunbox/tgt of processor time, paired round by round.
    pub cpu_ratio: Spread,
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Date, `YYYY-MM-DD`.
    pub date: String,
    /// Model of the processor.
    pub processor: String,
    /// Processors that may be used.
    pub processors: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Load averages before the first round: others were at work if the first is far above 0.
    pub load: String,
    /// Version of tgt.
    pub tgt: String,
    /// Kind of the file system that the file lies on, as stat(1) calls it.
    pub file_system: String,
    /// Rounds.
    pub rounds: u32,
    /// Seconds of a side in a round.
    pub seconds: u32,
}

/// Puts the rounds of one load together. `None` when there were none.
pub fn row(rounds: &Rounds) -> Option<Row> {
    let iops = |sample: &Sample| sample.iops;
    let cpu = |sample: &Sample| sample.cpu_us_per_1000;
    let of = |samples: &[Sample], field: fn(&Sample) -> f64| spread(samples.iter().map(field).collect());
    let pairs = |field: fn(&Sample) -> f64| {
        spread(
            rounds.tgt.iter().zip(&rounds.lunbox).map(|(tgt, lunbox)| field(lunbox) / field(tgt)).collect(),
        )
    };
    Some(Row {
        load: match rounds.load.direction {
            Direction::RandomRead => "random read",
            Direction::Write => "write",
        },
        bytes: rounds.load.bytes,
        depth: rounds.load.depth,
        tgt_iops: of(&rounds.tgt, iops)?,
        lunbox_iops: of(&rounds.lunbox, iops)?,
        ratio: pairs(iops)?,
        tgt_cpu_us_per_1000: of(&rounds.tgt, cpu)?,
        lunbox_cpu_us_per_1000: of(&rounds.lunbox, cpu)?,
        cpu_ratio: pairs(cpu)?,
    })
}

/// The median of an even number is the mean of the two in the middle.
fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
    Some(Spread { median, low, high })
}

/// The table with its heading and its verdict, in Markdown.
pub fn markdown(place: &Place, rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# iSCSI on loopback: `lunbox serve` against tgt, {}\n", place.date);
    let _ = writeln!(
        text,
        "The same file on {} behind both: tgt's `rdwr` store with its 16 I/O threads, ours through the `file` handler \
         in Wasm. The same client, {} rounds of {} s a side, alternating; the other server is left idle. Random reads are \
         libiscsi's `iscsi-perf`, writes are sequential by `qemu-img bench`. Medians, [lowest..highest]; ratios are \
         paired round by round; CPU is the server's.\n",
        place.file_system, place.rounds, place.seconds
    );
    let _ = writeln!(
        text,
        "{}, {} usable; Linux {}; tgt {}; load {} before the first round.\n",
        place.processor, place.processors, place.kernel, place.tgt, place.load
    );
    text.push_str(
        "| load | bytes | depth | tgt /s | lunbox /s | lunbox/tgt | tgt CPU µs per 1000 | lunbox CPU µs per 1000 | CPU lunbox/tgt |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let band = |s: &Spread| format!("{:.2} [{:.2}..{:.2}]", s.median, s.low, s.high);
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {:.0} | {} | {:.0} | {:.0} | {} |",
            row.load,
            row.bytes,
            row.depth,
            row.tgt_iops.median,
            row.lunbox_iops.median,
            band(&row.ratio),
            row.tgt_cpu_us_per_1000.median,
            row.lunbox_cpu_us_per_1000.median,
            band(&row.cpu_ratio),
        );
    }
    text.push('\n');
    for row in rows.iter().filter(|row| row.depth == 1) {
        let _ = writeln!(
            text,
            "Latency of a single {} of {} bytes: tgt {:.1} µs, lunbox {:.1} µs.",
            row.load,
            row.bytes,
            1e6 / row.tgt_iops.median,
            1e6 / row.lunbox_iops.median
        );
    }
    text.push('\n');
    for row in rows.iter().filter(|row| row.bytes == 4096 && row.depth == 32) {
        let met = match (row.ratio.median >= 1.0, place.file_system == PROMISED) {
            (true, true) => "met".to_owned(),
            (false, true) => "MISSED".to_owned(),
            // Another file system says nothing about it either way.
            (_, false) => format!("neither met nor missed, because it is about a file on {PROMISED}"),
        };
        let _ = writeln!(
            text,
            "Promise: 4 KiB, 32 in flight, {}: at least 1.0 of tgt. Measured {:.2}: {met}.",
            row.load, row.ratio.median
        );
    }
    text
}

/// All of it as JSON.
///
/// # Errors
/// When a number is none: a side did nothing.
pub fn json(place: &Place, rows: &[Row]) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct All<'a> {
        place: &'a Place,
        rows: &'a [Row],
    }
    serde_json::to_string_pretty(&All { place, rows })
}

#[cfg(test)]
mod tests {
    use super::super::load::Load;
    use super::*;

    fn rounds(tgt: &[f64], lunbox: &[f64]) -> Rounds {
        let samples = |values: &[f64]| {
            values.iter().map(|iops| Sample { iops: *iops, cpu_us_per_1000: 1e9 / *iops }).collect()
        };
        Rounds {
            load: Load { direction: Direction::RandomRead, bytes: 4096, depth: 32 },
            tgt: samples(tgt),
            lunbox: samples(lunbox),
        }
    }

    fn place() -> Place {
        Place {
            date: "2026-11-22".to_owned(),
            processor: "a processor".to_owned(),
            processors: 2,
            kernel: "6.1".to_owned(),
            load: "0.1 0.1 0.1".to_owned(),
            tgt: "1.0".to_owned(),
            file_system: "tmpfs".to_owned(),
            rounds: 3,
            seconds: 2,
        }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // The medians of the sides would give 1.0.
        let row = row(&rounds(&[100.0, 200.0, 300.0], &[200.0, 100.0, 600.0])).unwrap();
        assert!((row.ratio.median - 2.0).abs() < 1e-9);
        assert!((row.ratio.low - 0.5).abs() < 1e-9);
        assert!((row.cpu_ratio.median - 0.5).abs() < 1e-9);
        assert!((row.tgt_iops.median - 200.0).abs() < 1e-9);
    }

    #[test]
    fn an_even_number_of_rounds_has_its_median_between_the_two_in_the_middle() {
        let row = row(&rounds(&[100.0; 4], &[100.0, 400.0, 90.0, 120.0])).unwrap();
        assert!((row.lunbox_iops.median - 110.0).abs() < 1e-9);
        assert!((row.ratio.median - 1.1).abs() < 1e-9);
    }

    #[test]
    fn no_rounds_give_no_row() {
        assert!(row(&rounds(&[], &[])).is_none());
    }

    #[test]
    fn the_verdict_follows_the_ratio() {
        let good = row(&rounds(&[100.0], &[101.0])).unwrap();
        let bad = row(&rounds(&[100.0], &[99.0])).unwrap();
        assert!(markdown(&place(), &[good]).contains("Measured 1.01: met."));
        assert!(markdown(&place(), std::slice::from_ref(&bad)).contains("Measured 0.99: MISSED."));
        let elsewhere = markdown(&Place { file_system: "overlayfs".to_owned(), ..place() }, &[bad]);
        assert!(elsewhere.contains("The same file on overlayfs behind both"), "{elsewhere}");
        assert!(elsewhere.contains("Measured 0.99: neither met nor missed"), "{elsewhere}");
    }

    #[test]
    fn json_has_every_row() {
        let rows = [row(&rounds(&[100.0], &[150.0])).unwrap()];
        let value: serde_json::Value = serde_json::from_str(&json(&place(), &rows).unwrap()).unwrap();
        assert_eq!(value["rows"][0]["ratio"]["median"], 1.5);
        assert_eq!(value["place"]["processors"], 2);
    }
}
