//! Debian's tgt, for the benchmark alone. Unpacked and not installed: the package starts a daemon that listens on every
//! address of the machine.

use crate::apt;
use crate::cleanup;
use crate::deb;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package.
const PACKAGE: &str = "tgt";
/// Its programs that the benchmark runs.
const PROGRAMS: [&str; 2] = ["tgtd", "tgtadm"];

/// Makes sure that tgt is there: where it is not installed, downloads and unpacks it, once. The result is the folder that
/// has to be in `PATH`, `None` where it is installed.
///
/// # Errors
/// When it cannot be downloaded or unpacked, or does not start.
pub fn ensure() -> anyhow::Result<Option<PathBuf>> {
    if PROGRAMS.iter().all(|program| tools::find(program).is_some()) {
        return Ok(None);
    }
    let folder = paths::tools().join(PACKAGE);
    if !folder.is_dir() {
        std::fs::create_dir_all(paths::tools())?;
        fetch(&folder)?;
    }
    Ok(Some(folder))
}

/// Downloads and unpacks into a folder beside, which gets its name last: what has the name is complete.
fn fetch(folder: &Path) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("tgt.").tempdir_in(paths::tools())?;
    let _cleanup = cleanup::Folder::register(work.path());
    let (debs, root) = (work.path().join("packages"), work.path().join("root"));
    apt::with_fresh_lists(|| {
        let installed = deb::installed()?;
        let mut names = deb::with_dependencies(PACKAGE)?;
        names.retain(|name| name == PACKAGE || (is_library(name) && !installed.contains(name)));
        deb::download("tgt and its libraries", &deb::known(&names)?, &debs)
    })?;
    let progress = Progress::start("unpacking tgt below target/, where it is not started as a service");
    deb::unpack(&debs, &root, &progress)?;
    for program in PROGRAMS {
        let text = deb::launcher(&root, &format!("usr/sbin/{program}"), false)?;
        deb::write_program(&root.join(program), &text)?;
    }
    process::output(Command::new(root.join("tgtd")).arg("-V"))
        .context("tgt is unpacked but does not start")?;
    std::fs::rename(&root, folder)?;
    progress.done();
    Ok(())
}

/// Whether a dependency is one that the programs load. Its scripts' interpreter and modules are not wanted, nor
/// libelogind0, which stands in for a library that every Debian has.
fn is_library(name: &str) -> bool {
    name.starts_with("lib")
        && !name.ends_with("-perl")
        && !name.starts_with("libperl")
        && name != "libelogind0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_programs_load_is_unpacked() {
        for wanted in ["libaio1", "libibverbs1", "libnl-3-200"] {
            assert!(is_library(wanted), "{wanted}");
        }
        for other in ["perl", "libconfig-general-perl", "libperl5.36", "sg3-utils", "libelogind0"] {
            assert!(!is_library(other), "{other}");
        }
    }
}
