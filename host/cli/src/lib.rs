//! The body of `lunbox`, the command of operators and of authors of handlers.
//!
//! * [`cli`] is the command line; [`manual`] and [`completions`] are made from it.
//! * [`serve`] offers LUNs over iSCSI, without a kernel module and without root.
//! * [`inspect`] and [`handlers`] tell what handlers are; [`search`] is where they are looked for.
//! * [`operate`] talks to a running `lunboxd`; [`policy`] judges what it is going to read. [`doctor`]
//!   looks for what keeps it from working.
//! * [`table`] and [`human`] are how results look to people.
//! * [`output`] and [`exit`] are what all commands say to their caller, [`logging`] what they say to the curious.

pub mod cli;
pub mod completions;
pub mod doctor;
pub mod exit;
pub mod handlers;
pub mod human;
pub mod inspect;
pub mod logging;
pub mod manual;
pub mod operate;
pub mod output;
pub mod policy;
pub mod search;
pub mod serve;
pub mod size;
pub mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output::Output;

/// Runs the command that the process was called with, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).into(),
    };
    let output = Output::new(cli.common.json);
    logging::start(cli.common.log_level);
    let result = match &cli.command {
        Command::Serve(options) => serve::run(options, &output),
        Command::Inspect(options) => inspect::run(options, &output),
        Command::Handlers(options) => handlers::run(options, &output),
        Command::Status(options) => operate::status(options, &output),
        Command::Device(options) => operate::device(options, &output),
        Command::Worker(options) => operate::worker(options, &output),
        Command::Events(options) => operate::events(options, &output),
        Command::Top(options) => operate::top(options, &output),
        Command::Trace(options) => operate::trace(options, &output),
        Command::Doctor(options) => doctor::run(options, &output),
        Command::Handover(options) => operate::handover(options, &output),
        Command::Policy(options) => policy::run(options, &output),
        Command::Completions(options) => completions::run(options, &output),
        Command::Man(options) => manual::run(options, &output),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) if output::is_broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            output.error(&format!("{error:#}"));
            Exit::Failed.into()
        }
    }
}

/// A command line that was not understood, or that asked for help.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // If nobody reads it, nobody misses it.
        let _ = error.print();
        return Exit::Ok;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        Output::new(true).error(text.trim_end().trim_start_matches("error: "));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
