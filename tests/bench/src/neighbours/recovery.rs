//! How soon a LUN serves again when its handler has failed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lunbox_engine::Limits;
use serde_json::{Value, json};

use super::misdeed::Misdeed;
use super::offender::Bad;
use crate::band::Band;

/// What is promised from the handler's end to the next command that is served.
const PROMISED: Duration = Duration::from_millis(50);
/// A LUN that takes longer does not recover.
const PATIENCE: Duration = Duration::from_secs(20);

/// All recoveries from one misdeed.
#[derive(Clone, Debug)]
pub struct Recovery {
    name: &'static str,
    what: &'static str,
    times: usize,
    /// From the command that triggers it to its BUSY, in milliseconds: includes the time that the handler may take.
    answer_ms: Band,
    /// From that BUSY to the first good read, in milliseconds.
    serving_ms: Band,
}

impl Recovery {
    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name, "what": self.what, "times": self.times,
            "answer_ms": self.answer_ms.json(), "serving_ms": self.serving_ms.json(),
        })
    }
}

/// Misdeeds that last are repeated this often at least.
const LEAST: usize = 3;

/// Provokes a handler so many times, each time after its earlier faults were forgotten, as rare faults are; less often if
/// that takes longer than `most`.
///
/// # Errors
/// When the LUN does not answer, does not lose its instance, or does not recover.
pub fn measure(misdeed: &'static Misdeed, limits: &Limits, times: usize, most: Duration) -> Result<Recovery> {
    let mut bad = Bad::start(misdeed, limits)?;
    let (mut answers, mut servings) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while servings.len() < times && (servings.len() < LEAST || begun.elapsed() < most) {
        bad.be_forgiven()?;
        let start = Instant::now();
        ensure!(bad.provoke()?, "it was not answered BUSY");
        let answered = Instant::now();
        while !bad.serves()? {
            ensure!(answered.elapsed() < PATIENCE, "it did not serve again within {PATIENCE:?}");
        }
        servings.push(answered.elapsed().as_secs_f64() * 1e3);
        answers.push((answered - start).as_secs_f64() * 1e3);
    }
    let none = Band { median: f64::NAN, low: f64::NAN, high: f64::NAN };
    Ok(Recovery {
        name: misdeed.name,
        what: misdeed.what,
        times: servings.len(),
        answer_ms: Band::of(answers).unwrap_or(none),
        serving_ms: Band::of(servings).unwrap_or(none),
    })
}

/// The heading.
pub fn header(times: usize) {
    println!(
        "\nHow soon the offender serves again: {times} times each or less, faults far apart; milliseconds, median [lowest..highest].\n"
    );
    println!(
        "{:<16}{:<34}{:>6}{:>28}{:>28}",
        "misdeed", "", "times", "until it is answered BUSY", "from then to the next GOOD"
    );
}

/// One misdeed.
pub fn line(recovery: &Recovery) {
    println!(
        "{:<16}{:<34}{:>6}{:>28}{:>28}",
        recovery.name, recovery.what, recovery.times, recovery.answer_ms, recovery.serving_ms
    );
}

/// The promise against the slowest recovery. Says so; fails nothing: a loaded machine is no bug.
pub fn verdict(recoveries: &[Recovery]) {
    let promised = PROMISED.as_secs_f64() * 1e3;
    println!();
    for recovery in recoveries {
        let word = if recovery.serving_ms.high <= promised { "within" } else { "ABOVE" };
        println!(
            "{} to serving: {:.2} ms, at most {:.2} ms ({word} {promised} ms)",
            recovery.what, recovery.serving_ms.median, recovery.serving_ms.high
        );
    }
}
