//! `cargo xtask deb`: the Debian package, made by cargo-deb of what `cargo xtask install` installs.
//!
//! cargo-deb gets a manifest that is written for it: so there is one list of what is installed, and programs and
//! handlers may lie wherever the target directory is.

use crate::compile;
use crate::install::{self, files};
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools::{self, Missing};
use anyhow::{Context, ensure};
use files::{Content, Entry};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The release of cargo-deb that is built here: a newer one may want a newer Rust than the checkout does.
const VERSION: &str = "3.8.0";

/// The tcmu-runner that we take the place of, for packages that ask for one.
const COMPATIBLE: &str = "1.6.2";

/// What the package is called. Debian's name for what it has instead is in its conflicts.
const PACKAGE: &str = "lunbox";

const DESCRIPTION: &str = "\
    lunboxd serves the devices of the kernel's TCM-User backstore (LIO), each by a handler that runs in a WebAssembly \
    sandbox. It takes the place of tcmu-runner: targetcli, ceph-iscsi and gluster-block find it under that name, on the \
    same bus name, with the same configuration file. lunbox is the operators' and handler authors' command.";

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The package has what `cargo xtask install` installs. It conflicts with tcmu-runner, whose place it takes. cargo-deb is
built into target/tools once, if there is none.

Examples:
  cargo xtask deb
  cargo xtask deb --no-build && dpkg --contents target/package/lunbox.deb")]
pub struct Options {
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
}

/// Builds the package and says where it is.
///
/// # Errors
/// When something can not be built.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if !options.no_build {
        compile::all()?;
    }
    let package = build(Packing::Tight)?;
    let size = std::fs::metadata(&package)?.len();
    println!("{} ({:.1} MB)", package.display(), f64::from(u32::try_from(size)?) / 1e6);
    println!("next: sudo apt-get install {}", package.display());
    Ok(())
}

/// Where the package lies when it is built.
pub fn file() -> PathBuf {
    folder().join(format!("{PACKAGE}.deb"))
}

fn folder() -> PathBuf {
    paths::target().join("package")
}

/// How hard the package is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As small as it gets; takes half a minute.
    Tight,
    /// In seconds: for a test.
    Fast,
}

/// Builds the package of what is built already.
///
/// # Errors
/// When something is missing or cargo-deb fails.
pub fn build(packing: Packing) -> anyhow::Result<PathBuf> {
    tools::require(tools::PACKAGING, Missing::Report)?;
    let cargo_deb = cargo_deb()?;
    let folder = folder();
    let root = folder.join("root");
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let entries = files::all(files::USUAL_PREFIX)?;
    install::install(&entries, &root, false)?;
    std::fs::write(folder.join("Cargo.toml"), manifest(&entries)?)?;
    std::fs::write(folder.join("lib.rs"), "//! Nothing: the package's files are made elsewhere.\n")?;
    let progress = Progress::start("packing the Debian package");
    let mut command =
        compile::cargo_program(cargo_deb.as_os_str(), &["--no-build", "--no-strip", "--offline"]);
    command.arg("--compress-system").arg("--manifest-path").arg(folder.join("Cargo.toml"));
    command.arg("--output").arg(file());
    if packing == Packing::Fast {
        command.arg("--fast");
    }
    process::run_quietly(&mut command, &progress)?;
    progress.done();
    Ok(file())
}

/// cargo-deb as found in `PATH`, else the checkout's own, which is built if it is not there.
fn cargo_deb() -> anyhow::Result<PathBuf> {
    let own = paths::tools().join("bin/cargo-deb");
    if let Some(program) = tools::find("cargo-deb").or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(program);
    }
    println!("   building cargo-deb, once: cargo install cargo-deb --locked --version {VERSION}");
    // Unoptimised, and without what compresses: xz does that.
    let mut command = compile::cargo(&["install", "cargo-deb", "--locked", "--version", VERSION, "--debug"]);
    command.args(["--no-default-features", "--root"]).arg(paths::tools());
    let scratch = paths::target().join("tools-build");
    process::run(command.env("CARGO_TARGET_DIR", &scratch))?;
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(own)
}

