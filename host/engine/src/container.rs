//! The file format of compiled components.
//!
//! wasmtime trusts what it deserializes, so its output is wrapped: a header says what the code was made from, by
//! which compiler, and what its digest is. A damaged file is recognised; a forged one is kept out by ownership
//! (`source.rs`, `cache.rs`), not by the digest.
//!
//! | bytes | |
//! |---|---|
//! | 8 | magic, with the version of this format |
//! | 32 | SHA-256 of the engine's version and settings |
//! | 32 | SHA-256 of the component |
//! | 32 | SHA-256 of the code |
//! | 8 | length of the code, little endian |
//! | … | the code |

use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"lunboxC1";
const HEADER: usize = MAGIC.len() + 3 * 32 + 8;

/// A SHA-256 digest.
pub(crate) type Digest = [u8; 32];

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// The digest of a value's hash input: unlike `DefaultHasher` no two different values share it.
pub(crate) fn digest_of_value(value: &impl std::hash::Hash) -> Digest {
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
    feed.0.finalize().into()
}

/// Why a container can not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is no precompiled handler of this format")]
    NotOurs,
    #[error("it is cut short or too long")]
    Length,
    #[error("its contents do not match their digest")]
    Damaged,
    #[error("it was made by another version of Lunbox, with other settings or for another kind of CPU")]
    OtherEngine,
    #[error("it was made from another component")]
    OtherComponent,
}

/// Code whose header fits and whose digest is right. Only [`parse`] makes it.
pub(crate) struct Intact<'a>(&'a [u8]);

impl<'a> Intact<'a> {
    /// The code, exactly as wasmtime serialized it.
    pub(crate) const fn code(&self) -> &'a [u8] {
        self.0
    }
}

/// Wraps code.
pub(crate) fn wrap(engine: &Digest, component: &Digest, code: &[u8]) -> Vec<u8> {
    let length = u64::try_from(code.len()).unwrap_or(u64::MAX);
    [&MAGIC, &engine[..], component, &digest(code), &length.to_le_bytes(), code].concat()
}

/// Whether a file claims to be a container.
pub(crate) fn is_one(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// Checks a container for an engine and, where it is known, for a component.
pub(crate) fn parse<'a>(
    file: &'a [u8],
    engine: &Digest,
    component: Option<&Digest>,
) -> Result<Intact<'a>, Unusable> {
    if !is_one(file) {
        return Err(Unusable::NotOurs);
    }
    let (header, code) = file.split_at_checked(HEADER).ok_or(Unusable::Length)?;
    let field = |index: usize| &header[MAGIC.len() + 32 * index..][..32];
    let length = header[HEADER - 8..].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if usize::try_from(length).ok() != Some(code.len()) {
        return Err(Unusable::Length);
    }
    if field(0) != engine {
        return Err(Unusable::OtherEngine);
    }
    if component.is_some_and(|component| field(1) != component) {
        return Err(Unusable::OtherComponent);
    }
    if field(2) != digest(code) {
        return Err(Unusable::Damaged);
    }
    Ok(Intact(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: Digest = [1; 32];
    const COMPONENT: Digest = [2; 32];

    fn parsed(file: &[u8]) -> Result<&[u8], Unusable> {
        parse(file, &ENGINE, Some(&COMPONENT)).map(|intact| intact.code())
    }

    #[test]
    fn what_was_wrapped_comes_out() {
        let file = wrap(&ENGINE, &COMPONENT, b"code");
        assert_eq!(parsed(&file), Ok(&b"code"[..]));
        assert_eq!(parse(&file, &ENGINE, None).map(|intact| intact.code()), Ok(&b"code"[..]));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let file = wrap(&ENGINE, &COMPONENT, b"code");
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parsed(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_other_length_is_found() {
        let mut file = wrap(&ENGINE, &COMPONENT, b"code");
        for length in 0..file.len() {
            assert!(parsed(&file[..length]).is_err(), "{length} bytes");
        }
        file.push(0);
        assert_eq!(parsed(&file), Err(Unusable::Length));
    }

    #[test]
    fn others_code_is_refused() {
        assert_eq!(parsed(&wrap(&[3; 32], &COMPONENT, b"")), Err(Unusable::OtherEngine));
        assert_eq!(parsed(&wrap(&ENGINE, &[3; 32], b"")), Err(Unusable::OtherComponent));
    }

    #[test]
    fn a_values_digest_depends_on_all_of_it() {
        assert_eq!(digest_of_value(&("a", 1)), digest_of_value(&("a", 1)));
        assert_ne!(digest_of_value(&("a", 1)), digest_of_value(&("a", 2)));
        assert_ne!(digest_of_value(&("ab", "c")), digest_of_value(&("a", "bc")));
    }
}
