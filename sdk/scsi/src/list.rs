//! Parameter lists: what initiators send along with a command, as values.
//!
//! Each parser takes the bytes that were received, cut to PARAMETER LIST LENGTH, and trusts none of the lengths in
//! them: what lies outside of the bytes is never looked at, a list that is cut short is answered as the standard asks.

pub mod extended_copy;
pub mod format;
pub mod mode_select;
pub mod target_port_groups;
pub mod unmap;

use crate::sense::{FieldPointer, Sense};

/// The answer to a list that can not be accepted: CHECK CONDITION with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Sense data.
    pub sense: Sense,
    /// The field to blame, for the SENSE KEY SPECIFIC bytes; `None` if no single one is.
    pub field: Option<FieldPointer>,
}

impl Rejected {
    /// 5/1A/00: the list ends in the middle of something.
    pub(crate) const TRUNCATED: Self = Self::new(Sense::PARAMETER_LIST_LENGTH_ERROR);

    pub(crate) const fn new(sense: Sense) -> Self {
        Self { sense, field: None }
    }

    /// `sense`, because of the field whose first byte is `at`. Fields behind byte 65535 can not be pointed at.
    pub(crate) fn at(sense: Sense, at: usize) -> Self {
        Self { sense, field: u16::try_from(at).ok().map(FieldPointer::parameter) }
    }

    /// 5/26/00, because of the field whose most significant bit is `bit` of byte `at`.
    pub(crate) fn bit(at: usize, bit: u8) -> Self {
        let field = u16::try_from(at).ok().map(|byte| FieldPointer { in_cdb: false, byte, bit: Some(bit) });
        Self { sense: Sense::INVALID_FIELD_IN_PARAMETER_LIST, field }
    }

    /// 5/26/00, because of the whole byte or field at `at`.
    pub(crate) fn field(at: usize) -> Self {
        Self::at(Sense::INVALID_FIELD_IN_PARAMETER_LIST, at)
    }
}

impl From<Rejected> for Sense {
    fn from(rejected: Rejected) -> Self {
        rejected.sense
    }
}

/// `N` bytes from `at` on; [`Rejected::TRUNCATED`] if the list ends before.
pub(crate) fn bytes<const N: usize>(list: &[u8], at: usize) -> Result<[u8; N], Rejected> {
    at.checked_add(N)
        .and_then(|end| list.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Rejected::TRUNCATED)
}

/// The byte at `at`.
pub(crate) fn byte(list: &[u8], at: usize) -> Result<u8, Rejected> {
    list.get(at).copied().ok_or(Rejected::TRUNCATED)
}

/// The two bytes from `at` on.
pub(crate) fn be16(list: &[u8], at: usize) -> Result<u16, Rejected> {
    bytes(list, at).map(u16::from_be_bytes)
}

/// The four bytes from `at` on.
pub(crate) fn be32(list: &[u8], at: usize) -> Result<u32, Rejected> {
    bytes(list, at).map(u32::from_be_bytes)
}

/// The eight bytes from `at` on.
pub(crate) fn be64(list: &[u8], at: usize) -> Result<u64, Rejected> {
    bytes(list, at).map(u64::from_be_bytes)
}

/// A length in the list as an index. Addresses of 16 bits could not hold it.
pub(crate) fn length(value: u32) -> Result<usize, Rejected> {
    usize::try_from(value).map_err(|_| Rejected::TRUNCATED)
}

#[cfg(test)]
mod properties;
