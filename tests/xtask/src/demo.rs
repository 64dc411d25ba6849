//! `cargo xtask demo`: from nothing to a LUN in use, with what it costs.

mod front;
mod image;
mod kernel;
mod server;
mod show;

use crate::bench;
use crate::compile;
use crate::tools::{self, Missing};

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A LUN is offered over iSCSI on this machine's loopback interface, by an ordinary process: no root, no kernel module,
no guest. libiscsi's programs and qemu's, which nobody here wrote, look at it, write, read, verify and measure it.
Programs that are missing are installed (as root, by apt-get), and rustup adds the Wasm target to the toolchain if it
lacks it; nothing else is changed in this machine.
The first run builds everything and takes its time; later runs start at once.

Examples:
  cargo xtask demo
  cargo xtask demo --stay               keep the LUN afterwards, to try it with clients of your own
  cargo xtask demo --guest              the other way in: a real kernel's SCSI target, in a guest")]
pub struct Options {
    /// Serve on after the steps, until Ctrl-C
    #[arg(long, conflicts_with = "guest")]
    stay: bool,
    /// Show lunboxd behind a real kernel, in a guest (User-Mode Linux)
    #[arg(long)]
    guest: bool,
    /// With --guest: two emulated processors (qemu) instead of User-Mode Linux
    #[arg(long, requires = "guest")]
    smp: bool,
    /// Leave the measurement of the sandbox out
    #[arg(long)]
    no_bench: bool,
}

/// Builds, serves, shows; the result is the exit status.
///
/// # Errors
/// When something cannot be installed, built or started, or a step of the demonstration fails.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    if options.guest {
        show::heading("Building the daemon and the handlers");
        compile::all()?;
        kernel::run(options.smp)?;
    } else {
        show::heading("Setting up: clients, programs and handlers");
        tools::require(tools::CLIENTS, Missing::Install)?;
        // All that is needed before the first step, so that nothing is compiled between two of them.
        compile::some(&["lunbox-cli", "lunbox-bench"])?;
        front::run(options.stay)?;
    }
    // Whoever stayed and pressed Ctrl-C wants to be done.
    if !options.no_bench && !options.stay {
        show::heading(
            "What the sandbox costs: the same handler as Wasm and compiled natively, on an emulated ring",
        );
        bench::measure(bench::Part::Sandbox, true, &[])?;
    }
    Ok(0)
}

/// The demonstration over iSCSI with the clients and programs that are there, without the measurement of the sandbox.
///
/// # Errors
/// When a step fails.
pub fn over_iscsi() -> anyhow::Result<()> {
    front::run(false)
}
