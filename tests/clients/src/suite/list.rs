//! Which tests there are.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{process, programs};

/// Families to run. `ALL` is both of them again, and `LINUX` the part of `SCSI` that can be run on a local disk.
const FAMILIES: [&str; 2] = ["SCSI", "iSCSI"];

/// The release of libiscsi that the committed lists were made with. Others add tests and rename some.
pub const REVIEWED: &str = "1.19";

/// Whether the installed suite is of the release [`REVIEWED`], as dpkg tells. Without dpkg it counts as another.
pub fn is_reviewed() -> bool {
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat", "${Version}", programs::ISCSI_TEST_CU.package]);
    process::run(command, Duration::from_secs(20))
        .and_then(|finished| finished.success("dpkg-query"))
        .is_ok_and(|version| is_of(&version, REVIEWED))
}

/// Whether a package's version (`[EPOCH:]UPSTREAM[-REVISION]`, deb-version(7)) is of a release or one of its corrections.
fn is_of(version: &str, release: &str) -> bool {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream
        .strip_prefix(release)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+', '~']))
}

/// The tests that the installed `iscsi-test-cu` has, as `FAMILY.SUITE.TEST`, in its order.
///
/// # Errors
/// When it is not installed, fails, or lists nothing that is known.
pub fn installed() -> Result<Vec<String>> {
    let mut command = programs::ISCSI_TEST_CU.command()?;
    command.arg("-l");
    let listed = process::run(command, Duration::from_secs(20))?.success("iscsi-test-cu -l")?;
    let tests = parse(&listed);
    if tests.is_empty() {
        bail!("iscsi-test-cu -l: no tests of the families {FAMILIES:?} in\n{listed}");
    }
    Ok(tests)
}

/// The tests in what `iscsi-test-cu -l` prints: the lines of three parts.
pub fn parse(listed: &str) -> Vec<String> {
    let mut tests = Vec::new();
    for line in listed.lines().map(str::trim) {
        let family = line.split('.').next().unwrap_or_default();
        if line.split('.').count() == 3
            && FAMILIES.contains(&family)
            && !tests.iter().any(|test| test == line)
        {
            tests.push(line.to_owned());
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    #[test]
    fn takes_each_test_once_and_leaves_families_and_suites() {
        let listed = "ALL\nALL.ModeSense6\nALL.ModeSense6.Control\n\
                      SCSI\nSCSI.ModeSense6\nSCSI.ModeSense6.Control-D_SENSE\nSCSI.PreventAllow.2ITNexuses\n\
                      iSCSI\niSCSI.iSCSIcmdsn\niSCSI.iSCSIcmdsn.iSCSICmdSnTooHigh\n\
                      SCSI.PreventAllow.2ITNexuses\nLINUX.Read10.Simple\n";
        assert_eq!(
            super::parse(listed),
            [
                "SCSI.ModeSense6.Control-D_SENSE",
                "SCSI.PreventAllow.2ITNexuses",
                "iSCSI.iSCSIcmdsn.iSCSICmdSnTooHigh"
            ]
        );
    }

    #[test]
    fn a_release_is_known_by_the_packages_version() {
        for of in ["1.19", "1.19.0-3", "1:1.19-1+b1"] {
            assert!(super::is_of(of, "1.19"), "{of}");
        }
        for other in ["1.20.0-1", "1.190-1", "2:1.1-1.19", ""] {
            assert!(!super::is_of(other, "1.19"), "{other}");
        }
    }

    #[test]
    fn the_installed_suite_has_both_families() {
        let tests = super::installed().unwrap();
        assert!(tests.iter().any(|test| test == "SCSI.Read10.Simple"), "{tests:?}");
        assert!(tests.iter().any(|test| test.starts_with("iSCSI.")), "{tests:?}");
    }
}
