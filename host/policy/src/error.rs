//! What can be wrong with a policy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file can not be read.
    #[error("{path} can not be read: {source}; repair it, or remove it to do without a policy")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was named, and is not there.
    #[error(
        "there is no file {path}; name another, write one (lunbox policy example shows how), or name none to do without \
         a policy"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It leads nowhere. Perhaps a file system is not mounted.
    #[error("{path} is a link to a file that is not there; repair it, or remove it to do without a policy")]
    DeadLink {
        /// The link.
        path: PathBuf,
    },
    /// Somebody else could grant themselves what they like.
    #[error("{path} belongs to user {owner}, who could change it; use chown {own} {path}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who reads it.
        own: u32,
    },
    /// Others than its owner could grant themselves what they like.
    #[error("{path} can be written to by others (mode {mode:04o}); use chmod go-w {path}")]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It does not say what it should; each problem is a line.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

impl PolicyError {
    /// What is wrong with the contents; empty if they were not read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Read { .. }
            | Self::Missing { .. }
            | Self::DeadLink { .. }
            | Self::Owner { .. }
            | Self::Writable { .. } => &[],
        }
    }
}

/// Something in a file that is wrong. Shown as `FILE:LINE:COLUMN: KEY: what, and what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The key with those above it (`tenant.acme.limits.memory`); empty if it is about the whole file.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem at a byte of the text.
    pub(crate) fn at(path: &Path, text: &str, byte: usize, key: String, message: String) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { path: path.to_owned(), line, column, key, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
