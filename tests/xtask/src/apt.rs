//! This machine's Debian: which release it is, where its packages come from, and how they are got. Roots that we make
//! come from there, too.

use crate::process;
use crate::progress::Progress;
use crate::tools;
use anyhow::{Context, bail};
use std::process::Command;

/// An `apt-get` that asks nothing, and waits while another one is at work: a machine that has just booted may be installing
/// updates.
pub fn get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs `attempt`. When it fails and we are root, fetches the package lists, which may be missing or older than what the
/// mirrors have, and runs it once more.
///
/// # Errors
/// What `attempt` failed with, at last.
pub fn with_fresh_lists<T>(attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_lists_from(attempt, tools::is_root().then_some(update))
}

fn with_lists_from<T>(
    mut attempt: impl FnMut() -> anyhow::Result<T>,
    update: Option<impl FnOnce() -> anyhow::Result<()>>,
) -> anyhow::Result<T> {
    let reason = match attempt() {
        Ok(done) => return Ok(done),
        Err(reason) => reason,
    };
    let Some(update) = update else {
        return Err(
            reason.context("if apt's package lists are missing or old, `sudo apt-get update` fetches them")
        );
    };
    match update() {
        Ok(()) => attempt(),
        Err(error) => Err(reason.context(format!("apt's package lists cannot be fetched anew ({error:#})"))),
    }
}

fn update() -> anyhow::Result<()> {
    let progress = Progress::start("fetching apt's package lists");
    process::run_quietly(&mut get(&["update"]), &progress)?;
    progress.done();
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn lists_that_are_too_old_are_fetched_once() {
        let (fresh, attempts, updates) = (Cell::new(false), Cell::new(0), Cell::new(0));
        let attempt = || {
            attempts.set(attempts.get() + 1);
            anyhow::ensure!(fresh.get(), "too old");
            Ok("there")
        };
        let update = || {
            updates.set(updates.get() + 1);
            fresh.set(true);
            Ok(())
        };
        assert_eq!(with_lists_from(attempt, Some(update)).unwrap(), "there");
        assert_eq!((attempts.get(), updates.get()), (2, 1));
        // With lists that do, nothing is fetched.
        let unused = || -> anyhow::Result<()> { unreachable!("the lists are fine") };
        assert_eq!(with_lists_from(attempt, Some(unused)).unwrap(), "there");
    }

    #[test]
    fn who_cannot_fetch_lists_hears_the_reason_and_the_remedy() {
        let attempt = || -> anyhow::Result<()> { bail!("no such package") };
        let none: Option<fn() -> anyhow::Result<()>> = None;
        let text = format!("{:#}", with_lists_from(attempt, none).unwrap_err());
        assert!(text.contains("no such package") && text.contains("sudo apt-get update"), "{text}");
        let text = format!("{:#}", with_lists_from(attempt, Some(|| bail!("no network"))).unwrap_err());
        assert!(text.contains("no such package") && text.contains("no network"), "{text}");
    }

    #[test]
    fn apt_waits_for_another_one() {
        let command = get(&["install", "x"]);
        let words: Vec<_> = command.get_args().collect();
        assert!(
            words.contains(&"DPkg::Lock::Timeout=120".as_ref())
                && words.ends_with(&["install".as_ref(), "x".as_ref()])
        );
    }
}
