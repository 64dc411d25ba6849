//! qemu's iSCSI driver, through qemu-img and qemu-io.

use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Finished};
use crate::programs;

/// Runs qemu-io's commands on what `image` names (a file or an `iscsi://` URL), one after the other; the first that
/// fails ends it.
///
/// # Errors
/// When qemu-io or its iSCSI driver is not installed, or cannot be started.
pub fn io(image: &str, commands: &[&str], limit: Duration) -> Result<Finished> {
    io_with(&["-f", "raw", image], commands, limit)
}

/// [`io`] with other arguments than a name, for what only `--image-opts` can say.
///
/// # Errors
/// As [`io`].
pub fn io_with(arguments: &[&str], commands: &[&str], limit: Duration) -> Result<Finished> {
    programs::require_qemu_iscsi()?;
    let mut command = programs::QEMU_IO.command()?;
    for one in commands {
        command.args(["-c", one]);
    }
    let mut finished = process::run(command_with(command, arguments), limit)?;
    // A comparison that fails is printed and does not count for the exit status of older releases.
    if finished.stdout.contains("Pattern verification failed") && finished.status.success() {
        finished.stderr.push_str("a comparison failed\n");
        finished.status = std::os::unix::process::ExitStatusExt::from_raw(1 << 8);
    }
    Ok(finished)
}

/// Runs qemu-img.
///
/// # Errors
/// When qemu-img or the iSCSI driver is not installed, or cannot be started.
pub fn img(arguments: &[&str], limit: Duration) -> Result<Finished> {
    programs::require_qemu_iscsi()?;
    process::run(command_with(programs::QEMU_IMG.command()?, arguments), limit)
}

fn command_with(mut command: std::process::Command, arguments: &[&str]) -> std::process::Command {
    command.args(arguments);
    command
}
