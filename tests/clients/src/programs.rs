//! The clients and servers of others: which programs, and which Debian packages bring them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// A program that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// libiscsi's lister of targets and LUNs.
pub const ISCSI_LS: Program = libiscsi("iscsi-ls");
/// libiscsi's INQUIRY.
pub const ISCSI_INQ: Program = libiscsi("iscsi-inq");
/// libiscsi's READ CAPACITY (16).
pub const ISCSI_READCAPACITY16: Program = libiscsi("iscsi-readcapacity16");
/// libiscsi's read load.
pub const ISCSI_PERF: Program = libiscsi("iscsi-perf");
/// libiscsi's conformance suite.
pub const ISCSI_TEST_CU: Program = libiscsi("iscsi-test-cu");
/// qemu's image tool.
pub const QEMU_IMG: Program = Program { name: "qemu-img", package: "qemu-utils" };
/// qemu's single reads and writes.
pub const QEMU_IO: Program = Program { name: "qemu-io", package: "qemu-utils" };
/// The target framework's daemon, the benchmark's other side.
pub const TGTD: Program = Program { name: "tgtd", package: "tgt" };
/// What configures [`TGTD`].
pub const TGTADM: Program = Program { name: "tgtadm", package: "tgt" };
/// Starts a program that ends with its parent.
pub const SETPRIV: Program = Program { name: "setpriv", package: "util-linux" };

/// Where Debian's qemu-block-extra puts the driver that qemu's tools load for `iscsi://`, below the library folder.
const QEMU_ISCSI_DRIVER: &str = "qemu/block-iscsi.so";

const fn libiscsi(name: &'static str) -> Program {
    Program { name, package: "libiscsi-bin" }
}

impl Program {
    /// A command of it, not yet started, without settings for iSCSI from our environment.
    ///
    /// # Errors
    /// When it is not installed; the message names the package.
    pub fn command(self) -> Result<Command> {
        let mut command = Command::new(self.find()?);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"LIBISCSI_") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }

    /// Where it lies: `PATH`, then the administrator's folders.
    ///
    /// # Errors
    /// When it is not installed; the message names the package.
    pub fn find(self) -> Result<PathBuf> {
        self.find_in(&std::env::var_os("PATH").unwrap_or_default())
    }

    fn find_in(self, path: &OsStr) -> Result<PathBuf> {
        let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        let mut places = std::env::split_paths(path).chain(extra).map(|folder| folder.join(self.name));
        match places.find(|file| file.is_file()) {
            Some(file) => Ok(file),
            None => bail!("{}: not found; install it: apt-get install {}", self.name, self.package),
        }
    }
}

/// Makes sure that qemu's tools can speak iSCSI.
///
/// # Errors
/// When the driver is not installed; the message names the package.
pub fn require_qemu_iscsi() -> Result<()> {
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    if let Ok(entries) = std::fs::read_dir("/usr/lib") {
        folders.extend(entries.flatten().map(|entry| entry.path()));
    }
    if folders.iter().any(|folder| Path::new(folder).join(QEMU_ISCSI_DRIVER).is_file()) {
        return Ok(());
    }
    bail!("{QEMU_ISCSI_DRIVER}: not found below /usr/lib; install it: apt-get install qemu-block-extra")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error =
            Program { name: "no-such-client", package: "client-utils" }.find_in(OsStr::new("")).unwrap_err();
        assert_eq!(error.to_string(), "no-such-client: not found; install it: apt-get install client-utils");
    }

    #[test]
    fn a_program_is_found_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("iscsi-ls");
        std::fs::write(&file, "").unwrap();
        assert_eq!(ISCSI_LS.find_in(folder.path().as_os_str()).unwrap(), file);
    }
}
