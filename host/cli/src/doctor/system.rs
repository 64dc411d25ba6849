//! The system that is looked at.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lunbox_control::{Answer, Client, ClientError, Request};

/// Most that is read of a file that is looked at.
const MOST: u64 = 1 << 20;

/// How long the daemon may take to answer one question: what is asked needs no storage.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files below a directory, and the daemon behind a socket.
pub(super) struct System {
    root: PathBuf,
    socket: PathBuf,
    patience: Duration,
    /// The daemon did not answer once.
    silent: Cell<bool>,
}

impl System {
    pub(super) fn new(root: &Path, socket: &Path) -> Self {
        Self {
            root: root.to_owned(),
            socket: socket.to_owned(),
            patience: PATIENCE,
            silent: Cell::new(false),
        }
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// It is the one that we run on.
    pub(super) fn is_ours(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where an absolute path is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The text of a file without the blanks around it; none if it can not be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(path)).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Names in a directory, in order; nothing if there is none.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Asks the daemon. One that hangs is waited for once.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        if self.silent.get() {
            return Err(ClientError::Silent(self.patience));
        }
        let answer = Client::connect_with(&self.socket, self.patience)?.ask(request);
        self.silent.set(matches!(answer, Err(ClientError::Silent(_))));
        answer
    }
}
