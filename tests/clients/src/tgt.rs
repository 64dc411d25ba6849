//! tgt, the iSCSI target that Debian ships for user space: the other side of the benchmark.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::{programs, wait};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Name of its target.
const NAME: &str = "iqn.2026-11.org.lunbox:tgt";

/// A tgtd with one LUN. It is killed when this is dropped.
#[derive(Debug)]
pub struct Tgtd {
    child: Child,
    control: u16,
    url: String,
}

impl Tgtd {
    /// Serves `file` with the `rdwr` backing store on 127.0.0.1:`port`; `control` is the number of its control socket,
    /// which must differ from those of other tgtds. All else is its default: 16 I/O threads for a LUN. Needs root.
    ///
    /// # Errors
    /// When tgt is not installed, does not start, or refuses.
    pub fn serve(file: &Path, port: u16, control: u16) -> Result<Self> {
        let mut command = programs::SETPRIV.command()?;
        command.args(["--pdeathsig", "KILL", "--"]).arg(programs::TGTD.find()?);
        command.args(["-f", "-C", &control.to_string(), "--iscsi", &format!("portal=127.0.0.1:{port}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().context("start tgtd")?;
        let url = format!("iscsi://127.0.0.1:{port}/{NAME}/1");
        let mut tgtd = Self { child, control, url };
        wait::until(PATIENCE, "control socket of tgtd", || {
            if let Some(status) = tgtd.child.try_wait()? {
                bail!("tgtd: {status}; it needs root, the port {port} and the control number {control}");
            }
            let shown = process::run(tgtd.admin(&["--mode", "system", "--op", "show"])?, PATIENCE)?;
            Ok(shown.status.success().then_some(()))
        })?;
        let file = file.to_str().map(PathBuf::from).context("path of the file: not UTF-8")?;
        let store = file.to_string_lossy();
        for arguments in [
            &["--mode", "target", "--op", "new", "--tid", "1", "-T", NAME][..],
            &[
                "--mode",
                "logicalunit",
                "--op",
                "new",
                "--tid",
                "1",
                "--lun",
                "1",
                "--bstype",
                "rdwr",
                "-b",
                &store,
            ],
            &["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"],
        ] {
            process::run(tgtd.admin(arguments)?, PATIENCE)?.success("tgtadm")?;
        }
        Ok(tgtd)
    }

    fn admin(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = programs::TGTADM.command()?;
        command.args(["-C", &self.control.to_string(), "--lld", "iscsi"]).args(arguments);
        Ok(command)
    }

    /// How clients call its LUN.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Tgtd {
    fn drop(&mut self) {
        // It survives SIGTERM as long as it has targets, and killed it leaves its socket. All this fails only for what
        // has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for left in ["", ".lock"] {
            let _ = std::fs::remove_file(format!("/run/tgtd/socket.{}{left}", self.control));
        }
    }
}
