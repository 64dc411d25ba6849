//! UNMAP parameter list (SBC-4, UNMAP command).

use std::slice::ChunksExact;

use super::{Rejected, be16};
use crate::units::{Blocks, Lba};

/// Bytes of the header.
const HEADER: usize = 8;
/// Bytes of an UNMAP block descriptor.
const DESCRIPTOR: usize = 16;

/// The block descriptors in the order of the list, those of 0 blocks too.
#[derive(Clone, Debug)]
pub struct Descriptors<'a>(ChunksExact<'a, u8>);

impl Iterator for Descriptors<'_> {
    type Item = (Lba, Blocks);

    fn next(&mut self) -> Option<Self::Item> {
        let descriptor = self.0.next()?;
        let lba = descriptor.first_chunk()?;
        let count = descriptor.get(8..)?.first_chunk()?;
        Some((Lba(u64::from_be_bytes(*lba)), Blocks(u64::from(u32::from_be_bytes(*count)))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Descriptors<'_> {}

/// Reads the list. How many descriptors and blocks are too many, and what lies outside of the medium, is for the
/// caller to check.
///
/// UNMAP DATA LENGTH is not looked at: UNMAP BLOCK DESCRIPTOR DATA LENGTH says the same. A descriptor that this
/// length cuts in the middle is ignored, as SBC-4 asks. An empty list unmaps nothing.
///
/// # Errors
/// 5/1A/00 for a header or descriptors that lie behind the end of the list.
pub fn parse(list: &[u8]) -> Result<Descriptors<'_>, Rejected> {
    if list.is_empty() {
        return Ok(Descriptors([].chunks_exact(DESCRIPTOR)));
    }
    let header = list.get(..HEADER).ok_or(Rejected::TRUNCATED)?;
    let named = usize::from(be16(header, 2)?);
    let whole = named - named % DESCRIPTOR;
    let descriptors = list.get(HEADER..HEADER + whole).ok_or(Rejected::TRUNCATED)?;
    Ok(Descriptors(descriptors.chunks_exact(DESCRIPTOR)))
}

#[cfg(test)]
mod tests;
