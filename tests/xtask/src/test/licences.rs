//! cargo-deny: licences, bans and sources of all dependencies; advisories where their database can be reached.

use super::steps::Verdict;
use crate::compile;
use crate::paths;
use crate::process;
use crate::tools;
use anyhow::Context;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Fetching the advisory database takes seconds where it is reachable at all.
const FETCH_LIMIT: Duration = Duration::from_secs(45);

/// The release that is built here: a newer one may want a newer Rust than the checkout does.
const VERSION: &str = "0.20.2";

/// cargo-deny as found in `PATH`, else the checkout's own.
fn program() -> Option<PathBuf> {
    let own = paths::tools().join("bin/cargo-deny");
    tools::find("cargo-deny").or_else(|| own.is_file().then_some(own))
}

fn deny(arguments: &[&str]) -> anyhow::Result<Command> {
    let program = program().ok_or_else(|| {
        anyhow::anyhow!(
            "cargo-deny is missing; `cargo install cargo-deny --locked --version {VERSION}` installs it"
        )
    })?;
    let mut command = Command::new(program);
    command.args(["--all-features"]).args(arguments).current_dir(paths::root());
    Ok(command)
}

/// Builds cargo-deny into the checkout's tools if there is none.
///
/// # Errors
/// When it cannot be built.
pub fn install() -> anyhow::Result<()> {
    if program().is_some() {
        return Ok(());
    }
    println!("   building cargo-deny, once: cargo install cargo-deny --locked --version {VERSION}");
    // Unoptimised: it builds in a third of the time and runs for seconds.
    let mut command =
        compile::cargo(&["install", "cargo-deny", "--locked", "--version", VERSION, "--debug", "--root"]);
    let scratch = paths::target().join("tools-build");
    command.arg(paths::tools()).env("CARGO_TARGET_DIR", &scratch);
    process::run(&mut command)?;
    // Hundreds of megabytes that nobody needs again.
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// Licences, bans and sources against deny.toml.
///
/// # Errors
/// When one of them does not hold; cargo-deny has said which.
pub fn check() -> anyhow::Result<Verdict> {
    process::run(&mut deny(&["check", "bans", "licenses", "sources"])?)?;
    Ok(Verdict::Passed)
}

/// Known vulnerabilities, if the database can be had.
///
/// # Errors
/// When a dependency has one.
pub fn advisories() -> anyhow::Result<Verdict> {
    match process::run_for(&mut deny(&["fetch", "db"])?, FETCH_LIMIT)? {
        Some(true) => {}
        Some(false) => return Ok(Verdict::Skipped("the advisory database cannot be fetched".into())),
        None => {
            let limit = FETCH_LIMIT.as_secs();
            return Ok(Verdict::Skipped(format!("the advisory database did not come within {limit} s")));
        }
    }
    process::run(&mut deny(&["check", "--disable-fetch", "advisories"])?)?;
    Ok(Verdict::Passed)
}
