//! The checkout as somebody else gets it.

use crate::paths;
use crate::process;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Clones the checkout to `to`; with changes that are not committed, copies all that git does not ignore instead.
/// Returns what it did.
///
/// # Errors
/// When the checkout is not git's or cannot be copied.
pub fn copy_into(to: &Path) -> anyhow::Result<String> {
    copy(&paths::root(), to)
}

fn git(checkout: &Path) -> Command {
    let mut command = Command::new("git");
    // The checkout may belong to the user who called us through sudo.
    command.args(["--no-optional-locks", "-c", "safe.directory=*", "-C"]).arg(checkout);
    command
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<String> {
    let changes = process::output(git(from).args(["status", "--porcelain"]))?;
    if changes.is_empty() {
        process::output(git(from).args(["clone", "--quiet", "--no-hardlinks", "."]).arg(to))?;
        let commit = process::output(git(to).args(["rev-parse", "--short", "HEAD"]))?;
        return Ok(format!("cloned: {commit}"));
    }
    let list = git(from)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git")?;
    ensure!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    let names = String::from_utf8(list.stdout).context("a file's name is not UTF-8")?;
    let mut files = 0_u32;
    for name in names.split_terminator('\0') {
        let (source, target) = (from.join(name), to.join(name));
        if !source.is_file() {
            // Removed, and the removal is not committed.
            continue;
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        files += 1;
    }
    Ok(format!("copied: {files} files, because not all changes are committed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(folder: &Path) {
        let script = "git init -q && git add . && \
                      git -c user.name=x -c user.email=x@example.org commit -q -m x";
        let mut shell = Command::new("sh");
        // Whatever the user's git does besides committing is not ours to set off.
        shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let status = shell.args(["-c", script]).current_dir(folder).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_clean_checkout_is_cloned_and_a_changed_one_copied_without_what_is_ignored() {
        let from = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(from.path().join(name), name).unwrap();
        write("a");
        write("gone");
        std::fs::write(from.path().join(".gitignore"), "built\n").unwrap();
        committed(from.path());
        write("built");
        let to = tempfile::tempdir().unwrap();
        let (cloned, copied) = (to.path().join("cloned"), to.path().join("copied"));
        assert!(copy(from.path(), &cloned).unwrap().starts_with("cloned"));
        assert!(cloned.join("a").is_file() && !cloned.join("built").exists());

        write("new");
        std::fs::remove_file(from.path().join("gone")).unwrap();
        assert!(copy(from.path(), &copied).unwrap().starts_with("copied: 3 files"));
        assert!(
            copied.join("new").is_file() && !copied.join("gone").exists() && !copied.join("built").exists()
        );
    }
}
