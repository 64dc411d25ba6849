//! MODE SELECT parameter list (SPC-5, mode parameters; SBC-4, mode parameters for direct access block devices).

use super::{Rejected, be16, be32, be64, byte};
use crate::logical_unit::LogicalUnit;
use crate::mode;

/// Bytes of a short block descriptor.
const SHORT_DESCRIPTOR: usize = 8;
/// Bytes of a long block descriptor.
const LONG_DESCRIPTOR: usize = 16;

/// Caching mode page.
const CACHING: u8 = 0x08;
/// Control mode page.
const CONTROL: u8 = 0x0a;

/// The values that are to be in force: those of the list, and for what it leaves out those that are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeChange {
    /// WCE of the caching page.
    pub write_cache: bool,
    /// SWP of the control page.
    pub software_write_protect: bool,
    /// D_SENSE of the control page.
    pub descriptor_sense: bool,
}

/// Reads the list. `ten`: it belongs to MODE SELECT (10).
///
/// Bits that can not be changed must have the values they have. The header's MODE DATA LENGTH and
/// DEVICE-SPECIFIC PARAMETER and each page's PS are reserved here: an initiator may send back what MODE SENSE said.
/// A block descriptor must describe the medium as it is; as its NUMBER OF LOGICAL BLOCKS, 0 and the highest value
/// also stand for what is (SBC-4, mode parameter block descriptors). An empty list changes nothing.
///
/// # Errors
/// 5/1A/00 for a header, block descriptor or page that is cut short; 5/26/00 for everything that would have to
/// change and can not, and for pages that do not exist.
pub fn parse(list: &[u8], ten: bool, unit: &LogicalUnit) -> Result<ModeChange, Rejected> {
    let own = &unit.characteristics;
    let mut change = ModeChange {
        write_cache: own.write_cache,
        software_write_protect: own.software_write_protected,
        descriptor_sense: own.descriptor_sense,
    };
    if list.is_empty() {
        return Ok(change);
    }
    let mut at = pages_at(list, ten, unit)?;
    while at < list.len() {
        let page = Page::at(list, at, unit)?;
        match page.current[0] & 0x7f {
            CACHING => change.write_cache = page.bit(2, 0x04)?,
            CONTROL => {
                change.descriptor_sense = page.bit(2, 0x04)?;
                change.software_write_protect = page.bit(4, 0x08)?;
            }
            _ => {}
        }
        at += page.sent.len();
    }
    Ok(change)
}

/// Checks header and block descriptor; where the pages start.
fn pages_at(list: &[u8], ten: bool, unit: &LogicalUnit) -> Result<usize, Rejected> {
    // MEDIUM TYPE, BLOCK DESCRIPTOR LENGTH, the header's end.
    let (medium_type, length_at, header) = if ten { (2, 6, 8) } else { (1, 3, 4) };
    if list.len() < header {
        return Err(Rejected::TRUNCATED);
    }
    if byte(list, medium_type)? != 0 {
        return Err(Rejected::field(medium_type));
    }
    let long = ten && byte(list, 4)? & 0x01 != 0; // LONGLBA
    let length = if ten { usize::from(be16(list, 6)?) } else { usize::from(byte(list, 3)?) };
    let block_size = unit.geometry.block_size().get();
    let capacity = unit.geometry.capacity().0;
    match (length, long) {
        (0, _) => {}
        (SHORT_DESCRIPTOR, false) => {
            let count = be32(list, header)?;
            // Byte 4 is reserved, the block length behind it has three bytes.
            let size = be32(list, header + 4)? & 0x00ff_ffff;
            if count != 0 && count != u32::MAX && u64::from(count) != capacity {
                return Err(Rejected::field(header));
            }
            if size != block_size {
                return Err(Rejected::field(header + 5));
            }
        }
        (LONG_DESCRIPTOR, true) => {
            let count = be64(list, header)?;
            let size = be32(list, header + 12)?;
            if count != 0 && count != u64::MAX && count != capacity {
                return Err(Rejected::field(header));
            }
            if size != block_size {
                return Err(Rejected::field(header + 12));
            }
        }
        _ => return Err(Rejected::field(length_at)),
    }
    Ok(header + length)
}

/// A page of the list beside the one in force, which is as long.
struct Page<'a> {
    /// Where it stands in the list.
    at: usize,
    sent: &'a [u8],
    current: Vec<u8>,
}

impl<'a> Page<'a> {
    /// Checks the page that stands at `at`.
    fn at(list: &'a [u8], at: usize, unit: &LogicalUnit) -> Result<Self, Rejected> {
        let first = byte(list, at)?;
        let code = first & 0x3f;
        let has_subpage = first & 0x40 != 0; // SPF
        let (subpage, length_at, start) =
            if has_subpage { (byte(list, at + 1)?, at + 2, at + 4) } else { (0, at + 1, at + 2) };
        let length =
            if has_subpage { usize::from(be16(list, at + 2)?) } else { usize::from(byte(list, at + 1)?) };
        let unknown = Rejected::bit(at, 5);
        let current = mode::current_page(code, subpage, unit).ok_or(unknown)?;
        // Subpage 00h has the short header, so it is not named by a long one.
        if current.first().is_none_or(|own| own & 0x7f != first & 0x7f) {
            return Err(unknown);
        }
        let end = start + length;
        if end - at != current.len() {
            return Err(Rejected::field(length_at));
        }
        let sent = list.get(at..end).ok_or(Rejected::TRUNCATED)?;
        let page = Self { at, sent, current };
        page.check(&mode::changeable_page(code, subpage, unit).unwrap_or_default(), start - at)?;
        Ok(page)
    }

    /// Refuses a difference in bits behind the page's header that `mask` does not have.
    fn check(&self, mask: &[u8], header: usize) -> Result<(), Rejected> {
        for (at, (sent, current)) in self.sent.iter().zip(&self.current).enumerate().skip(header) {
            let fixed = (sent ^ current) & !mask.get(at).copied().unwrap_or(0);
            if let Some(bit) =
                u8::try_from(fixed.leading_zeros()).ok().and_then(|above| 7u8.checked_sub(above))
            {
                return Err(Rejected::bit(self.at + at, bit));
            }
        }
        Ok(())
    }

    /// Whether the bit is set in what was sent.
    fn bit(&self, byte: usize, bit: u8) -> Result<bool, Rejected> {
        self.sent.get(byte).map(|byte| byte & bit != 0).ok_or(Rejected::TRUNCATED)
    }
}

#[cfg(test)]
mod tests;
