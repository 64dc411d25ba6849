//! What a LUN whose handler misbehaves costs the LUN beside it, and how soon it serves again itself.
//!
//! The neighbour is a LUN of the Wasm handler `file` in memory under 4 KiB random reads at depth 1 and 32. Its latency
//! is measured alone (quiet), alone once more (quiet again: the spread of the machine), and while another LUN of the
//! same process misbehaves without pause. Threads run where the kernel puts them: on a machine with few CPUs everybody
//! shares them, which is why the row `busy` is there: an honest LUN that reads as fast as it can.

mod misdeed;
mod offender;
mod probe;
mod recovery;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use lunbox_engine::Limits;
use serde_json::json;

use misdeed::{MISDEEDS, Misdeed};
use offender::{Manners, Offender, Tally};
use probe::{Latency, Probe};
use report::Row;

/// What is measured, and how long.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A misdeed that costs its instance is measured twice: as it is, where the host gives growing pauses to a handler that fails
again and again, and `forgiven`, where 256 good reads after each make the host forget it.

Columns: median and 99th percentile of the neighbour's latency, both over those of the quiet neighbour in the same round
(median [lowest..highest] of the rounds); `within` says that the median of that ratio is no higher than that of a quiet
neighbour was in any round. Then the offender: triggers and lost instances per second, CPU of its thread.

Examples:
  cargo xtask bench --neighbours --quick
  cargo xtask bench --neighbours -- --only loop --rounds 21")]
pub struct Options {
    /// Fewer and shorter rounds: for a look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Only these misdeeds
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(MISDEEDS.iter().map(|misdeed| misdeed.name)))]
    only: Vec<String>,
    /// Rounds (default 7, or 2 with --quick)
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Milliseconds of a measurement (default 500, or 60 with --quick)
    #[arg(long, value_name = "MS")]
    millis: Option<u64>,
    /// Milliseconds that an initiator waits after BUSY before it tries again (default 3, as Linux)
    #[arg(long, value_name = "MS", default_value_t = 3)]
    busy_delay: u64,
    /// Times that each misdeed is recovered from (default 200, or 12 with --quick), fewer if one takes long
    #[arg(long, value_name = "N")]
    recoveries: Option<usize>,
    /// Write the results there as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One condition of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    Quiet,
    QuietAgain,
    Beside(&'static Misdeed, Manners),
}

/// Measures and prints.
///
/// # Errors
/// When a LUN cannot be started, the neighbour fails a command, or an offender does not answer.
pub fn measure(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 7 }).max(1);
    let length = Duration::from_millis(options.millis.unwrap_or(if options.quick { 60 } else { 500 }));
    let conditions = conditions(&options.only);
    let delay = Duration::from_millis(options.busy_delay);
    let mut limits = Limits::default();
    if options.quick {
        // Who sleeps until it is ended costs this much in each round.
        limits.wall_per_call = Duration::from_millis(100);
    }
    report::header(rounds, length);
    let mut rows = Vec::new();
    for depth in [1, 32] {
        let measured = at_depth(depth, &conditions, rounds, length, &limits, delay)
            .with_context(|| format!("neighbour at depth {depth}"))?;
        for row in report::rows(depth, &conditions, &measured)? {
            report::line(&row);
            rows.push(row);
        }
    }
    report::verdict(&rows);

    let times = options.recoveries.unwrap_or(if options.quick { 12 } else { 200 }).max(1);
    let chosen =
        MISDEEDS.iter().filter(|misdeed| misdeed.costs_instance && is_chosen(misdeed, &options.only));
    let most = Duration::from_secs(if options.quick { 2 } else { 30 });
    let mut recoveries = Vec::new();
    recovery::header(times);
    for misdeed in chosen {
        let recovery = recovery::measure(misdeed, &limits, times, most).with_context(|| misdeed.name)?;
        recovery::line(&recovery);
        recoveries.push(recovery);
    }
    recovery::verdict(&recoveries);

    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json!({
            "neighbours": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "recoveries": recoveries.iter().map(recovery::Recovery::json).collect::<Vec<_>>(),
        }))?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn is_chosen(misdeed: &Misdeed, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| name == misdeed.name)
}

fn conditions(only: &[String]) -> Vec<Condition> {
    let mut conditions = vec![Condition::Quiet, Condition::QuietAgain];
    for misdeed in MISDEEDS.iter().filter(|misdeed| is_chosen(misdeed, only)) {
        conditions.push(Condition::Beside(misdeed, Manners::Relentless));
        if misdeed.costs_instance {
            conditions.push(Condition::Beside(misdeed, Manners::Forgiven));
        }
    }
    conditions
}

/// By condition and round.
type Measured = Vec<Vec<(Latency, Option<Tally>)>>;

fn at_depth(
    depth: usize,
    conditions: &[Condition],
    rounds: usize,
    length: Duration,
    limits: &Limits,
    delay: Duration,
) -> Result<Measured> {
    let mut probe = Probe::start(depth)?;
    // Unmeasured: warms caches and allocations.
    probe.round(length)?;
    let mut measured: Measured = vec![Vec::new(); conditions.len()];
    for round in 0..rounds {
        for place in 0..conditions.len() {
            // Who goes first changes.
            let which = (place + round) % conditions.len();
            let result = match conditions[which] {
                Condition::Quiet | Condition::QuietAgain => (probe.round(length)?, None),
                Condition::Beside(misdeed, manners) => {
                    let offender = Offender::start(misdeed, limits, manners, delay).context(misdeed.name)?;
                    let latency = probe.round(length)?;
                    (latency, Some(offender.stop().context(misdeed.name)?))
                }
            };
            measured[which].push(result);
        }
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misdeed_is_measured_and_the_costly_ones_twice() {
        let all = conditions(&[]);
        let costly = MISDEEDS.iter().filter(|misdeed| misdeed.costs_instance).count();
        assert_eq!(all.len(), 2 + MISDEEDS.len() + costly);
        assert_eq!(conditions(&["busy".to_owned()]).len(), 3);
        assert_eq!(conditions(&["loop".to_owned()]).len(), 4);
    }
}
