//! EXTENDED COPY (LID1) parameter list (SPC-4 6.4): copies within one logical unit.
//!
//! A copy source or destination is only ever compared with the unit's own name. There is no way from a descriptor to
//! any other unit, so an initiator can not reach one that it was not given (CVE-2020-28374, CVE-2021-3139).

use super::{Rejected, be16, be32, be64, byte, bytes, length};
use crate::copy_results::{MAX_CSCD_DESCRIPTORS, MAX_DESCRIPTOR_LIST_LENGTH, MAX_SEGMENT_DESCRIPTORS};
use crate::sense::Sense;
use crate::units::{BlockSize, Blocks, Lba};

/// Bytes of the header.
const HEADER: usize = 16;
/// Bytes of a CSCD descriptor.
const CSCD: usize = 32;
/// Bytes of a segment descriptor before those that its DESCRIPTOR LENGTH counts.
const SEGMENT_HEADER: usize = 4;
/// DESCRIPTOR LENGTH of a block to block segment descriptor.
const SEGMENT_BODY: u16 = 0x18;

/// DESCRIPTOR TYPE CODE of an identification descriptor CSCD descriptor.
const IDENTIFICATION: u8 = 0xe4;
/// DESCRIPTOR TYPE CODE of a block to block segment descriptor.
const BLOCK_TO_BLOCK: u8 = 0x02;

/// What is to be copied within the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// By which RECEIVE COPY RESULTS asks for this copy; `None` if it can not (LIST ID USAGE 11b).
    pub list_id: Option<u8>,
    /// In the order of the list.
    pub segments: Vec<Segment>,
}

/// One block to block segment. Its ranges are not checked against the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First block that is read.
    pub source: Lba,
    /// First block that is written.
    pub destination: Lba,
    /// How many, at most 65535; 0 copies nothing and is no error.
    pub blocks: Blocks,
}

/// Reads the list. `own` is the unit's NAA designator, as VPD page 83h shows it.
///
/// DC and CAT change nothing: source and destination have blocks of one length, so nothing is left over. STR and
/// PRIORITY are hints. An empty list copies nothing.
///
/// # Errors
/// * 5/1A/00: the list ends before its descriptors do, they are longer than MAXIMUM DESCRIPTOR LIST LENGTH, the list
///   of CSCD descriptors is not a whole number of them, or there is inline data.
/// * 5/26/00: a field has a value that is not supported; 5/26/06 to 5/26/09: too many descriptors, or of another type.
/// * A/0D/02: a segment's source or destination is not this unit. A/0D/03: it is described as another kind of device.
pub fn parse(list: &[u8], own: &[u8; 16], block_size: BlockSize) -> Result<Copy, Rejected> {
    if list.is_empty() {
        return Ok(Copy { list_id: None, segments: Vec::new() });
    }
    let header: [u8; HEADER] = bytes(list, 0)?;
    let list_id = list_id(&header)?;
    let cscd_length = usize::from(be16(&header, 2)?);
    let segment_length = length(be32(&header, 8)?)?;
    if !cscd_length.is_multiple_of(CSCD) {
        return Err(Rejected::at(Sense::PARAMETER_LIST_LENGTH_ERROR, 2));
    }
    let most = length(MAX_DESCRIPTOR_LIST_LENGTH)?;
    let both = cscd_length.checked_add(segment_length).filter(|&both| both <= most);
    let both = both.ok_or(Rejected::at(Sense::PARAMETER_LIST_LENGTH_ERROR, 8))?;
    if cscd_length / CSCD > usize::from(MAX_CSCD_DESCRIPTORS) {
        return Err(Rejected::at(Sense::TOO_MANY_TARGET_DESCRIPTORS, 2));
    }
    // INLINE DATA LENGTH: RECEIVE COPY OPERATING PARAMETERS says that none is taken.
    if be32(&header, 12)? != 0 {
        return Err(Rejected::at(Sense::PARAMETER_LIST_LENGTH_ERROR, 12));
    }
    // Descriptors behind the end of the list are not there: nothing below looks further than these bytes.
    let list = list.get(..HEADER + both).ok_or(Rejected::TRUNCATED)?;

    let segments_at = HEADER + cscd_length;
    let mut devices = [None; MAX_CSCD_DESCRIPTORS as usize];
    for (device, at) in devices.iter_mut().zip((HEADER..segments_at).step_by(CSCD)) {
        *device = Some(cscd(list, at, own, block_size)?);
    }
    Ok(Copy { list_id, segments: segments(list, segments_at, &devices)? })
}

