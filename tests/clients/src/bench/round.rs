//! Rounds: the two sides one after the other, again and again.

use std::time::Duration;

use anyhow::{Result, bail};

use super::cpu;
use super::load::{Direction, Load};

/// A server that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// How clients call its LUN.
    pub url: &'a str,
    /// Its process.
    pub pid: u32,
}

/// One round of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Commands per second.
    pub iops: f64,
    /// Processor time that the server used for 1000 commands, in microseconds.
    pub cpu_us_per_1000: f64,
}

/// All rounds of one load: sample n of the one side was taken next to sample n of the other.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What was run.
    pub load: Load,
    /// tgt's.
    pub tgt: Vec<Sample>,
    /// Ours.
    pub lunbox: Vec<Sample>,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// Seconds of a side in a round.
    pub seconds: u32,
}

/// Runs `load`: a warm-up of both, then the rounds; who is first alternates. While one side is measured the other
/// one is left idle.
///
/// # Errors
/// When a client fails or a server dies.
pub fn run(load: Load, tgt: Side<'_>, lunbox: Side<'_>, plan: Plan) -> Result<Rounds> {
    let writes = writes_for(load, tgt, lunbox, plan.seconds)?;
    let mut rounds = Rounds { load, tgt: Vec::new(), lunbox: Vec::new() };
    for round in 0..plan.rounds {
        let (a, b) = if round % 2 == 0 {
            let a = sample(load, tgt, plan.seconds, writes)?;
            (a, sample(load, lunbox, plan.seconds, writes)?)
        } else {
            let b = sample(load, lunbox, plan.seconds, writes)?;
            (sample(load, tgt, plan.seconds, writes)?, b)
        };
        rounds.tgt.push(a);
        rounds.lunbox.push(b);
    }
    Ok(rounds)
}

/// Warms both sides up. For writes, of which a client does a number and not a time: how many keep the slower side
/// busy for `seconds`.
fn writes_for(load: Load, tgt: Side<'_>, lunbox: Side<'_>, seconds: u32) -> Result<u32> {
    const PILOT: u32 = 4000;
    let mut slowest = f64::INFINITY;
    for side in [tgt, lunbox] {
        let done = load.run(side.url, 1, PILOT)?;
        slowest = slowest.min(done.commands / done.seconds.max(1e-3));
    }
    if load.direction == Direction::RandomRead {
        return Ok(PILOT);
    }
    // Rounded to thousands; there is no conversion from a float that checks, and none is needed below 50 million.
    let wanted = (slowest * f64::from(seconds) / 1000.0).clamp(1.0, 50_000.0);
    (1..=50_000)
        .find(|thousands| f64::from(*thousands) >= wanted)
        .map_or_else(|| bail!("{load:?}: {wanted} thousand writes"), |thousands: u32| Ok(thousands * 1000))
}

fn sample(load: Load, side: Side<'_>, seconds: u32, writes: u32) -> Result<Sample> {
    let before = cpu::used(side.pid)?;
    let done = load.run(side.url, seconds, writes)?;
    let used = cpu::used(side.pid)?.saturating_sub(before);
    if done.commands <= 0.0 || done.seconds <= 0.0 {
        bail!("{}: nothing was done", side.url);
    }
    Ok(Sample { iops: done.commands / done.seconds, cpu_us_per_1000: micros(used) / done.commands * 1000.0 })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
