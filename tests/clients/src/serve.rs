//! `lunbox serve` as a child of ours.

mod server;
mod told;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

pub use self::server::Server;
pub use self::told::{LunStatus, Started, StartedLun, Status};
use crate::{built, process, programs};

/// How long a server may take to start, to end and to answer with its status.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `lunbox serve` is told.
#[derive(Clone, Debug)]
pub struct Options {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// A free port of 127.0.0.1, JSON output, the status ten times a second; no LUN yet.
    pub fn new() -> Self {
        let options = Self { arguments: vec!["serve".into()], environment: Vec::new() };
        options.arg("--json").arg("--status-interval").arg("0.1").arg("--listen").arg("127.0.0.1:0")
    }

    /// No options at all, not even those of [`Options::new`].
    pub fn bare() -> Self {
        Self { arguments: vec!["serve".into()], environment: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more LUN: a file, of the size that `--size` says if it is not there.
    #[must_use]
    pub fn file(self, path: &Path) -> Self {
        let mut config = OsString::from("file/");
        config.push(path);
        self.arg(config)
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command; the server dies with the thread that starts it, however that ends.
    fn command(&self) -> Result<Command> {
        let mut command = programs::SETPRIV.command()?;
        command.args(["--pdeathsig", "KILL", "--"]).arg(built::lunbox()?).args(&self.arguments);
        command.arg("--handler-path").arg(built::handlers()?).arg("--cache-dir").arg(built::cache()?);
        command.env_remove("LUNBOX_CHAP_SECRET").env_remove("LUNBOX_HANDLER_PATH");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts it where it has to refuse, and returns what it says.
    ///
    /// # Errors
    /// When it starts nevertheless, or does not end within [`PATIENCE`].
    pub fn refused(&self) -> Result<String> {
        process::run(self.command()?, PATIENCE)?.refusal("lunbox serve")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_handlers_are_kept_beside_the_handlers() {
        let command = Options::bare().command().unwrap();
        let arguments: Vec<_> = command.get_args().collect();
        let named = arguments.iter().position(|argument| *argument == "--cache-dir").unwrap();
        assert_eq!(Path::new(arguments[named + 1]).parent(), built::handlers().unwrap().parent());
    }
}
