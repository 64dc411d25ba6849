//! A policy: tenants, and which of them a device belongs to.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::PolicyError;
use crate::file;
use crate::tenant::{DEFAULT, Tenant};

/// Where the policy is unless `lunboxd --policy` names another file.
pub const PATH: &str = "/etc/lunbox/policy.toml";

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// All tenants. Without a file there is one, `default`, which may what root's own configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    source: Option<PathBuf>,
    tenants: Vec<Tenant>,
    default: Tenant,
}

impl Default for Policy {
    fn default() -> Self {
        Self { source: None, tenants: Vec::new(), default: Tenant::named(DEFAULT.to_owned()) }
    }
}

impl Policy {
    /// Reads a file; if there is none, [`Policy::default`].
    ///
    /// # Errors
    /// A file that can not be read, that others than its owner can write to, or whose contents are wrong.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Read { path: path.to_owned(), source };
        // O_NONBLOCK: a FIFO in the file's place must not make the daemon wait.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
        };
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(PolicyError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        let mut text = String::new();
        // One byte more tells a file that is too large from one that is just as large as it may be.
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() > usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) {
            return Err(unreadable(io::Error::other(format!("it has more than {MAX_BYTES} bytes"))));
        }
        Self::parse(&text, path)
    }

    /// Understands the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] with all that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let mut tenants = file::read(text, path).map_err(PolicyError::Invalid)?;
        // `default` comes last.
        let default = tenants.pop().unwrap_or_else(|| Tenant::named(DEFAULT.to_owned()));
        Ok(Self { source: Some(path.to_owned()), tenants, default })
    }

    /// The file that this policy was read from; absent without one.
    #[must_use]
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// All tenants in the order of the file, `default` last.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.iter().chain([&self.default])
    }

    /// Whose device it is: the first tenant in the order of the file that has a match for it. `hba` is the 3 of
    /// `user_3`, `device` its name in configfs, `dev_config` the `<subtype>/<config>` that it was configured with.
    #[must_use]
    pub fn tenant_of(&self, hba: u32, device: &str, dev_config: &str) -> &Tenant {
        let fits = |tenant: &&Tenant| tenant.matches.iter().any(|entry| entry.fits(hba, device, dev_config));
        self.tenants.iter().find(fits).unwrap_or(&self.default)
    }
}
