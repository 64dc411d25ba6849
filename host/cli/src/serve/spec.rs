//! What a LUN stands on, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

/// `SUBTYPE/CONFIG`, as in the kernel's `dev_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunSpec {
    /// Which handler.
    pub subtype: String,
    /// The text for the handler, which may be empty.
    pub config: String,
}

/// Why a text is no LUN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No slash.
    #[error("write SUBTYPE/CONFIG, for example file//srv/disk.img (`lunbox handlers` lists the subtypes)")]
    NoSlash,
    /// Nothing before the slash: probably a path alone.
    #[error("nothing stands before the first slash; for a file write file/{0}")]
    NoSubtype(String),
}

impl FromStr for LunSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('/') {
            None => Err(SpecError::NoSlash),
            Some(("", _)) => Err(SpecError::NoSubtype(text.to_owned())),
            Some((subtype, config)) => Ok(Self { subtype: subtype.to_owned(), config: config.to_owned() }),
        }
    }
}

impl fmt::Display for LunSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.subtype, self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_counts() {
        for (text, subtype, config) in
            [("file//srv/x", "file", "/srv/x"), ("null/", "null", ""), ("a/b/c/", "a", "b/c/")]
        {
            let spec: LunSpec = text.parse().unwrap();
            assert_eq!((spec.subtype.as_str(), spec.config.as_str()), (subtype, config));
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("file".parse::<LunSpec>(), Err(SpecError::NoSlash));
        assert!("/srv/x".parse::<LunSpec>().unwrap_err().to_string().contains("file//srv/x"));
    }
}
