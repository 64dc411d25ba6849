//! Which tests there are.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{process, programs};

/// Families to run. `ALL` is both of them again, and `LINUX` the part of `SCSI` that can be run on a local disk.
const FAMILIES: [&str; 2] = ["SCSI", "iSCSI"];

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
    fn the_installed_suite_has_both_families() {
        let tests = super::installed().unwrap();
        assert!(tests.iter().any(|test| test == "SCSI.Read10.Simple"), "{tests:?}");
        assert!(tests.iter().any(|test| test.starts_with("iSCSI.")), "{tests:?}");
    }
}
