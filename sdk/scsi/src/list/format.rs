//! FORMAT UNIT parameter list (SBC-4, FORMAT UNIT).

use super::{Rejected, be16, be32, byte};
use crate::units::BlockSize;

/// Bytes of the short header.
const SHORT_HEADER: usize = 4;
/// Bytes of the long header.
const LONG_HEADER: usize = 8;
/// Bytes of the initialization pattern descriptor in front of the pattern.
const DESCRIPTOR: usize = 4;

/// Default pattern: zeros here.
const TYPE_DEFAULT: u8 = 0x00;
/// The pattern is repeated to fill each block.
const TYPE_REPEAT: u8 = 0x01;

/// How the medium is to be formatted. The default is what a FORMAT UNIT without a list asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// IMMED: the status may be sent as soon as CDB and list have been checked.
    pub immed: bool,
    /// What each logical block is filled with from its start, repeated and cut at its end: 1 byte to one block.
    /// `None`: zeros.
    pub pattern: Option<Vec<u8>>,
}

/// Reads the list. `long` is LONGLIST of the CDB. FORMAT UNIT has no length of its list: bytes behind its end are
/// not looked at.
///
/// DPRY, DCRT and STPF change nothing: there is no list of defects and nothing to certify.
///
/// # Errors
/// 5/1A/00 for a list that is shorter than its header or its pattern. 5/26/00 for protection information, for a
/// defect list, for options without FOV, for a security initialize and for an initialization pattern of an unknown
/// type or an impossible length.
pub fn parse(list: &[u8], long: bool, block_size: BlockSize) -> Result<Format, Rejected> {
    let header = if long { LONG_HEADER } else { SHORT_HEADER };
    if list.len() < header {
        return Err(Rejected::TRUNCATED);
    }
    // PROTECTION FIELD USAGE goes with FMTPINFO, which is 0.
    if byte(list, 0)? & 0x07 != 0 {
        return Err(Rejected::bit(0, 2));
    }
    let options = byte(list, 1)?;
    let chooses = options & 0x80 != 0; // FOV
    // DPRY, DCRT, STPF, IP.
    if !chooses && options & 0x78 != 0 {
        return Err(Rejected::bit(1, 7));
    }
    if long && byte(list, 3)? != 0 {
        return Err(Rejected::field(3)); // P_I_INFORMATION, PROTECTION INTERVAL EXPONENT
    }
    let (at, defects) = if long { (4, be32(list, 4)?) } else { (2, u32::from(be16(list, 2)?)) };
    if defects != 0 {
        return Err(Rejected::field(at)); // DEFECT LIST LENGTH: nothing can be mapped out
    }
    let pattern = if options & 0x08 == 0 { None } else { pattern(list, header, block_size)? };
    Ok(Format { immed: options & 0x02 != 0, pattern })
}

/// The initialization pattern descriptor at `at`.
fn pattern(list: &[u8], at: usize, block_size: BlockSize) -> Result<Option<Vec<u8>>, Rejected> {
    let first = byte(list, at)?;
    let kind = byte(list, at + 1)?;
    let length = be16(list, at + 2)?;
    // IP MODIFIER of SBC-2: each block would get its address. SI: blocks that are out of use would be overwritten.
    for (bits, bit) in [(0xc0, 7), (0x20, 5)] {
        if first & bits != 0 {
            return Err(Rejected::bit(at, bit));
        }
    }
    match (kind, length) {
        (TYPE_DEFAULT, 0) => Ok(None),
        (TYPE_REPEAT, 1..) if u32::from(length) <= block_size.get() => {
            let start = at + DESCRIPTOR;
            let bytes = list.get(start..start + usize::from(length)).ok_or(Rejected::TRUNCATED)?;
            Ok(Some(bytes.to_vec()))
        }
        (TYPE_DEFAULT | TYPE_REPEAT, _) => Err(Rejected::field(at + 2)),
        _ => Err(Rejected::field(at + 1)),
    }
}

#[cfg(test)]
mod tests;
