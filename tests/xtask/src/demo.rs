//! `cargo xtask demo`: from nothing to a LUN in use, with what it costs.

use crate::bench;
use crate::compile;
use crate::guest::{self, Contents, Machine, Request};
use crate::tools::Missing;
use anyhow::ensure;
use std::time::Duration;

/// A demonstration that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is installed on or changed in this machine except programs that are missing (as root, by apt-get).
The first run builds everything and takes its time; later runs start at once.")]
pub struct Options {
    /// Two emulated processors (qemu) instead of User-Mode Linux
    #[arg(long)]
    smp: bool,
    /// Leave the measurement of the sandbox out
    #[arg(long)]
    no_bench: bool,
}

/// Builds, boots, shows; the result is the exit status.
///
/// # Errors
/// When something cannot be built or started, or a step of the demonstration fails.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    heading("Building the daemon and the handlers");
    compile::all()?;
    let machine = if options.smp { Machine::Smp } else { Machine::Uml };
    heading(&format!("Booting a guest: {}, Debian's stock kernel", machine.name()));
    let request = Request {
        machine,
        memory_mib: 2048,
        timeout: Some(LIMIT),
        terminal: false,
        keep: false,
        contents: Contents { command: "/host/tests/demo.sh".into(), ..Contents::default() },
        missing: Missing::Install,
    };
    let outcome = guest::run(&request, &mut std::io::stdout().lock())?;
    ensure!(outcome.status == 0, "the demonstration failed in the guest (status {})", outcome.status);
    println!(
        "\n   guest: {:.1} s to boot, {:.1} s in all",
        outcome.boot.as_secs_f64(),
        outcome.total.as_secs_f64()
    );
    if !options.no_bench {
        heading("What the sandbox costs, measured on this machine without a guest");
        bench::measure(true, &[])?;
    }
    Ok(0)
}

fn heading(text: &str) {
    println!("\n== {text}");
}
