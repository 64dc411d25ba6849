//! Keys and values of login and text PDUs (RFC 7143 clause 6.1).
//!
//! A text is a list of `key=value` pairs, each ended by a NUL. [`pairs`] reads one, [`TextWriter`] writes one,
//! [`TextAssembler`] joins one that came in several PDUs; [`value`] reads numbers, booleans, lists and binary values.

pub mod value;

use thiserror::Error;

/// Longest key in bytes (RFC 7143 clause 6.1).
pub const KEY_MAX: usize = 63;

/// Longest value in bytes unless the key says otherwise (RFC 7143 clause 6.1).
pub const VALUE_MAX: usize = 255;

/// Longest value in bytes of keys with binary values, all of which begin with `CHAP_` here. RFC 7143 clause 12.1.3
/// allows binary values of 1024 bytes, which are 2050 characters.
pub const BINARY_VALUE_MAX: usize = 8192;

/// Longest text in bytes that is joined from several PDUs.
pub const TEXT_MAX: usize = 64 * 1024;

/// One key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key, which is well-formed.
    pub key: &'a str,
    /// The value as it was sent; may be empty.
    pub value: &'a str,
}

/// What is wrong with a text. The sender broke the format: a login fails, a text request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// Something between two NULs has no `=`.
    #[error("a text item has no '='")]
    NoEquals,
    /// A key is empty, begins with something else than a letter, or has characters that keys can not have.
    #[error("a text key is empty or has characters that keys can not have")]
    BadKey,
    /// A key has more than [`KEY_MAX`] bytes.
    #[error("a text key is longer than {KEY_MAX} bytes")]
    KeyTooLong,
    /// A value is no UTF-8.
    #[error("a text value is not UTF-8")]
    BadValue,
    /// A value has more than [`VALUE_MAX`] bytes, or [`BINARY_VALUE_MAX`] for keys of CHAP.
    #[error("a text value is longer than its key allows")]
    ValueTooLong,
    /// A text has more than [`TEXT_MAX`] bytes.
    #[error("a text is longer than {TEXT_MAX} bytes")]
    TextTooLong,
}

/// Reads a text pair by pair. The NUL after the last pair may be missing, and there may be more than one between
/// pairs.
///
/// The iterator ends after its first error.
#[must_use]
pub const fn pairs(text: &[u8]) -> Pairs<'_> {
    Pairs { rest: text }
}

/// The iterator that [`pairs`] gives.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.iter().position(|&byte| byte != 0)?;
        let rest = &self.rest[start..];
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        self.rest = &rest[end..];
        let pair = pair(&rest[..end]);
        if pair.is_err() {
            self.rest = &[];
        }
        Some(pair)
    }
}

fn pair(item: &[u8]) -> Result<Pair<'_>, TextError> {
    let equals = item.iter().position(|&byte| byte == b'=').ok_or(TextError::NoEquals)?;
    let (key, value) = (&item[..equals], &item[equals + 1..]);
    if key.len() > KEY_MAX {
        return Err(TextError::KeyTooLong);
    }
    if !key.first().is_some_and(u8::is_ascii_alphabetic) || !key.iter().all(|&byte| is_key_byte(byte)) {
        return Err(TextError::BadKey);
    }
    let key = std::str::from_utf8(key).map_err(|_| TextError::BadKey)?;
    let limit = if key.starts_with("CHAP_") { BINARY_VALUE_MAX } else { VALUE_MAX };
    if value.len() > limit {
        return Err(TextError::ValueTooLong);
    }
    let value = std::str::from_utf8(value).map_err(|_| TextError::BadValue)?;
    Ok(Pair { key, value })
}

/// `#` stands in names of public extensions ("X#NodeArchitecture", RFC 7143 clause 13.26).
const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'@' | b'_' | b'#')
}

/// Builds a text.
#[derive(Clone, Debug, Default)]
pub struct TextWriter {
    bytes: Vec<u8>,
}

impl TextWriter {
    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a pair. Key and value must be well-formed and have no NUL: they are ours, or were read by [`pairs`].
    pub fn push(&mut self, key: &str, value: impl std::fmt::Display) {
        use std::io::Write as _;
        // Writing to a Vec can not fail; a Display that fails leaves a shorter value.
        let _ = write!(self.bytes, "{key}={value}\0");
    }

    /// Appends `key=0x…`, the form in which all initiators read binary values (RFC 7143 clause 6.1).
    pub fn push_binary(&mut self, key: &str, value: &[u8]) {
        self.push(key, value::Hex(value));
    }

    /// The text so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Joins a text that came in several PDUs with the C bit (RFC 7143 clause 6.2), up to [`TEXT_MAX`] bytes.
#[derive(Clone, Debug, Default)]
pub struct TextAssembler {
    bytes: Vec<u8>,
}

impl TextAssembler {
    /// Nothing collected.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Adds the data segment of one PDU.
    ///
    /// # Errors
    /// [`TextError::TextTooLong`]; what was collected is given up.
    pub fn push(&mut self, segment: &[u8]) -> Result<(), TextError> {
        if self.bytes.len() + segment.len() > TEXT_MAX {
            self.bytes = Vec::new();
            return Err(TextError::TextTooLong);
        }
        self.bytes.extend_from_slice(segment);
        Ok(())
    }

    /// Nothing was collected since the last [`take`](Self::take).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole text, after a PDU whose C bit is 0. The assembler is empty then.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests;
