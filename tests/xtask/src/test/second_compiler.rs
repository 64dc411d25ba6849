//! The way that handlers are built where the toolchain's own target cannot be had: tried on every machine that can,
//! because those that need it are not the ones that run the tests.

use super::steps::Verdict;
use crate::compile;
use crate::paths;
use crate::process;
use crate::toolchain::{self, ByDebian};
use anyhow::{Context, ensure};
use std::process::Command;

/// Builds the `file` handler with Debian's compiler and lets the daemon load it. Minutes at first, seconds afterwards.
///
/// # Errors
/// When it cannot be built or is not what the daemon wants.
pub fn check() -> anyhow::Result<Verdict> {
    let built = match toolchain::component_by_debian("lunbox-handler-file", "lunbox_handler_file.wasm")? {
        ByDebian::Built(built) => built,
        ByDebian::Unavailable(reason) => return Ok(Verdict::Skipped(reason)),
    };
    compile::ensure_component(&built)?;
    let folder = tempfile::tempdir()?;
    std::fs::copy(&built, folder.path().join("handler_file.wasm"))
        .with_context(|| format!("cannot copy {}", built.display()))?;
    let mut list = Command::new(paths::daemon());
    let text = process::output(list.arg("--list-handlers").arg("--handler-path").arg(folder.path()))?;
    println!("{text}");
    ensure!(lists_file(&text), "lunboxd did not load the handler `file`; it printed:\n{text}");
    Ok(Verdict::Passed)
}

/// Whether the daemon's list has the subtype `file`: it begins a line.
fn lists_file(text: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().next() == Some("file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subtype_itself_counts() {
        assert!(lists_file("file  0.1.0  path of a file"));
        assert!(!lists_file("no handler_file.wasm in /somewhere/file"));
        assert!(!lists_file(""));
    }
}
