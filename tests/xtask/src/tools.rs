//! Programs from outside the checkout: which are there, which command brings the others.

use crate::apt;
use crate::process;
use crate::progress::Progress;
use anyhow::bail;
use std::ffi::OsStr;
use std::path::PathBuf;

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Name of the program, or of one of qemu's modules (`block-….so`).
    pub program: &'static str,
    /// Package that contains it.
    pub package: &'static str,
}

/// What building the guest's root image needs.
pub const IMAGE: &[Tool] = &[
    Tool { program: "apt-get", package: "apt" },
    Tool { program: "dpkg", package: "dpkg" },
    Tool { program: "perl", package: "perl" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "chroot", package: "coreutils" },
];

/// What running User-Mode Linux needs.
pub const UML: &[Tool] = &[Tool { program: "taskset", package: "util-linux" }];

/// What running the SMP guest needs.
pub const QEMU: &[Tool] = &[
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Tool { program: "taskset", package: "util-linux" },
];

/// iSCSI clients: libiscsi's, and qemu's with its module for `iscsi://`.
pub const CLIENTS: &[Tool] = &[
    Tool { program: "iscsi-ls", package: "libiscsi-bin" },
    Tool { program: "iscsi-perf", package: "libiscsi-bin" },
    Tool { program: "qemu-img", package: "qemu-utils" },
    Tool { program: "qemu-io", package: "qemu-utils" },
    Tool { program: "block-iscsi.so", package: "qemu-block-extra" },
    Tool { program: "setpriv", package: "util-linux" },
];

/// What building the package needs, and what checks the files in it.
pub const PACKAGING: &[Tool] = &[
    Tool { program: "strip", package: "binutils" },
    Tool { program: "dpkg-deb", package: "dpkg" },
    Tool { program: "dpkg-shlibdeps", package: "dpkg-dev" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "systemd-analyze", package: "systemd" },
    Tool { program: "dbus-daemon", package: "dbus-daemon" },
];

/// What building the fuzz targets needs besides Rust: libFuzzer is C++.
pub const FUZZ: &[Tool] = &[Tool { program: "c++", package: "g++" }];

/// Whether missing tools may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Say which command installs them and stop.
    Report,
    /// Install them when we are root, else report.
    Install,
}

/// Where `program` lies: `PATH`, then the administrator's folders, which an ordinary user's `PATH` may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    find_in(program, &std::env::var_os("PATH").unwrap_or_default())
}

/// [`find`] with another `PATH`.
pub fn find_in(program: &str, path: &OsStr) -> Option<PathBuf> {
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(path).chain(extra).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Makes sure that `tools` are there.
///
/// # Errors
/// When some are missing and may not or cannot be installed; the message has the command that installs them.
pub fn require(tools: &[Tool], missing: Missing) -> anyhow::Result<()> {
    let absent: Vec<&Tool> = tools.iter().filter(|tool| !present(tool)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = absent.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let names: Vec<&str> = absent.iter().map(|tool| tool.program).collect();
    let remedy = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if missing == Missing::Report || !is_root() || find("apt-get").is_none() {
        bail!("missing: {}. As root: {remedy}", names.join(", "));
    }
    apt::with_fresh_lists(|| {
        let progress = Progress::start(format!("installing {} ({remedy})", packages.join(", ")));
        let mut command = apt::get(&["install", "-y", "--no-install-recommends"]);
        process::run_quietly(command.args(&packages), &progress)?;
        progress.done();
        Ok(())
    })
}

/// qemu's modules lie in a folder of their own below each architecture's libraries.
fn present(tool: &Tool) -> bool {
    if !tool.program.ends_with(".so") {
        return find(tool.program).is_some();
    }
    let Ok(architectures) = std::fs::read_dir("/usr/lib") else { return false };
    architectures.flatten().any(|entry| entry.path().join("qemu").join(tool.program).is_file())
}

/// Whether we run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tool_is_named_with_its_remedy() {
        let tools = [Tool { program: "no-such-program-at-all", package: "some-package" }];
        let error = require(&tools, Missing::Report).unwrap_err().to_string();
        assert!(error.contains("no-such-program-at-all") && error.contains("some-package"), "{error}");
        assert!(require(&[Tool { program: "sh", package: "dash" }], Missing::Report).is_ok());
        let module = [Tool { program: "block-no-such-protocol.so", package: "qemu-block-extra" }];
        let error = require(&module, Missing::Report).unwrap_err().to_string();
        assert!(error.contains("qemu-block-extra"), "{error}");
    }
}
