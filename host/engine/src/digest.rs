//! SHA-256 digests: names of components and of engines.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text::hex;

/// A SHA-256 digest (FIPS 180-4). Names a component by its bytes, or an engine by what its machine code depends on.
/// Shown as 64 hexadecimal digits in lower case, and read from the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes. About 1 ms per MiB where the CPU has no instructions for it.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several pieces as if they were one.
    pub(crate) fn of_all(pieces: &[&[u8]]) -> Self {
        let mut state = Sha256::new();
        for piece in pieces {
            state.update(piece);
        }
        Self(state.finalize().into())
    }

    /// The digest of a value's hash input: unlike `DefaultHasher` no two different values share it.
    pub(crate) fn of_value(value: &impl std::hash::Hash) -> Self {
        struct Feed(Sha256);
        impl std::hash::Hasher for Feed {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                // Nobody asks: the digest is taken from the state.
                0
            }
        }
        let mut feed = Feed(Sha256::new());
        value.hash(&mut feed);
        Self(feed.0.finalize().into())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits in lower case")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NoDigest),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NoDigest) };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return Err(NoDigest);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_one_that_sha256sum_prints_and_comes_back() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for other in ["", &text[1..], &text[2..], &text.to_uppercase(), &format!("{text}00")] {
            assert_eq!(other.parse::<Digest>(), Err(NoDigest), "{other}");
        }
        assert_eq!(Digest::of_all(&[b"a", b"", b"bc"]), digest);
    }

    #[test]
    fn a_values_digest_depends_on_all_of_it() {
        assert_eq!(Digest::of_value(&("a", 1)), Digest::of_value(&("a", 1)));
        assert_ne!(Digest::of_value(&("a", 1)), Digest::of_value(&("a", 2)));
        assert_ne!(Digest::of_value(&("ab", "c")), Digest::of_value(&("a", "bc")));
    }
}
