//! The checkout's own toolchain and its Wasm target.

use super::{TARGET, linker};
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools;
use anyhow::{Context, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Adding the target takes seconds where it works; a network that swallows packets must not hold us up for long.
const LIMIT: Duration = Duration::from_secs(120);

/// The toolchain that cargo uses in the checkout.
#[derive(Debug)]
pub struct Own {
    sysroot: PathBuf,
    rustup: Option<PathBuf>,
    path: OsString,
    limit: Duration,
}

impl Own {
    /// Asks rustc, which may be rustup's, where it lives. `path` is where programs are looked for.
    ///
    /// # Errors
    /// When rustc cannot be run.
    pub fn of_checkout(path: &OsStr) -> anyhow::Result<Self> {
        let sysroot =
            process::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
        Ok(Self {
            sysroot: sysroot.into(),
            rustup: tools::find_in("rustup", path),
            path: path.to_os_string(),
            limit: LIMIT,
        })
    }

    /// The toolchain's folder.
    pub fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// Makes sure that the target and its linkers are there; lets rustup add the target if it is missing.
    ///
    /// # Errors
    /// When the target is missing and cannot be added, or a linker is missing.
    pub fn ensure(&self) -> anyhow::Result<()> {
        if !self.has_target() {
            self.add_target()?;
        }
        linker::folders(&self.sysroot, &self.path).map(drop)
    }

    fn has_target(&self) -> bool {
        self.sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
    }

    fn add_target(&self) -> anyhow::Result<()> {
        let sysroot = self.sysroot.display();
        let Some(rustup) = &self.rustup else {
            bail!("the toolchain {sysroot} lacks the target {TARGET}, and there is no rustup to add it");
        };
        let progress = Progress::start(format!("adding Rust's {TARGET} target"));
        let mut command = Command::new(rustup);
        command.args(["target", "add", TARGET]).current_dir(paths::root());
        process::run_watched_for(&mut command, self.limit, |line| progress.detail(line))
            .with_context(|| format!("rustup cannot add the target {TARGET}"))?;
        ensure!(
            self.has_target(),
            "rustup added the target {TARGET}, but not to the toolchain in use, {sysroot}"
        );
        progress.done();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A toolchain without the target, and a rustup that runs `script` in its folder.
    fn toolchain(folder: &Path, script: &str) -> Own {
        let sysroot = folder.join("sysroot");
        let bin = sysroot.join("lib/rustlib/some-host/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for program in ["wasm-component-ld", "wasm-ld"] {
            std::fs::write(bin.join(program), "").unwrap();
        }
        let rustup = folder.join("rustup");
        // Written by a process of its own: a descriptor of ours that another test's child inherited for a moment
        // would make the script busy.
        let write = r#"printf '#!/bin/sh\ncd "%s"\n%s\n' "$1" "$2" > "$1/rustup" && chmod +x "$1/rustup""#;
        let written = Command::new("sh").args(["-c", write, "sh"]).arg(folder).arg(script).status().unwrap();
        assert!(written.success());
        let path = folder.as_os_str().to_os_string();
        assert_eq!(tools::find_in("rustup", &path), Some(rustup.clone()));
        Own { sysroot, rustup: Some(rustup), path, limit: Duration::from_secs(20) }
    }

    #[test]
    fn rustup_adds_the_target_and_is_left_alone_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"echo "$@" >> calls; mkdir -p "sysroot/lib/rustlib/$3/lib""#;
        let own = toolchain(folder.path(), script);
        own.ensure().unwrap();
        own.ensure().unwrap();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert_eq!(calls, format!("target add {TARGET}\n"));
    }

    #[test]
    fn a_failing_rustup_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let own = toolchain(folder.path(), "echo 'error: no route to host' >&2; exit 1");
        let text = format!("{:#}", own.ensure().unwrap_err());
        assert!(text.contains("no route to host") && text.contains(TARGET), "{text}");
    }

    #[test]
    fn a_failing_rustup_leads_to_debians_compiler() {
        let folder = tempfile::tempdir().unwrap();
        let own = toolchain(folder.path(), "exit 1");
        let wrapper = folder.path().join("wasm-cargo");
        let debian = || Ok(super::super::Debian::at(&wrapper));
        let chosen = super::super::select(super::super::Choice::Auto, || own.ensure(), debian).unwrap();
        assert!(matches!(chosen, super::super::Toolchain::Debian(_)));
    }

    #[test]
    fn a_hanging_rustup_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own { limit: Duration::from_millis(200), ..toolchain(folder.path(), "exec sleep 1000") };
        let text = format!("{:#}", own.ensure().unwrap_err());
        assert!(text.contains("time"), "{text}");
    }

    #[test]
    fn a_rustup_that_serves_another_toolchain_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = toolchain(folder.path(), "exit 0").ensure().unwrap_err().to_string();
        assert!(text.contains("not to the toolchain in use"), "{text}");
    }

    #[test]
    fn without_rustup_the_message_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own { rustup: None, ..toolchain(folder.path(), "") };
        assert!(own.ensure().unwrap_err().to_string().contains("no rustup"));
    }
}
