//! The project's commands: build, guest, demo, test, bench, fuzz.

mod bench;
mod cleanup;
mod compile;
mod demo;
mod fuzz;
mod guest;
mod guest_command;
mod paths;
mod process;
mod progress;
mod test;
mod tools;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's commands",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the daemon and the handlers: target/debug/lunboxd, target/handlers/
    Build,
    /// Boot a guest with the current build and run a command, or a shell, in it
    Guest(guest_command::Options),
    /// Show all of it: set up, make a LUN on a real kernel, use it, measure it
    Demo(demo::Options),
    /// Install what is needed and run every test
    Test(test::Options),
    /// Measure the sandbox: Wasm handler against native handler in one run
    Bench(bench::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = cleanup::install().and_then(|()| match &cli.command {
        Command::Build => compile::all().map(|()| 0),
        Command::Guest(options) => guest_command::run(options),
        Command::Demo(options) => demo::run(options),
        Command::Test(options) => test::run(options),
        Command::Bench(options) => bench::run(options).map(|()| 0),
        Command::Fuzz(options) => fuzz::run(options).map(|()| 0),
    });
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
