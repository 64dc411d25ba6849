//! A policy: tenants, and which of them a device belongs to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::error::PolicyError;
use crate::file;
use crate::tenant::{Allowed, DEFAULT, Tenant};

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
    /// Reads a file. Only if it is [`PATH`] it may be missing, for [`Policy::default`]: one that was named by hand is
    /// meant to be there.
    ///
    /// # Errors
    /// A file that is not there or can not be read, that somebody else than root and the caller's user owns or can write
    /// to, or whose contents are wrong.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Self::load_if_there(path, path == Path::new(PATH))
    }

    fn load_if_there(path: &Path, may_be_missing: bool) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Read { path: path.to_owned(), source };
        // O_NONBLOCK: a FIFO in the file's place must not make the daemon wait.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(path, may_be_missing),
            Err(error) => return Err(unreadable(error)),
        };
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        trusted(path, metadata.uid(), metadata.mode(), geteuid().as_raw())?;
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

    /// What is right and yet probably not meant, for people: a line each, naming the remedy. Looks at nothing but the
    /// policy.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        if self.source.is_none() {
            return vec![format!(
                "there is no {PATH}: all devices belong to one tenant, which may use every handler and any path; write a \
                 policy (lunbox policy example shows how)"
            )];
        }
        let default = &self.default;
        let closed = !default.roots.is_empty() || default.handlers == Allowed::Only(Vec::new());
        if self.tenants.is_empty() || closed {
            return Vec::new();
        }
        vec![format!(
            "devices that no tenant matches may use any path: whoever can name a device so that no match fits it gets \
             around the tenants' roots; write under [{DEFAULT}] handlers = [] or roots"
        )]
    }

    /// Whose device it is: the first tenant in the order of the file that has a match for it. `hba` is the 3 of
    /// `user_3`, `device` its name in configfs, `dev_config` the `<subtype>/<config>` that it was configured with.
    #[must_use]
    pub fn tenant_of(&self, hba: u32, device: &str, dev_config: &str) -> &Tenant {
        let fits = |tenant: &&Tenant| tenant.matches.iter().any(|entry| entry.fits(hba, device, dev_config));
        self.tenants.iter().find(fits).unwrap_or(&self.default)
    }
}

/// There is no file to be opened.
fn missing(path: &Path, may_be_missing: bool) -> Result<Policy, PolicyError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_missing => Ok(Policy::default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(PolicyError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(PolicyError::Read { path: path.to_owned(), source }),
        Ok(_) => Err(PolicyError::DeadLink { path: path.to_owned() }),
    }
}

/// Only root and the caller's own user may have written what decides what root opens.
fn trusted(path: &Path, owner: u32, mode: u32, own: u32) -> Result<(), PolicyError> {
    if owner != 0 && owner != own {
        return Err(PolicyError::Owner { path: path.to_owned(), owner, own });
    }
    if mode & 0o022 != 0 {
        return Err(PolicyError::Writable { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_the_default_file_may_be_missing_and_nothing_else_counts_as_missing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("policy.toml");
        assert_eq!(Policy::load_if_there(&path, true).unwrap(), Policy::default());
        let error = Policy::load_if_there(&path, false).unwrap_err();
        assert!(matches!(error, PolicyError::Missing { .. }), "{error}");
        symlink("nowhere", &path).unwrap();
        for may_be_missing in [true, false] {
            let error = Policy::load_if_there(&path, may_be_missing).unwrap_err();
            assert!(matches!(error, PolicyError::DeadLink { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_trusted() {
        let judged = |owner, mode| trusted(Path::new("p"), owner, mode, 1000);
        assert!(judged(0, 0o644).is_ok() && judged(1000, 0o600).is_ok());
        let error = judged(1001, 0o644).unwrap_err().to_string();
        assert!(error.contains("1001") && error.contains("chown 1000 p"), "{error}");
        assert!(matches!(judged(0, 0o664), Err(PolicyError::Writable { mode: 0o664, .. })));
    }
}
