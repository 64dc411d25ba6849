//! Handlers that import WASI 0.2.
//!
//! They run by other rules than the rest, which import nothing but the contract: a WASI call may *wait*, for a time
//! or for a file, and the epoch does not end a call that waits. So each call is a future on a runtime of the
//! instance's own, with a limit on wall time ([`crate::Limits::wall_per_call`]) beside that on CPU time. Measured: 850
//! against 240 ns of CPU for a planned read, 60 against 30 µs for a new instance. Other handlers do not pay for it:
//! nothing here is on their way.

mod context;
mod exports;
mod grants;
mod instance;
mod output;

use std::time::Duration;

pub(crate) use context::{WasiContext, linker};
pub use grants::{GrantedDirectory, WasiGrants};
pub(crate) use instance::WasiInstance;

use crate::Fault;

/// Packages of WASI 0.2 that the host provides (the WASI proposals of the `wasi:cli/imports` world).
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Whether a component's import of this name (`wasi:io/poll@0.2.6`) belongs to WASI 0.2 and is provided. Not each
/// function does something: `sockets` answers that access is denied.
#[must_use]
pub fn provides(import: &str) -> bool {
    let Some((package, rest)) = import.strip_prefix("wasi:").and_then(|name| name.split_once('/')) else {
        return false;
    };
    let version = rest.split_once('@').map_or("", |(_, version)| version);
    PACKAGES.contains(&package) && version.starts_with("0.2.")
}

/// What a call that took too long ends in.
pub(crate) const fn overdue(budget: Duration) -> Fault {
    Fault::WallTime { budget }
}
