//! What a tenant may.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use glob::{MatchOptions, Pattern};

use crate::matching::Match;

/// The tenant that devices belong to which no other tenant matches.
pub const DEFAULT: &str = "default";

/// A tenant: devices that share a worker process, and what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, fit to be a file name: 1 to 32 of a–z, 0–9, `_` and `-`.
    pub name: String,
    /// Who its worker runs as; absent: the daemon's user, without capabilities.
    pub user: Option<User>,
    /// Handlers that its devices may have.
    pub handlers: Allowed,
    /// Directories that its stores are opened in, absolute and without `.` and `..`: links never lead out of them. Empty:
    /// any path, and links are followed.
    pub roots: Vec<PathBuf>,
    /// Paths that two devices may write to at once; see [`Tenant::is_shared`].
    pub shared: Vec<Pattern>,
    /// What an instance of a handler may use.
    pub limits: Limits,
    /// What becomes of a worker that can not be confined.
    pub jail: Jail,
    /// Each device has a worker of its own.
    pub own_worker_per_device: bool,
    pub(crate) matches: Vec<Match>,
}

impl Tenant {
    /// A tenant that may what a device may without any policy.
    pub(crate) fn named(name: String) -> Self {
        Self {
            name,
            user: None,
            handlers: Allowed::All,
            roots: Vec::new(),
            shared: Vec::new(),
            limits: Limits::default(),
            jail: Jail::BestEffort,
            own_worker_per_device: false,
            matches: Vec::new(),
        }
    }

    /// Whether two devices may write to this path at once. In patterns, `*`, `?` and `[…]` stand for anything but `/`,
    /// and `**` for any number of directories.
    #[must_use]
    pub fn is_shared(&self, path: &str) -> bool {
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        self.shared.iter().any(|pattern| pattern.matches_with(path, options))
    }
}

/// Who a worker runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A name of the user database, with its group.
    Name(String),
    /// Numbers; neither is 0.
    Ids {
        /// User.
        uid: u32,
        /// Group; absent: the user's own in the user database, or the same number if it is not listed there.
        gid: Option<u32>,
    },
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ids { uid, gid: None } => write!(f, "{uid}"),
            Self::Ids { uid, gid: Some(gid) } => write!(f, "{uid}:{gid}"),
        }
    }
}

/// Handlers that a tenant may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any that is installed.
    All,
    /// Those of these subtypes.
    Only(Vec<String>),
}

impl Allowed {
    /// Whether a handler of this subtype may be used.
    #[must_use]
    pub fn allows(&self, subtype: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(subtypes) => subtypes.iter().any(|allowed| allowed == subtype),
        }
    }
}

/// What becomes of a worker that can not be confined in every way, because the kernel lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jail {
    /// It serves, and the log says what is missing.
    BestEffort,
    /// It does not serve.
    Required,
}

/// What one instance of a handler may use. What is absent is as the engine has it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory: 64 KiB to 4 GiB.
    pub memory_bytes: Option<u64>,
    /// Elements of tables: 1 to 10,000,000.
    pub table_elements: Option<u64>,
    /// CPU time of one call: 1 ms to 1 min.
    pub cpu_per_call: Option<Duration>,
    /// Wall time of one call, for handlers that import WASI: 1 ms to 1 h.
    pub wall_per_call: Option<Duration>,
    /// Bytes that one call carries across the border: 4 KiB to 1 GiB.
    pub hostcall_bytes: Option<u32>,
    /// Log lines per second: 1 to 1,000,000.
    pub log_lines_per_second: Option<u32>,
}
