//! Downloads and unpacks the packages of Debian's compiler.

use super::packages::{self, SOURCE};
use super::{RUSTC, UNFINISHED};
use crate::apt;
use crate::cleanup;
use crate::deb::{self, Package};
use crate::process;
use crate::progress::Progress;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Downloads and unpacks into a folder beside, which gets its name last: what has the name is complete. `folder` names
/// it; which packages there are may be another answer once the package lists have been fetched anew.
///
/// # Errors
/// When a package cannot be had or unpacked, or the compiler does not start.
pub fn fetch(
    cache: &Path,
    folder: impl Fn(&[Package]) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let work = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache)?;
    let _cleanup = cleanup::Folder::register(work.path());
    let (debs, root) = (work.path().join("packages"), work.path().join("root"));
    // A mirror drops what a newer version has replaced: lists that name the old one lead nowhere.
    let packages = apt::with_fresh_lists(|| {
        let packages = packages::wanted()?;
        deb::download("Debian's Rust compiler", &packages, &debs)?;
        Ok(packages)
    })?;
    let folder = folder(&packages)?;

    let progress = Progress::start("unpacking Debian's Rust compiler");
    deb::unpack(&debs, &root, &progress)?;
    let library = "usr/lib/rustlib/src/rust/library/Cargo.toml";
    ensure!(
        root.join(library).is_file(),
        "{SOURCE} lacks {library}, where cargo looks for the library's source"
    );
    deb::write_program(&root.join(RUSTC), &deb::launcher(&root, "usr/bin/rustc", true)?)?;
    process::output(Command::new(root.join(RUSTC)).arg("-vV"))
        .context("Debian's Rust compiler is unpacked but does not start")?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::rename(&root, &folder)?;
    progress.done();
    Ok(folder)
}
