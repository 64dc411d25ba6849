//! SET TARGET PORT GROUPS parameter list (SPC-5).

use std::slice::ChunksExact;

use super::Rejected;

/// Bytes of the header, all reserved.
const HEADER: usize = 4;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 4;

/// What is wanted of one target port group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetState {
    /// ASYMMETRIC ACCESS STATE, 0h to Fh, as it stands in the list.
    pub state: u8,
    /// TARGET PORT GROUP; for states that concern a port instead (SPC-5: offline) RELATIVE TARGET PORT IDENTIFIER.
    pub group: u16,
}

/// The descriptors in the order of the list.
#[derive(Clone, Debug)]
pub struct Descriptors<'a>(ChunksExact<'a, u8>);

impl Iterator for Descriptors<'_> {
    type Item = SetState;

    fn next(&mut self) -> Option<Self::Item> {
        match *self.0.next()? {
            [state, _, high, low] => {
                Some(SetState { state: state & 0x0f, group: u16::from_be_bytes([high, low]) })
            }
            _ => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Descriptors<'_> {}

/// Reads the list. Which groups and states there are is for the caller to check. An empty list changes nothing.
///
/// # Errors
/// 5/1A/00 for a list without a whole header or with a piece of a descriptor at its end.
pub fn parse(list: &[u8]) -> Result<Descriptors<'_>, Rejected> {
    if list.is_empty() {
        return Ok(Descriptors([].chunks_exact(DESCRIPTOR)));
    }
    let descriptors = list.get(HEADER..).ok_or(Rejected::TRUNCATED)?.chunks_exact(DESCRIPTOR);
    if !descriptors.remainder().is_empty() {
        return Err(Rejected::TRUNCATED);
    }
    Ok(Descriptors(descriptors))
}

#[cfg(test)]
mod tests;
