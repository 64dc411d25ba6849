//! The log of a long run: written as it goes, so that a run that is cut short leaves what it had.

use super::rounds::Rounds;
use crate::guest::Outcome;
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// An open log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    started: Instant,
}

impl Log {
    /// Begins a log, in the place of one that is there.
    ///
    /// # Errors
    /// When it cannot be written, as with all that follow.
    pub fn create(path: &Path, head: &str) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut log = Self { path: path.to_owned(), file, started: Instant::now() };
        log.write(&format!("{head}\n"))?;
        Ok(log)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One guest and all its recoveries.
    ///
    /// # Errors
    /// See [`Log::create`].
    pub fn guest(&mut self, title: &str, rounds: &Rounds, outcome: &Outcome) -> anyhow::Result<()> {
        let (total, boot) = (outcome.total.as_secs_f64(), outcome.boot.as_secs_f64());
        self.write(&format!(
            "{title}: {} rounds in {total:.1} s (boot {boot:.1} s), status {}; recoveries in ms:\n{}",
            rounds.total(),
            outcome.status,
            rounds.times()
        ))
    }

    /// What failed, and the whole output of its guest.
    ///
    /// # Errors
    /// See [`Log::create`].
    pub fn failure(&mut self, why: &str, output: &str) -> anyhow::Result<()> {
        self.write(&format!("\nFAILED: {why}\n--- output of the guest\n{output}--- end of the output\n"))
    }

    /// The sums.
    ///
    /// # Errors
    /// See [`Log::create`].
    pub fn end(&mut self, all: &Rounds) -> anyhow::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.write(&format!("\n{}\n{} rounds in {seconds:.0} s\n", all.table(), all.total()))
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Round;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_log_has_everything_in_the_order_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut rounds = Rounds::default();
        rounds.take(&Round::parse("-- worker round 1 of 1: recovered in 42 ms").unwrap());
        let outcome = Outcome { status: 1, boot: Duration::from_secs(2), total: Duration::from_secs(9) };
        let mut log = Log::create(&path, "machine X").unwrap();
        log.guest("crash, guest 1 of 2", &rounds, &outcome).unwrap();
        log.failure("crash, guest 1 of 2: why", "-- line\n").unwrap();
        log.end(&rounds).unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        let mut at = 0;
        for part in [
            "machine X",
            "1 rounds in 9.0 s",
            "worker       42",
            "FAILED: crash, guest 1 of 2: why",
            "-- line",
            "1 rounds in",
        ] {
            at += text[at..].find(part).unwrap_or_else(|| panic!("{part} is missing in {text}"));
        }
    }
}
