//! What several tests need.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lunbox_clients::process::{self, Finished};
use lunbox_clients::programs::Program;
use lunbox_clients::serve::{Options, Server};
use lunbox_clients::{image, qemu};
use tempfile::TempDir;

/// Bound for one run of a client; what is waited for takes a fraction of it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A MiB.
pub const MIB: u64 = 1 << 20;

/// A server with one LUN on a file that is one hole.
pub struct Disk {
    pub server: Server,
    pub file: PathBuf,
    pub folder: TempDir,
    descriptors: usize,
}

impl Disk {
    pub fn new(size: u64, options: Options) -> Self {
        let folder = image::scratch().unwrap();
        let file = image::hole(folder.path(), "lun", size).unwrap();
        let server = Server::start(&options.file(&file)).unwrap();
        let descriptors = server.descriptors().unwrap();
        Self { server, file, folder, descriptors }
    }

    pub fn url(&self) -> &str {
        self.server.url(0)
    }

    /// Waits until nobody is connected and nothing is in flight or left open.
    pub fn must_become_idle(&mut self) {
        self.server
            .status_when(LIMIT, "no connection and no command left", |status| {
                status.connections == 0
                    && status.sessions == 0
                    && status.luns.iter().all(|lun| lun.in_flight == 0)
            })
            .unwrap();
        assert_eq!(self.server.descriptors().unwrap(), self.descriptors, "descriptors of an idle server");
    }
}

/// Runs a client on `arguments`.
pub fn client(program: Program, arguments: &[&str]) -> Finished {
    let mut command: Command = program.command().unwrap();
    command.args(arguments);
    process::run(command, LIMIT).unwrap()
}

/// What a client that must succeed prints.
pub fn says(program: Program, arguments: &[&str]) -> String {
    client(program, arguments).success(program.name).unwrap()
}

/// Runs qemu-io's commands; all must succeed.
pub fn io(url: &str, commands: &[&str]) {
    qemu::io(url, commands, LIMIT).unwrap().success("qemu-io").unwrap();
}

/// Whether `bytes` are all `byte`.
pub fn all(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|one| *one == byte)
}
