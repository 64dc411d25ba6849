//! Debian packages that are downloaded and unpacked below the target directory, and installed nowhere: no root, no
//! service that starts, nothing to remove.

use crate::apt;
use crate::process;
use crate::progress::Progress;
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// One package at the version that apt would install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian counts.
    pub version: String,
    /// Bytes to download.
    pub size: u64,
}

/// The packages of these names as apt knows them, sorted by name.
///
/// # Errors
/// When apt does not know one of them.
pub fn known<N: AsRef<std::ffi::OsStr>>(names: impl IntoIterator<Item = N>) -> anyhow::Result<Vec<Package>> {
    let mut command = Command::new("apt-cache");
    let text = process::output(command.args(["show", "--no-all-versions"]).args(names))?;
    let mut packages = parse_packages(&text)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Names of `package` and of all that it depends on, by one alternative or another.
///
/// # Errors
/// When apt does not know it.
pub fn with_dependencies(package: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"]);
    command.args(["--no-breaks", "--no-replaces", "--no-enhances", package]);
    Ok(needed(&process::output(&mut command)?))
}

/// Names of the packages in what `apt-cache depends --recurse` prints: they begin their lines; `<name>` is no package
/// but a thing that several provide.
fn needed(text: &str) -> BTreeSet<String> {
    let begins = |line: &&str| !line.starts_with([' ', '<', '|']) && !line.is_empty();
    text.lines().filter(begins).map(|line| line.split(':').next().unwrap_or(line).to_owned()).collect()
}

/// Names of the packages that are installed here.
///
/// # Errors
/// When dpkg does not tell.
pub fn installed() -> anyhow::Result<BTreeSet<String>> {
    let mut command = Command::new("dpkg-query");
    let text = process::output(command.args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"]))?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

/// Name, version and size of each package that `apt-cache show` printed.
fn parse_packages(text: &str) -> anyhow::Result<Vec<Package>> {
    let stanzas = text.split("\n\n").filter(|stanza| !stanza.trim().is_empty());
    let parse = |stanza: &str| -> anyhow::Result<Package> {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("apt-cache showed a package without {name}"))
        };
        let size = field("Size")?;
        Ok(Package {
            name: field("Package")?.to_owned(),
            version: field("Version")?.to_owned(),
            size: size.parse().with_context(|| format!("`{size}` is no package size"))?,
        })
    };
    let packages: Vec<Package> = stanzas.map(parse).collect::<anyhow::Result<_>>()?;
    ensure!(!packages.is_empty(), "apt-cache showed no package");
    Ok(packages)
}

/// Downloads `packages` into `to`, which is emptied first. `what` they are stands in the messages.
///
/// # Errors
/// When one cannot be had.
pub fn download(what: &str, packages: &[Package], to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    let total: u64 = packages.iter().map(|package| package.size).sum();
    let progress = Progress::of_bytes(
        format!("downloading {what}, {} MB in {} packages, once", megabytes(total), packages.len()),
        total,
    );
    let mut command = apt::get(&["-o", "APT::Sandbox::User=root", "-o", "APT::Status-Fd=1", "download"]);
    command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
    process::run_watched(command.current_dir(to), |line| {
        if let Some(percent) = percent_done(line) {
            progress.at(total * percent / 100);
        }
    })
    .with_context(|| format!("cannot download {what}"))?;
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

/// Unpacks the packages that lie in `from` into `root`, and removes them.
///
/// # Errors
/// When one cannot be unpacked.
pub fn unpack(from: &Path, root: &Path, progress: &Progress) -> anyhow::Result<()> {
    std::fs::create_dir_all(root)?;
    for entry in std::fs::read_dir(from)? {
        let deb = entry?.path();
        process::run_quietly(Command::new("dpkg").arg("-x").arg(&deb).arg(root), progress)?;
        std::fs::remove_file(&deb)?;
    }
    Ok(())
}

/// A script for the top of `root` that starts `program`, whose path is relative to that, with the unpacked libraries.
///
/// # Errors
/// When `root` has no libraries and `needs_them`.
pub fn launcher(root: &Path, program: &str, needs_them: bool) -> anyhow::Result<String> {
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
    ensure!(!(needs_them && folders.is_empty()), "the packages with {program} have no libraries");
    let libraries =
        if folders.is_empty() { String::new() } else { format!("LD_LIBRARY_PATH={} ", folders.join(":")) };
    Ok(format!("#!/bin/sh\nhere=$(dirname \"$0\")\n{libraries}exec \"$here/{program}\" \"$@\"\n"))
}

/// Replaces the program `file` as a whole: somebody may be reading the old one just now.
///
/// # Errors
/// When it cannot be written.
pub fn write_program(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("a program has a folder")?;
    let new = tempfile::Builder::new().prefix("program.").tempfile_in(folder)?;
    std::fs::write(new.path(), text)?;
    std::fs::set_permissions(new.path(), std::fs::Permissions::from_mode(0o755))?;
    new.persist(file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
