//! What the rounds say of the neighbour, for people and for machines.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Condition;
use super::offender::{Manners, Tally};
use super::probe::Latency;
use crate::band::Band;

/// One condition at one depth.
#[derive(Clone, Debug)]
pub struct Row {
    depth: usize,
    name: String,
    what: &'static str,
    iops: Band,
    median_us: Band,
    p99_us: Band,
    max_us: Band,
    /// Over the quiet neighbour of the same round.
    median_ratio: Band,
    p99_ratio: Band,
    /// Not above what a second quiet neighbour had in any round.
    median_within: bool,
    p99_within: bool,
    /// Triggers and faults per second, part of a CPU: medians.
    offender: Option<Tally>,
}

/// Puts the rounds together; the first two conditions are the quiet ones.
///
/// # Errors
/// Without rounds.
pub fn rows(
    depth: usize,
    conditions: &[Condition],
    measured: &[Vec<(Latency, Option<Tally>)>],
) -> Result<Vec<Row>> {
    let quiet = measured.first().context("nothing was measured")?;
    let again = measured.get(1).context("the quiet neighbour was measured once only")?;
    let ratio = |rounds: &[(Latency, Option<Tally>)], of: fn(&Latency) -> f64| {
        Band::of(rounds.iter().zip(quiet).map(|((b, _), (a, _))| of(b) / of(a))).context("no rounds")
    };
    let (median_control, p99_control) = (ratio(again, |l| l.median_us)?, ratio(again, |l| l.p99_us)?);
    let mut rows = Vec::new();
    for (condition, rounds) in conditions.iter().zip(measured) {
        let band = |of: fn(&Latency) -> f64| Band::of(rounds.iter().map(|(l, _)| of(l))).context("no rounds");
        let tally = |of: fn(&Tally) -> f64| Band::of(rounds.iter().filter_map(|(_, t)| t.as_ref().map(of)));
        let offender = tally(|t| t.triggers).zip(tally(|t| t.faults)).zip(tally(|t| t.cpu));
        let (name, what) = match condition {
            Condition::Quiet => ("quiet".to_owned(), "nobody else"),
            Condition::QuietAgain => ("quiet again".to_owned(), "nobody else: the spread of the machine"),
            Condition::Beside(misdeed, Manners::Relentless) => (misdeed.name.to_owned(), misdeed.what),
            Condition::Beside(misdeed, Manners::Forgiven) => {
                (format!("{}, forgiven", misdeed.name), misdeed.what)
            }
        };
        let (median_ratio, p99_ratio) = (ratio(rounds, |l| l.median_us)?, ratio(rounds, |l| l.p99_us)?);
        rows.push(Row {
            depth,
            name,
            what,
            iops: band(|l| l.iops)?,
            median_us: band(|l| l.median_us)?,
            p99_us: band(|l| l.p99_us)?,
            max_us: band(|l| l.max_us)?,
            median_within: median_ratio.median <= median_control.high.max(1.0),
            p99_within: p99_ratio.median <= p99_control.high.max(1.0),
            median_ratio,
            p99_ratio,
            offender: offender.map(|((triggers, faults), cpu)| Tally {
                triggers: triggers.median,
                faults: faults.median,
                cpu: cpu.median,
            }),
        });
    }
    Ok(rows)
}

impl Row {
    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "depth": self.depth, "name": self.name, "what": self.what,
            "iops": self.iops.json(), "median_us": self.median_us.json(), "p99_us": self.p99_us.json(),
            "max_us": self.max_us.json(),
            "median_ratio": self.median_ratio.json(), "p99_ratio": self.p99_ratio.json(),
            "median_within": self.median_within, "p99_within": self.p99_within,
            "offender": self.offender.map(|tally| json!({
                "triggers_per_s": tally.triggers, "faults_per_s": tally.faults, "cpu": tally.cpu,
            })),
        })
    }
}

