//! The Wasm `file` handler against the same handler compiled natively, in one run, on the emulated ring: what the
//! sandbox costs.
//!
//! Both sides use the same device loop, stores and emulated kernel; they differ in how the handler is called and
//! nothing else. Rounds of the two sides alternate, and each side also runs against itself (A/A), so that the
//! spread of the machine stands beside the ratio.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::Direction;
use crate::report::{self, Case, Row, summarize};
use crate::side::{Medium, Side, StoreKind};

/// What is measured, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Only these stores.
    #[arg(long, value_enum)]
    store: Vec<StoreKind>,
    /// Only these transfer sizes in bytes.
    #[arg(long)]
    size: Vec<u32>,
    /// Commands in flight.
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Rounds of each side (default 9, or 3 with --quick).
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of a round (default 400, or 120 with --quick).
    #[arg(long)]
    millis: Option<u64>,
    /// Directory of the file store's file (default: the system's directory for temporary files).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the results there as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// When a LUN cannot be started or fails a command.
pub fn measure(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 }).max(1);
    let round = Duration::from_millis(options.millis.unwrap_or(if options.quick { 120 } else { 400 }));
    let stores = if options.store.is_empty() {
        vec![StoreKind::Null, StoreKind::Memory, StoreKind::File]
    } else {
        options.store.clone()
    };
    let sizes = if options.size.is_empty() { vec![4096, 65536, 1 << 20] } else { options.size.clone() };
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);

    report::header(rounds, round, options.depth);
    let mut rows: Vec<Row> = Vec::new();
    for store in stores {
        for &size in &sizes {
            for direction in [Direction::Read, Direction::Write] {
                let case = Case { store, size, direction, depth: options.depth };
                let row = run_case(&case, rounds, round, &dir)
                    .with_context(|| format!("{store:?} {size} bytes {direction:?}"))?;
                report::line(&row);
                rows.push(row);
            }
        }
    }
    report::verdict(&rows);
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&rows)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fresh devices for every round: where a device's memory happens to lie makes a difference of its own, which
/// must not stick to one side.
fn run_case(case: &Case, rounds: usize, round: Duration, dir: &Path) -> Result<Row> {
    let media = [Medium::new(case, dir)?, Medium::new(case, dir)?, Medium::new(case, dir)?];
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for index in 0..rounds {
        let handlers = [
            lunbox_behaviour::native_file(),
            lunbox_behaviour::wasm("lunbox-handler-file"),
            lunbox_behaviour::native_file(),
        ];
        let mut sides = Vec::new();
        for (handler, medium) in handlers.into_iter().zip(&media) {
            sides.push(Side::start(handler, case, medium)?);
        }
        // Who goes first changes, too.
        for place in 0..sides.len() {
            let which = (place + index) % sides.len();
            // Unmeasured: warms caches and allocations.
            sides[which].round(round / 5)?;
            samples[which].push(sides[which].round(round)?);
        }
    }
    let [native, wasm, again] = samples;
    Ok(summarize(case, &native, &wasm, &again))
}
