//! The file format of compiled components.
//!
//! wasmtime trusts what it deserializes, so its output is wrapped: a header says what the code was made from, by
//! which compiler, and what its digest is; a manifest says who the handler is, so that nobody has to run it to learn
//! that. A damaged file is recognised; a forged one is kept out by ownership (`source.rs`, `shelf.rs`), not by the
//! digest.
//!
//! | bytes | |
//! |---|---|
//! | 8 | magic, with the version of this format |
//! | 32 | digest of the engine: its version and settings |
//! | 32 | digest of the component |
//! | 32 | digest of manifest and code |
//! | 8 | length of the manifest, little endian |
//! | 8 | length of the code, little endian |
//! | … | the manifest, JSON |
//! | … | the code |

use crate::{Digest, Manifest};

const MAGIC: [u8; 8] = *b"lunboxC2";
/// What every version of the format begins with.
const FAMILY: &[u8] = b"lunboxC";
const HEADER: usize = MAGIC.len() + 3 * 32 + 2 * 8;
/// Longest manifest: 32 fields with 64 words each are less than half of it.
const MAX_MANIFEST: usize = 256 << 10;

/// Largest container in bytes: machine code has a few times the size of its component, of which 64 MiB are read.
pub(crate) const MAX_BYTES: usize = 256 << 20;

/// Why a container can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    #[error("its manifest: {0}")]
    Manifest(String),
}

/// Code whose header fits and whose digest is right. Only [`parse`] makes it.
pub(crate) struct Intact<'a>(&'a [u8]);

impl<'a> Intact<'a> {
    /// The code, exactly as wasmtime serialized it.
    pub(crate) const fn code(&self) -> &'a [u8] {
        self.0
    }
}

/// A container that was checked.
pub(crate) struct Parsed<'a> {
    pub(crate) component: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) code: Intact<'a>,
}

/// Wraps code.
pub(crate) fn wrap(
    engine: &Digest,
    component: &Digest,
    manifest: &Manifest,
    code: &[u8],
) -> Result<Vec<u8>, Unusable> {
    let manifest = manifest.to_json().map_err(|error| Unusable::Manifest(error.to_string()))?;
    if manifest.len() > MAX_MANIFEST || code.len() > MAX_BYTES - MAX_MANIFEST - HEADER {
        return Err(Unusable::Length);
    }
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
    let contents = Digest::of_all(&[&manifest, code]);
    Ok([
        &MAGIC[..],
        engine.as_bytes(),
        component.as_bytes(),
        contents.as_bytes(),
        &length(&manifest),
        &length(code),
        &manifest,
        code,
    ]
    .concat())
}

/// Whether a file claims to be a container, of this version or another.
pub(crate) fn is_one(file: &[u8]) -> bool {
    file.starts_with(FAMILY)
}

/// Checks a container for an engine and, where it is known, for a component.
pub(crate) fn parse<'a>(
    file: &'a [u8],
    engine: &Digest,
    component: Option<&Digest>,
) -> Result<Parsed<'a>, Unusable> {
    if !is_one(file) {
        return Err(Unusable::NotOurs);
    }
    let (magic, rest) = file.split_first_chunk::<8>().ok_or(Unusable::Length)?;
    if *magic != MAGIC {
        return Err(Unusable::OtherEngine);
    }
    let (made_by, rest) = digest(rest)?;
    let (made_from, rest) = digest(rest)?;
    let (contents, rest) = digest(rest)?;
    let (manifest_length, rest) = length(rest)?;
    let (code_length, rest) = length(rest)?;
    if manifest_length > MAX_MANIFEST || manifest_length.checked_add(code_length) != Some(rest.len()) {
        return Err(Unusable::Length);
    }
    let (manifest, code) = rest.split_at_checked(manifest_length).ok_or(Unusable::Length)?;
    if made_by != *engine {
        return Err(Unusable::OtherEngine);
    }
    if component.is_some_and(|component| made_from != *component) {
        return Err(Unusable::OtherComponent);
    }
    if contents != Digest::of(rest) {
        return Err(Unusable::Damaged);
    }
    let manifest = Manifest::from_json(manifest).map_err(|error| Unusable::Manifest(error.to_string()))?;
    Ok(Parsed { component: made_from, manifest, code: Intact(code) })
}

fn digest(bytes: &[u8]) -> Result<(Digest, &[u8]), Unusable> {
    let (digest, rest) = bytes.split_first_chunk::<32>().ok_or(Unusable::Length)?;
    Ok((Digest::from_bytes(*digest), rest))
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Unusable> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(Unusable::Length)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Unusable::Length)?;
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use lunbox_contract::Description;

    use super::*;
    use crate::Abilities;

    const ENGINE: Digest = Digest::from_bytes([1; 32]);
    const COMPONENT: Digest = Digest::from_bytes([2; 32]);
    const OTHER: Digest = Digest::from_bytes([3; 32]);

    fn manifest() -> Manifest {
        let text = |text: &str| text.to_owned();
        Manifest {
            description: Description {
                subtype: text("x"),
                name: text("X"),
                version: text("1"),
                config_help: text(""),
            },
            abilities: Abilities { block: true, ..Abilities::default() },
            schema: None,
            wasi: false,
        }
    }

    fn wrapped(engine: &Digest, component: &Digest, code: &[u8]) -> Vec<u8> {
        wrap(engine, component, &manifest(), code).unwrap()
    }

    fn parsed(file: &[u8]) -> Result<(Digest, Manifest, &[u8]), Unusable> {
        parse(file, &ENGINE, Some(&COMPONENT))
            .map(|parsed| (parsed.component, parsed.manifest, parsed.code.code()))
    }

    #[test]
    fn what_was_wrapped_comes_out() {
        let file = wrapped(&ENGINE, &COMPONENT, b"code");
        assert_eq!(parsed(&file), Ok((COMPONENT, manifest(), &b"code"[..])));
        assert_eq!(parse(&file, &ENGINE, None).map(|parsed| parsed.component), Ok(COMPONENT));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let file = wrapped(&ENGINE, &COMPONENT, b"code");
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parsed(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_other_length_is_found() {
        let mut file = wrapped(&ENGINE, &COMPONENT, b"code");
        for length in 0..file.len() {
            assert!(parsed(&file[..length]).is_err(), "{length} bytes");
        }
        file.push(0);
        assert_eq!(parsed(&file), Err(Unusable::Length));
    }

    #[test]
    fn lengths_that_overflow_are_found() {
        let file = wrapped(&ENGINE, &COMPONENT, b"code");
        for place in [HEADER - 16, HEADER - 8] {
            let mut damaged = file.clone();
            damaged[place..place + 8].fill(0xff);
            assert_eq!(parsed(&damaged), Err(Unusable::Length));
        }
    }

    #[test]
    fn others_code_is_refused() {
        assert_eq!(parsed(&wrapped(&OTHER, &COMPONENT, b"")), Err(Unusable::OtherEngine));
        assert_eq!(parsed(&wrapped(&ENGINE, &OTHER, b"")), Err(Unusable::OtherComponent));
        let mut older = wrapped(&ENGINE, &COMPONENT, b"");
        older[7] = b'1';
        assert!(is_one(&older));
        assert_eq!(parsed(&older), Err(Unusable::OtherEngine));
    }

    #[test]
    fn a_manifest_that_nobody_checked_is_refused() {
        let mut lying = manifest();
        lying.description.subtype = "..".to_owned();
        let file = wrap(&ENGINE, &COMPONENT, &lying, b"code").unwrap();
        assert!(matches!(parsed(&file), Err(Unusable::Manifest(problem)) if problem.contains("subtype")));
    }
}