/// The heading.
pub fn header(rounds: usize, length: Duration) {
    println!(
        "A LUN under 4 KiB random reads beside a LUN whose handler misbehaves, emulated rings, one process."
    );
    println!(
        "{rounds} rounds of {} ms in each condition, alternating, {} CPUs; medians of the rounds, ratios within a round.\n",
        length.as_millis(),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
    );
    println!(
        "{:<4}{:<26}{:>11}{:>11}   {:<28}{:<28}{:<9}{:>11}{:>9}{:>7}",
        "QD",
        "beside",
        "median us",
        "p99 us",
        "median/quiet",
        "p99/quiet",
        "within",
        "triggers/s",
        "faults/s",
        "CPU"
    );
}

/// One condition.
pub fn line(row: &Row) {
    let within = match (row.median_within, row.p99_within) {
        (true, true) => "yes",
        (true, false) => "median",
        (false, true) => "p99",
        (false, false) => "no",
    };
    let figure = |of: fn(&Tally) -> f64, digits: usize| {
        row.offender.as_ref().map_or("–".to_owned(), |tally| format!("{:.digits$}", of(tally)))
    };
    println!(
        "{:<4}{:<26}{:>11.1}{:>11.1}   {:<28}{:<28}{:<9}{:>11}{:>9}{:>7}",
        row.depth,
        row.name,
        row.median_us.median,
        row.p99_us.median,
        row.median_ratio.to_string(),
        row.p99_ratio.to_string(),
        within,
        figure(|t| t.triggers, 0),
        figure(|t| t.faults, 1),
        figure(|t| t.cpu, 2),
    );
}

/// How many rows are within the spread. Says so; fails nothing: what shares a CPU shares it.
pub fn verdict(rows: &[Row]) {
    let beside: Vec<&Row> = rows.iter().filter(|row| row.offender.is_some()).collect();
    let count = |of: fn(&Row) -> bool| beside.iter().filter(|row| of(row)).count();
    println!(
        "\nwithin the spread of a quiet neighbour: the median in {} of {} rows, the 99th percentile in {}",
        count(|row| row.median_within),
        beside.len(),
        count(|row| row.p99_within)
    );
}

#[cfg(test)]
mod tests {
    use super::super::misdeed::MISDEEDS;
    use super::*;

    fn latency(us: f64) -> (Latency, Option<Tally>) {
        (Latency { iops: 1e6 / us, median_us: us, p99_us: us * 3.0, max_us: us * 9.0 }, None)
    }

    fn beside(us: f64) -> (Latency, Option<Tally>) {
        (latency(us).0, Some(Tally { triggers: 5.0, faults: 4.0, cpu: 0.5 }))
    }

    #[test]
    fn a_row_is_within_if_the_quiet_neighbour_was_as_slow_once() {
        let conditions = [
            Condition::Quiet,
            Condition::QuietAgain,
            Condition::Beside(&MISDEEDS[1], Manners::Relentless),
            Condition::Beside(&MISDEEDS[1], Manners::Forgiven),
        ];
        let measured = vec![
            vec![latency(10.0), latency(20.0), latency(40.0)],
            vec![latency(10.0), latency(24.0), latency(38.0)],
            // Paired: 1.15 in each round, although the plain medians would say so as well.
            vec![beside(11.5), beside(23.0), beside(46.0)],
            vec![beside(13.0), beside(26.0), beside(52.0)],
        ];
        let rows = rows(1, &conditions, &measured).unwrap();
        assert_eq!(rows.iter().map(|row| row.median_within).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(rows[2].p99_within && !rows[3].p99_within);
        assert_eq!(rows[1].median_ratio.high, 1.2);
        assert_eq!((rows[0].offender, rows[3].offender.unwrap().faults), (None, 4.0));
        assert_eq!(rows[3].name, "loop, forgiven");
        let json = rows[3].json();
        assert_eq!(json["median_ratio"]["median"], 1.3);
        assert_eq!(json["offender"]["faults_per_s"], 4.0);
    }

    #[test]
    fn without_rounds_there_are_no_rows() {
        assert!(rows(1, &[Condition::Quiet, Condition::QuietAgain], &[Vec::new(), Vec::new()]).is_err());
    }
}
