//! The way through a kernel: a guest, its SCSI target, `lunboxd`.

use super::show::heading;
use crate::guest::{self, Contents, Machine, Request};
use crate::tools::Missing;
use anyhow::ensure;
use std::time::Duration;

/// A demonstration that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// Boots a guest and runs tests/guest/demo.sh in it.
///
/// # Errors
/// When the guest cannot be started or a step fails in it.
pub fn run(smp: bool) -> anyhow::Result<()> {
    let machine = if smp { Machine::Smp } else { Machine::Uml };
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
    Ok(())
}
