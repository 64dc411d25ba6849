//! Where bytes are kept, as an operator writes it.

use std::fmt;
use std::str::FromStr;

/// Where a store is. Its text is what stands in a cfgstring; parsing and writing are each other's inverse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Locator {
    /// A file or block device: an absolute path, as it was written.
    Path(String),
    /// `memory`: as large as the LUN, gone with the process that serves it.
    Memory,
    /// `rbd=pool/image`: an image in a Ceph cluster.
    Rbd {
        /// Not empty, no `/`.
        pool: String,
        /// Not empty, no `/`.
        image: String,
    },
    /// `glfs=volume@host/path`: a file in a Gluster volume.
    Glfs {
        /// Not empty, neither `@` nor `/`.
        volume: String,
        /// Not empty, no `/`.
        host: String,
        /// Not empty; in the volume, without the `/` in front of it.
        path: String,
    },
}

/// A text that is no [`Locator`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocatorError {
    /// None of the known forms.
    #[error(
        "{text:?} names no store; write an absolute path, memory, rbd=pool/image or glfs=volume@host/path"
    )]
    Unknown {
        /// As it was written.
        text: String,
    },
    /// `rbd=`, and then not what it needs.
    #[error("{text:?} names no image; write rbd=pool/image")]
    Rbd {
        /// As it was written.
        text: String,
    },
    /// `glfs=`, and then not what it needs.
    #[error("{text:?} names no file of a volume; write glfs=volume@host/path")]
    Glfs {
        /// As it was written.
        text: String,
    },
}

/// What comes before an image.
pub(crate) const RBD: &str = "rbd=";
/// What comes before a file of a volume.
pub(crate) const GLFS: &str = "glfs=";
/// All of it.
pub(crate) const MEMORY: &str = "memory";

impl Locator {
    /// The path, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Self, LocatorError> {
        if text.starts_with('/') {
            return Ok(Self::Path(text.to_owned()));
        }
        if text == MEMORY {
            return Ok(Self::Memory);
        }
        if let Some(image) = text.strip_prefix(RBD) {
            return rbd(image).ok_or_else(|| LocatorError::Rbd { text: text.to_owned() });
        }
        if let Some(file) = text.strip_prefix(GLFS) {
            return glfs(file).ok_or_else(|| LocatorError::Glfs { text: text.to_owned() });
        }
        Err(LocatorError::Unknown { text: text.to_owned() })
    }
}

fn rbd(text: &str) -> Option<Locator> {
    let (pool, image) = text.split_once('/')?;
    let fits = !pool.is_empty() && !image.is_empty() && !image.contains('/');
    fits.then(|| Locator::Rbd { pool: pool.to_owned(), image: image.to_owned() })
}

fn glfs(text: &str) -> Option<Locator> {
    let (volume, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once('/')?;
    let fits = !volume.is_empty() && !volume.contains('/') && !host.is_empty() && !path.is_empty();
    fits.then(|| Locator::Glfs { volume: volume.to_owned(), host: host.to_owned(), path: path.to_owned() })
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Memory => f.write_str(MEMORY),
            Self::Rbd { pool, image } => write!(f, "{RBD}{pool}/{image}"),
            Self::Glfs { volume, host, path } => write!(f, "{GLFS}{volume}@{host}/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        let rbd = Locator::Rbd { pool: "pool".into(), image: "disk@snap".into() };
        let glfs = Locator::Glfs { volume: "vol".into(), host: "a.b:1".into(), path: "x/y@z".into() };
        for (text, locator) in [
            ("/srv/disk", Locator::Path("/srv/disk".into())),
            ("/", Locator::Path("/".into())),
            ("memory", Locator::Memory),
            ("rbd=pool/disk@snap", rbd),
            ("glfs=vol@a.b:1/x/y@z", glfs),
        ] {
            assert_eq!(text.parse::<Locator>().as_ref(), Ok(&locator));
            assert_eq!(locator.to_string(), text);
        }
    }

    #[test]
    fn what_is_incomplete_is_refused_with_its_form() {
        for (text, form) in [
            ("", "absolute path"),
            ("tmp/x", "absolute path"),
            ("memory/", "absolute path"),
            ("Memory", "absolute path"),
            ("rbd=", "rbd=pool/image"),
            ("rbd=pool", "rbd=pool/image"),
            ("rbd=/image", "rbd=pool/image"),
            ("rbd=pool/", "rbd=pool/image"),
            ("rbd=pool/space/image", "rbd=pool/image"),
            ("glfs=", "glfs=volume@host/path"),
            ("glfs=vol/x", "glfs=volume@host/path"),
            ("glfs=@host/x", "glfs=volume@host/path"),
            ("glfs=vol@/x", "glfs=volume@host/path"),
            ("glfs=vol@host", "glfs=volume@host/path"),
            ("glfs=vol@host/", "glfs=volume@host/path"),
            ("glfs=v/w@host/x", "glfs=volume@host/path"),
        ] {
            let error = text.parse::<Locator>().unwrap_err().to_string();
            assert!(error.contains(form) && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "(/|rbd=|glfs=|memory)?[a-c@/=]{0,12}") {
            if let Ok(locator) = text.parse::<Locator>() {
                prop_assert_eq!(locator.to_string(), text);
            }
        }
    }
}
