//! Steps with a heading and a time; the first failure ends the run, the summary tells all.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// What a step that did not fail has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It could not be looked at; why.
    Skipped(String),
}

#[derive(Debug)]
enum Result {
    Passed,
    Skipped(String),
    Failed(String),
    NotRun,
}

/// The steps so far.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<(String, Result, Duration)>,
    failed: bool,
}

impl Steps {
    /// Runs `step` under the heading `name`, unless an earlier one failed.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<Verdict>) {
        if self.failed {
            self.done.push((name.to_owned(), Result::NotRun, Duration::ZERO));
            return;
        }
        println!("\n== {name}");
        let started = Instant::now();
        let result = match step() {
            Ok(Verdict::Passed) => Result::Passed,
            Ok(Verdict::Skipped(why)) => Result::Skipped(why),
            Err(error) => {
                println!("FAILED: {error:#}");
                self.failed = true;
                Result::Failed(format!("{error:#}"))
            }
        };
        let took = started.elapsed();
        println!("== {name}: {:.1} s", took.as_secs_f64());
        self.done.push((name.to_owned(), result, took));
    }

    /// Prints the table and the last line; the result is the exit status.
    pub fn summary(&self) -> i32 {
        print!("{}", self.table());
        i32::from(self.failed)
    }

    fn table(&self) -> String {
        let width = self.done.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::from("\n== summary\n");
        let (mut passed, mut failed) = (0, 0);
        for (name, result, took) in &self.done {
            let verdict = match result {
                Result::Passed => "passed".to_owned(),
                Result::Skipped(why) => format!("skipped: {why}"),
                Result::Failed(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
                Result::NotRun => "not run".to_owned(),
            };
            passed += i32::from(matches!(result, Result::Passed));
            failed += i32::from(matches!(result, Result::Failed(_)));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:width$}  {:7.1} s  {verdict}", took.as_secs_f64());
        }
        let _ = writeln!(text, "{passed} passed, {failed} failed");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_failure_ends_the_run_and_is_counted() {
        let mut steps = Steps::default();
        let mut ran = false;
        steps.run("a", || Ok(Verdict::Passed));
        steps.run("b", || Ok(Verdict::Skipped("no network".into())));
        steps.run("c", || anyhow::bail!("broken"));
        steps.run("d", || {
            ran = true;
            Ok(Verdict::Passed)
        });
        assert!(!ran);
        let table = steps.table();
        assert!(table.contains("skipped: no network") && table.contains("FAILED: broken"), "{table}");
        assert!(table.contains("not run"), "{table}");
        assert_eq!(table.lines().last(), Some("1 passed, 1 failed"));
        assert_eq!(steps.summary(), 1);
    }

    #[test]
    fn all_passed_is_status_0() {
        let mut steps = Steps::default();
        steps.run("a", || Ok(Verdict::Passed));
        assert_eq!(steps.table().lines().last(), Some("1 passed, 0 failed"));
        assert_eq!(steps.summary(), 0);
    }
}
