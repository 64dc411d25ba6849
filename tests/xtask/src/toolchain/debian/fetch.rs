//! Downloads and unpacks the packages of Debian's compiler.

use super::packages::{Package, SOURCE};
use super::{RUSTC, UNFINISHED, write_program};
use crate::cleanup;
use crate::process;
use crate::progress::Progress;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Downloads and unpacks into a folder beside, which gets its name last: what has the name is complete.
///
/// # Errors
/// When a package cannot be had or unpacked, or the compiler does not start.
pub fn fetch(packages: &[Package], cache: &Path, folder: &Path) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache)?;
    let _cleanup = cleanup::Folder::register(work.path());
    let (debs, root) = (work.path().join("packages"), work.path().join("root"));
    std::fs::create_dir_all(&debs)?;
    std::fs::create_dir_all(&root)?;
    download(packages, &debs)?;

    let progress = Progress::start("unpacking Debian's Rust compiler");
    for entry in std::fs::read_dir(&debs)? {
        let deb = entry?.path();
        process::run_quietly(Command::new("dpkg").arg("-x").arg(&deb).arg(&root), &progress)?;
        std::fs::remove_file(&deb)?;
    }
    let library = "usr/lib/rustlib/src/rust/library/Cargo.toml";
    ensure!(
        root.join(library).is_file(),
        "{SOURCE} lacks {library}, where cargo looks for the library's source"
    );
    write_program(&root.join(RUSTC), &rustc_text(&root)?)?;
    process::output(Command::new(root.join(RUSTC)).arg("-vV"))
        .context("Debian's Rust compiler is unpacked but does not start")?;
    std::fs::rename(&root, folder)?;
    progress.done();
    Ok(())
}

fn download(packages: &[Package], to: &Path) -> anyhow::Result<()> {
    let total: u64 = packages.iter().map(|package| package.size).sum();
    let progress = Progress::of_bytes(
        format!(
            "downloading Debian's Rust compiler, {} MB in {} packages, once",
            megabytes(total),
            packages.len()
        ),
        total,
    );
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "APT::Status-Fd=1", "download"]);
    command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
    process::run_watched(command.current_dir(to), |line| {
        if let Some(percent) = percent_done(line) {
            progress.at(total * percent / 100);
        }
    })
    .context("cannot download Debian's Rust compiler")?;
    progress.done();
    Ok(())
}

/// apt's status lines are `dlstatus:NUMBER:PERCENT:WORDS` (apt, README.progress-reporting).
fn percent_done(line: &str) -> Option<u64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    percent.split('.').next()?.parse().ok().filter(|&percent| percent <= 100)
}

/// In whole megabytes, rounded up: nobody is told less than what comes.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// Starts the unpacked compiler with the unpacked libraries.
fn rustc_text(root: &Path) -> anyhow::Result<String> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"] {
        let Ok(entries) = std::fs::read_dir(root.join(parent)) else { continue };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains("-linux-gnu") {
                folders.push(format!("$here/{parent}/{name}"));
            }
        }
    }
    ensure!(!folders.is_empty(), "the packages of Debian's Rust compiler have no libraries");
    Ok(format!(
        "#!/bin/sh\nhere=$(dirname \"$0\")\nLD_LIBRARY_PATH={} exec \"$here/usr/bin/rustc\" \"$@\"\n",
        folders.join(":")
    ))
}

#[cfg(test)]
mod tests;
