//! The project's commands: build, install, deb, demo, guest, test, bench, soak, fuzz, fresh-root.

mod apt;
mod bench;
mod cleanup;
mod compile;
mod deb;
mod demo;
mod fresh_root;
mod fuzz;
mod guest;
mod guest_command;
mod install;
mod lines;
mod package;
mod paths;
mod process;
mod progress;
mod soak;
mod test;
mod toolchain;
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
    /// Compiler for the handlers
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHICH",
        env = "LUNBOX_WASM_TOOLCHAIN",
        default_value_t
    )]
    toolchain: toolchain::Choice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the programs and the handlers: target/debug/, target/handlers/
    Build(compile::Options),
    /// Install the programs, the handlers, units, configuration, pages
    Install(install::Options),
    /// Build the Debian package: target/package/lunbox.deb
    Deb(package::Options),
    /// Boot a guest with the current build and run a command, or a shell, in it
    Guest(guest_command::Options),
    /// Show all of it: set up, serve a LUN, use it, measure it
    Demo(demo::Options),
    /// Install what is needed and run every test
    Test(test::Options),
    /// Measure: the sandbox against a native handler, neighbours of handlers that misbehave, lunboxd against tcmu-runner, the
    /// iSCSI target against tgt
    Bench(bench::Options),
    /// Kill, restart and check for hours: the guest tests that count in rounds
    Soak(soak::Options),
    /// Run the README's first command in a Debian that has nothing else
    FreshRoot(fresh_root::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    toolchain::wish(cli.toolchain);
    let result = cleanup::install().and_then(|()| match &cli.command {
        Command::Build(options) => compile::run(options).map(|()| 0),
        Command::Install(options) => install::run(options).map(|()| 0),
        Command::Deb(options) => package::run(options).map(|()| 0),
        Command::Guest(options) => guest_command::run(options),
        Command::Demo(options) => demo::run(options),
        Command::Test(options) => test::run(options),
        Command::Bench(options) => bench::run(options).map(|()| 0),
        Command::Soak(options) => soak::run(options),
        Command::FreshRoot(options) => fresh_root::run(options),
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