/// What cargo-deb is told: a package of its own, outside the workspace.
fn manifest(entries: &[Entry]) -> anyhow::Result<String> {
    let scripts = install::sources().join("deb");
    let licence = paths::root().join("LICENSE-MIT");
    let mut text = String::new();
    writeln!(text, "[workspace]\n\n[package]")?;
    for (key, value) in [
        ("name", PACKAGE),
        ("version", env!("CARGO_PKG_VERSION")),
        ("edition", "2024"),
        ("license", "MIT OR Apache-2.0"),
        ("description", "serves TCM-User SCSI devices with sandboxed handlers"),
    ] {
        writeln!(text, "{key} = {}", quoted(value)?)?;
    }
    writeln!(text, "\n[lib]\npath = \"lib.rs\"\n\n[package.metadata.deb]")?;
    let provides = format!("tcmu-runner (= {COMPATIBLE})");
    for (key, value) in [
        ("maintainer", "The Lunbox authors <lunbox@localhost>"),
        ("copyright", "The Lunbox authors"),
        ("section", "admin"),
        ("priority", "optional"),
        // modprobe; and pkill, by which logrotate's script finds a daemon that systemd did not start.
        ("depends", "$auto, libgcc-s1, kmod, procps"),
        ("recommends", "dbus-system-bus | default-dbus-system-bus, targetcli-fb, logrotate"),
        ("conflicts", "tcmu-runner"),
        ("replaces", "tcmu-runner"),
        ("provides", &provides),
        ("extended-description", DESCRIPTION),
        ("maintainer-scripts", path(&scripts)?),
    ] {
        writeln!(text, "{key} = {}", quoted(value)?)?;
    }
    writeln!(text, "license-file = [{}, \"0\"]\nassets = [", quoted(path(&licence)?)?)?;
    for entry in entries {
        let to = quoted(path(&entry.to)?)?;
        match &entry.content {
            Content::Link(target) => {
                writeln!(text, "  {{ dest = {to}, link_name = {} }},", quoted(path(target)?)?)?;
            }
            _ => {
                let from = Path::new("root").join(&entry.to);
                let from = quoted(path(&from)?)?;
                writeln!(text, "  {{ source = {from}, dest = {to}, mode = \"{:o}\" }},", entry.mode)?;
            }
        }
        let etc = entry.to.starts_with("etc");
        ensure!(etc == entry.configuration, "{}: what is in /etc is configuration", entry.to.display());
    }
    writeln!(text, "]")?;
    Ok(text)
}

/// As TOML writes a string; JSON's way is one of them.
fn quoted(text: &str) -> anyhow::Result<String> {
    Ok(serde_json::to_string(text)?)
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_every_file_once_and_takes_tcmu_runners_place() {
        let entries = files::fixed(files::USUAL_PREFIX).unwrap();
        let text = manifest(&entries).unwrap();
        for entry in &entries {
            let dest = format!("dest = \"{}\"", entry.to.display());
            assert_eq!(text.matches(&dest).count(), 1, "{dest} in {text}");
        }
        assert!(text.contains("conflicts = \"tcmu-runner\"") && text.contains("replaces = \"tcmu-runner\""));
        assert!(text.contains("provides = \"tcmu-runner (= 1.6.2)\""), "{text}");
        assert!(text.contains(r#"dest = "usr/bin/tcmu-runner", link_name = "lunboxd""#), "{text}");
        assert!(text.starts_with("[workspace]"), "not a member of the checkout's workspace");
    }

    #[test]
    fn what_is_in_etc_must_be_configuration() {
        let mut entries = files::fixed(files::USUAL_PREFIX).unwrap();
        for entry in &mut entries {
            entry.configuration = false;
        }
        assert!(manifest(&entries).unwrap_err().to_string().contains("etc/"));
    }
}
