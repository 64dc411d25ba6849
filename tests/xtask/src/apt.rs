//! This machine's Debian: which release it is and where its packages come from. Roots that we make come from there, too.

use crate::process;
use anyhow::{Context, bail};
use std::process::Command;

/// Code name of this machine's Debian release, so that programs built here run in a root of the same.
///
/// # Errors
/// When the machine does not tell.
pub fn release() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context(
            "/etc/os-release has no VERSION_CODENAME: the root is made from packages of a Debian release",
        )
}

/// This machine's package sources in one-line form.
///
/// # Errors
/// When apt has no package lists of Debian.
pub fn package_sources() -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    let text = process::output(command.args(["Created-By: Packages", "Origin: Debian"]))?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.dedup();
    if lines.is_empty() {
        bail!("apt has no package lists of Debian; `apt-get update` as root fetches them");
    }
    Ok(lines)
}