/// LIST IDENTIFIER and LIST ID USAGE.
fn list_id(header: &[u8; HEADER]) -> Result<Option<u8>, Rejected> {
    match ((header[1] >> 3) & 0x03, header[0]) {
        (0b00 | 0b10, id) => Ok(Some(id)),
        (0b11, 0) => Ok(None),
        (0b11, _) => Err(Rejected::field(0)),
        _ => Err(Rejected::bit(1, 4)),
    }
}

/// The sense data with which a segment ends that has this source or destination; `Ok` if it is this unit.
type Device = Result<(), Sense>;

/// Checks the CSCD descriptor at `at`.
fn cscd(list: &[u8], at: usize, own: &[u8; 16], block_size: BlockSize) -> Result<Device, Rejected> {
    let descriptor: [u8; CSCD] = bytes(list, at)?;
    if descriptor[0] != IDENTIFICATION {
        return Err(Rejected::at(Sense::UNSUPPORTED_TARGET_DESCRIPTOR, at));
    }
    // LU ID TYPE: a logical unit number. In SPC-3, to which INQUIRY claims to conform, there is no other.
    if descriptor[1] & 0xc0 != 0 {
        return Err(Rejected::bit(at + 1, 7));
    }
    // NUL: no device at all.
    if descriptor[1] & 0x20 != 0 {
        return Ok(Err(Sense::COPY_TARGET_NOT_REACHABLE));
    }
    // A designator of 16 binary bytes: NAA 6h, of the logical unit.
    if descriptor[4] & 0x0f != 0x01 {
        return Err(Rejected::bit(at + 4, 3)); // CODE SET
    }
    if descriptor[5] & 0x30 != 0 {
        return Err(Rejected::bit(at + 5, 5)); // ASSOCIATION
    }
    if descriptor[5] & 0x0f != 0x03 {
        return Err(Rejected::bit(at + 5, 3)); // DESIGNATOR TYPE
    }
    if descriptor[7] != 16 {
        return Err(Rejected::field(at + 7)); // DESIGNATOR LENGTH
    }
    if descriptor[8] >> 4 != 0x6 {
        return Err(Rejected::bit(at + 8, 7)); // NAA
    }
    if &descriptor[8..24] != own {
        return Ok(Err(Sense::COPY_TARGET_NOT_REACHABLE));
    }
    // PERIPHERAL DEVICE TYPE and DISK BLOCK LENGTH.
    let told = u32::from_be_bytes([0, descriptor[29], descriptor[30], descriptor[31]]);
    if descriptor[1] & 0x1f != 0 || told != block_size.get() {
        return Ok(Err(Sense::INCORRECT_COPY_TARGET_TYPE));
    }
    Ok(Ok(()))
}

/// Reads the segment descriptors from `at` to the end of the list.
fn segments(list: &[u8], mut at: usize, devices: &[Option<Device>]) -> Result<Vec<Segment>, Rejected> {
    let mut segments = Vec::new();
    while at < list.len() {
        if segments.len() >= usize::from(MAX_SEGMENT_DESCRIPTORS) {
            return Err(Rejected::at(Sense::TOO_MANY_SEGMENT_DESCRIPTORS, 8));
        }
        if byte(list, at)? != BLOCK_TO_BLOCK {
            return Err(Rejected::at(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR, at));
        }
        if be16(list, at + 2)? != SEGMENT_BODY {
            return Err(Rejected::field(at + 2)); // DESCRIPTOR LENGTH
        }
        let next = at + SEGMENT_HEADER + usize::from(SEGMENT_BODY);
        if next > list.len() {
            return Err(Rejected::TRUNCATED);
        }
        for index in [be16(list, at + 4)?, be16(list, at + 6)?] {
            // An index that no CSCD descriptor has leads nowhere.
            let device = devices.get(usize::from(index)).copied().flatten();
            device.unwrap_or(Err(Sense::COPY_TARGET_NOT_REACHABLE)).map_err(Rejected::new)?;
        }
        segments.push(Segment {
            source: Lba(be64(list, at + 12)?),
            destination: Lba(be64(list, at + 20)?),
            blocks: Blocks(u64::from(be16(list, at + 10)?)),
        });
        at = next;
    }
    Ok(segments)
}

#[cfg(test)]
mod tests;
