//! The Rust that somebody has who has just installed it: rustup, one toolchain, no target besides the machine's own.

use crate::paths;
use crate::process;
use crate::toolchain;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Programs that are rustup under another name.
const PROXIES: [&str; 7] =
    ["cargo", "cargo-clippy", "cargo-fmt", "clippy-driver", "rustc", "rustdoc", "rustfmt"];

/// What comes on top of rustup's minimal profile and is used by `cargo xtask test`, which has to add it where it is
/// missing.
const EXTRAS: [&str; 2] = ["clippy", "rustfmt"];

/// Copies rustup and the toolchain in use into `root`, with cargo's configuration: what this machine needs to reach a
/// registry, the root needs, too. Not copied: downloaded crates, cargo's file of credentials, and of the toolchain what
/// rustup's minimal profile leaves out.
///
/// # Errors
/// When the toolchain is not rustup's or something cannot be copied.
pub fn install(root: &Path) -> anyhow::Result<()> {
    let (cargo, rustup) = (super::home("CARGO_HOME", ".cargo")?, super::home("RUSTUP_HOME", ".rustup")?);
    let sysroot =
        process::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
    let name = Path::new(&sysroot).file_name().context("the toolchain's folder has no name")?;
    ensure!(
        is_below(Path::new(&sysroot), &rustup) && cargo.join("bin/rustup").is_file(),
        "the toolchain {sysroot} is not rustup's, which is what the README asks for"
    );

    let (to_cargo, to_rustup) = (root.join("root/.cargo"), root.join("root/.rustup"));
    let toolchain = to_rustup.join("toolchains").join(name);
    let bin = to_cargo.join("bin");
    for folder in [&bin, &toolchain] {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(cargo.join("bin/rustup"), bin.join("rustup")).context("cannot copy rustup")?;
    for proxy in PROXIES {
        std::os::unix::fs::symlink("rustup", bin.join(proxy))?;
    }
    for config in ["config.toml", "config"] {
        if cargo.join(config).is_file() {
            std::fs::copy(cargo.join(config), to_cargo.join(config))
                .context("cannot copy cargo's configuration")?;
        }
    }
    // The documentation is half of it, and nobody reads it there.
    let copy = r#"cd "$1" && tar -cf - --exclude=./share/doc/rust/html . | tar -xf - -C "$2""#;
    process::output(Command::new("sh").args(["-c", copy, "sh"]).arg(&sysroot).arg(&toolchain))?;

    let copied = |words: &[&str]| {
        let mut rustup = Command::new(bin.join("rustup"));
        rustup.env("CARGO_HOME", &to_cargo).env("RUSTUP_HOME", &to_rustup).env_remove("RUSTUP_TOOLCHAIN");
        process::output(rustup.args(words).current_dir(&to_rustup))
    };
    copied(&["default", &name.to_string_lossy()])?;
    // rustup warns and succeeds where the target is not there.
    copied(&["target", "remove", toolchain::TARGET])?;
    for component in copied(&["component", "list", "--installed"])?.lines() {
        if EXTRAS.iter().any(|extra| component.starts_with(extra)) {
            copied(&["component", "remove", component])?;
        }
    }
    let target = toolchain.join("lib/rustlib").join(toolchain::TARGET);
    ensure!(!target.exists(), "the root's toolchain still has the Wasm target: {}", target.display());
    Ok(())
}

/// Whether `path` lies below `folder`, by whichever symbolic links.
fn is_below(path: &Path, folder: &Path) -> bool {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_behind_a_symbolic_link_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir_all(real.join("toolchains/stable")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(is_below(&real.join("toolchains/stable"), &link));
        assert!(is_below(&link.join("toolchains/stable"), &real));
        assert!(!is_below(&link.join("toolchains/stable"), &real.join("toolchains/stable/x")));
        assert!(!is_below(folder.path(), &real));
    }
}
