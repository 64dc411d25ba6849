//! Runs libiscsi's conformance suite against `lunbox serve` and keeps the list of what passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use lunbox_clients::built::workspace;
use lunbox_clients::suite::list;
use lunbox_clients::suite::outcome::Outcome;
use lunbox_clients::suite::ratchet::Ratchet;
use lunbox_clients::suite::run::{self, Plan, Subject};

/// libiscsi's conformance suite against `lunbox serve`, or another target. Exit status 1 if a test of the list no longer passes
#[derive(Debug, Parser)]
#[command(name = "libiscsi-suite", max_term_width = 100)]
struct Cli {
    /// Put what passes for the first time on the list; refuses to take anything off it
    #[arg(long)]
    update: bool,
    /// Test a LUN of a target that runs already, by its iscsi:// URL; what is on it is lost
    #[arg(long, value_name = "URL", requires = "read_only_target")]
    target: Option<String>,
    /// With --target: a LUN that refuses writes
    #[arg(long, value_name = "URL", requires = "target")]
    read_only_target: Option<String>,
    /// Run only tests whose names contain this; not with --update
    #[arg(long, value_name = "TEXT", conflicts_with = "update")]
    only: Option<String>,
    /// Time for one test, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Servers that are tested at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    servers: u8,
    /// Keep what every test printed in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// List of what passes
    #[arg(long, value_name = "FILE", default_value_os_t = workspace().join("tests/clients/libiscsi/passes.txt"))]
    list: PathBuf,
}

fn main() -> ExitCode {
    match suite(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn suite(cli: &Cli) -> Result<bool> {
    let mut tests = list::installed()?;
    let text = std::fs::read_to_string(&cli.list).with_context(|| format!("read {}", cli.list.display()))?;
    let mut ratchet = Ratchet::parse(&text).with_context(|| cli.list.display().to_string())?;
    if let Some(only) = &cli.only {
        tests.retain(|test| test.contains(only.as_str()));
        let part: Vec<&str> = ratchet.names().filter(|name| name.contains(only.as_str())).collect();
        ratchet = Ratchet::parse(&part.join("\n"))?;
    }
    if let Some(folder) = &cli.keep {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let plan =
        Plan { limit: Duration::from_secs(cli.limit), servers: usize::from(cli.servers), ..Plan::default() };
    let mut unkept = None;
    let subject = match (&cli.target, &cli.read_only_target) {
        (Some(writable), Some(read_only)) => {
            Subject::Running { writable: writable.clone(), read_only: read_only.clone() }
        }
        _ => Subject::Served,
    };
    let ran = run::run(&subject, &tests, plan, |test, ran| {
        println!("{test}: {}", ran.outcome);
        if let Some(folder) = &cli.keep
            && let Err(error) = std::fs::write(folder.join(format!("{test}.txt")), &ran.printed)
        {
            unkept = Some(error);
        }
    })?;
    if let Some(error) = unkept {
        return Err(error).context("keep what a test printed");
    }
    let outcomes: BTreeMap<String, Outcome> =
        ran.into_iter().map(|(name, ran)| (name, ran.outcome)).collect();
    let count = |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| wanted(outcome)).count();
    println!(
        "\n{} tests: {} pass, {} fail, {} skipped",
        outcomes.len(),
        count(|outcome| *outcome == Outcome::Pass),
        count(|outcome| matches!(outcome, Outcome::Fail(_) | Outcome::Timeout(_) | Outcome::Crash(_))),
        count(|outcome| matches!(outcome, Outcome::Skip(_))),
    );
    let comparison = ratchet.compare(&outcomes);
    if cli.update {
        let raised = ratchet.raised(&comparison)?;
        std::fs::write(&cli.list, raised.text()).with_context(|| format!("write {}", cli.list.display()))?;
        print!("{comparison}");
        println!("{}: {} tests", cli.list.display(), raised.names().count());
        if !comparison.gained.is_empty() {
            println!("now take what was added out of failures.md beside it");
        }
        return Ok(true);
    }
    print!("{comparison}");
    if !comparison.gained.is_empty() {
        println!("put them on the list: cargo run -p lunbox-clients --bin libiscsi-suite -- --update");
    }
    Ok(!comparison.is_worse(list::is_reviewed()))
}
