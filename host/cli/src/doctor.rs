//! `lunbox doctor`: what keeps lunboxd from working, and what to do about it.

mod bundle;
mod checks;
mod owner;
mod processes;
mod system;

use serde::Serialize;

use crate::cli::Doctor;
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line, printable};

use system::System;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    problems: usize,
    warnings: usize,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn line(&self, colours: bool) -> String {
        let (word, colour) = match self.verdict {
            Verdict::Ok => ("ok", "32"),
            Verdict::Warning => ("warning", "33"),
            Verdict::Problem => ("problem", "1;31"),
        };
        let word = if colours { format!("\x1b[{colour}m{word:<7}\x1b[0m") } else { format!("{word:<7}") };
        let remedy =
            self.remedy.as_ref().map_or_else(String::new, |remedy| format!("; {}", printable(remedy)));
        format!("{word}  {:<14}  {}{remedy}", self.check, printable(&self.found))
    }
}

/// Looks, tells, and writes the bundle if one is wanted.
///
/// # Errors
/// The bundle's, or stdout's. What is wrong with the system is no error.
pub fn run(options: &Doctor, output: &Output) -> anyhow::Result<Exit> {
    let system = System::new(&options.root, &options.daemon.socket);
    let mut findings = Vec::new();
    checks::all(&system, |found| {
        if !output.is_json() {
            for finding in &found {
                print_line(&finding.line(output.colours_stdout()))?;
            }
        }
        findings.extend(found);
        std::io::Result::Ok(())
    })?;
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let report =
        Report { findings: &findings, problems: count(Verdict::Problem), warnings: count(Verdict::Warning) };
    if output.is_json() {
        print_json(&report)?;
    } else {
        print_line(&format!("{} problems, {} warnings", report.problems, report.warnings))?;
    }
    if let Some(path) = &options.bundle {
        bundle::write(path, &system, &serde_json::to_string_pretty(&report)?, output)?;
    }
    Ok(if report.problems > 0 { Exit::Failed } else { Exit::Ok })
}

#[cfg(test)]
mod tests;
