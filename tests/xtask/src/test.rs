//! `cargo xtask test`: everything that must hold, in the order of how soon it can fail.

pub mod guest_tests;
mod licences;
mod second_compiler;
mod space;
mod steps;

use crate::bench;
use crate::compile;
use crate::demo;
use crate::fresh_root;
use crate::fuzz;
use crate::package::{self, Packing};
use crate::process;
use crate::progress::Progress;
use crate::toolchain;
use crate::tools::{self, Missing};
use anyhow::Context;
use guest_tests::GuestTest;
use std::ffi::OsStr;
use std::process::Command;
use steps::{Steps, Verdict};

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stops at the first failure. The last line is `N passed, N failed`, counted in steps; the exit status is 0 only when
nothing failed.

Examples:
  cargo xtask test
  cargo xtask test --no-guest           without root and without a guest image
  cargo xtask test --only crash         the guest test crash alone, with the current build")]
pub struct Options {
    /// Longer rounds in the guest, and the demonstration in a fresh Debian root (half an hour more)
    #[arg(long)]
    full: bool,
    /// Leave out what needs a guest
    #[arg(long, conflicts_with = "only")]
    no_guest: bool,
    /// Build and run this guest test alone (tests/guest/NAME.test.sh), on both machines where it applies
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Runs the steps; the result is the exit status.
///
/// # Errors
/// When the list of steps cannot be made. A failing step is no error here.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    let guest_tests = if options.no_guest { Vec::new() } else { guest_tests::find(options.only.as_deref())? };
    let mut steps = Steps::default();
    steps.run("room on disk", space::check);
    let free = space::free().ok();
    steps.run("tools", || install_tools(options));
    if options.only.is_none() {
        steps.run("format", || cargo(&["fmt", "--all", "--check"]));
        steps.run("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
        steps.run("format and clippy of the fuzz targets", || fuzz::check().map(|()| Verdict::Passed));
        steps.run("documentation", documentation);
        steps.run("licences, bans, sources", licences::check);
        steps.run("advisories", licences::advisories);
    }
    steps.run("build", || compile::all().map(|()| Verdict::Passed));
    if options.only.is_none() {
        steps.run("a handler built by Debian's compiler", second_compiler::check);
        steps.run("tests on this machine", || cargo(&["test", "--workspace"]));
        steps.run("demonstration over iSCSI", demonstration);
    }
    if guest_tests.iter().any(GuestTest::needs_package) {
        steps.run("Debian package", || package::build(Packing::Fast).map(|_| Verdict::Passed));
    }
    for test in &guest_tests {
        steps.run(&test.title(), || test.run(options.full));
    }
    if options.only.is_none() {
        steps.run("benchmark runs", || {
            bench::measure(bench::Part::Sandbox, true, &[]).map(|()| Verdict::Passed)
        });
        if options.full {
            steps.run("the demonstration in a fresh Debian root", in_fresh_root);
        }
    }
    if let (Some(before), Ok(after)) = (free, space::free()) {
        println!("\nroom on disk: {} before, {} after", space::gib(before), space::gib(after));
    }
    Ok(steps.summary())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<Verdict> {
    process::run(&mut compile::cargo(arguments))?;
    Ok(Verdict::Passed)
}

fn demonstration() -> anyhow::Result<Verdict> {
    demo::over_iscsi().map(|()| Verdict::Passed)
}

fn in_fresh_root() -> anyhow::Result<Verdict> {
    if !tools::is_root() {
        return Ok(Verdict::Skipped("making a root file system needs root".into()));
    }
    fresh_root::demo().map(|()| Verdict::Passed)
}

fn documentation() -> anyhow::Result<Verdict> {
    let mut command = compile::cargo(&["doc", "--workspace", "--no-deps"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Verdict::Passed)
}

/// Whether cargo has the subcommand. It has to be asked: rustup leaves a program of that name even where the component
/// is not installed.
fn answers(cargo: &OsStr, subcommand: &str) -> bool {
    process::output(&mut compile::cargo_program(cargo, &[subcommand, "--version"])).is_ok()
}

fn install_tools(options: &Options) -> anyhow::Result<Verdict> {
    toolchain::prepare()?;
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(&compile::program(), subcommand) {
            let progress = Progress::start(format!("adding {component} to the toolchain"));
            process::run_quietly(Command::new("rustup").args(["component", "add", component]), &progress)
                .with_context(|| format!("`rustup component add {component}` installs it"))?;
            progress.done();
        }
    }
    if options.only.is_none() {
        licences::install()?;
        tools::require(tools::CLIENTS, Missing::Install)?;
        tools::require(tools::PACKAGING, Missing::Install)?;
    }
    if !options.no_guest {
        for list in [tools::IMAGE, tools::UML, tools::QEMU] {
            tools::require(list, Missing::Install)?;
        }
    }
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_and_fails_is_no_component() {
        assert!(answers("true".as_ref(), "fmt"));
        assert!(!answers("false".as_ref(), "fmt"));
        assert!(!answers("/no/such/cargo".as_ref(), "fmt"));
    }
}
