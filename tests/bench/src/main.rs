//! Benchmarks on the emulated ring: what the sandbox costs, and what a handler that misbehaves costs its neighbours.

mod band;
mod load;
mod lun;
mod neighbours;
mod report;
mod sandbox;
mod side;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Compares the sandboxed handler with the native one on the emulated ring.
///
/// Columns: IOPS and thread CPU time per command of the device loop (median of the rounds), system calls per
/// command, the ratio Wasm/native of IOPS, the difference in CPU time (the sandbox tax), and the spread of the
/// native side against itself, below which no difference means anything.
#[derive(Debug, Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  cargo xtask bench --quick
  cargo xtask bench -- --store null --size 4096 --rounds 15
  cargo xtask bench --neighbours"
)]
struct Cli {
    #[command(flatten)]
    sandbox: sandbox::Options,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measures a LUN's latency beside LUNs whose handlers misbehave, and how soon those serve again
    Neighbours(neighbours::Options),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match &cli.part {
        None => sandbox::measure(&cli.sandbox),
        Some(Part::Neighbours(options)) => neighbours::measure(options),
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
