//! Vital product data pages (SPC-5 and SBC-4, clauses on VPD parameters).

mod device_identification;

use crate::inquiry::printable;
use crate::logical_unit::{LogicalUnit, Provisioning, WriteSame};
use crate::sense::Sense;
use crate::units::Blocks;

/// Appends what stands behind the four bytes of a page header.
type Body = fn(&LogicalUnit, &mut Vec<u8>);

/// Every page in ascending order; page 00h lists them.
const PAGES: &[(u8, Body)] = &[
    (0x00, supported_pages),
    (0x80, unit_serial_number),
    (0x83, device_identification::designators),
    (0xb0, block_limits),
    (0xb1, block_device_characteristics),
    (0xb2, logical_block_provisioning),
];

/// Appends the VPD page `code` to `out`. The caller cuts to the allocation length.
///
/// # Errors
/// The sense data to answer with, 5/24/00, if there is no such page; `out` is left as it was.
pub fn page(code: u8, unit: &LogicalUnit, out: &mut Vec<u8>) -> Result<(), Sense> {
    let (_, body) = PAGES.iter().find(|(own, _)| *own == code).ok_or(Sense::INVALID_FIELD_IN_CDB)?;
    let start = out.len();
    // Peripheral connected, type 00h.
    out.extend_from_slice(&[0x00, code, 0, 0]);
    body(unit, out);
    let length =
        u16::try_from(out.len() - start - 4).expect("the longest page is 83h with less than 300 bytes");
    out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn supported_pages(_: &LogicalUnit, out: &mut Vec<u8>) {
    out.extend(PAGES.iter().map(|(code, _)| code));
}

/// Longest serial number shown in bytes: with its NUL it fills a length field of one byte, which is what
/// initiators up to SPC-3 read. The kernel's `vpd_unit_serial` holds no more either.
const MAX_SERIAL: usize = 254;

/// The serial number with a NUL behind it, as tcmu-runner shows it: SPC-5 4.3.1 permits the NUL in ASCII fields,
/// and whoever compares pages sees the same LUN after a migration.
fn unit_serial_number(unit: &LogicalUnit, out: &mut Vec<u8>) {
    out.extend(printable(&unit.identity.serial).take(MAX_SERIAL));
    out.push(0);
}

fn block_limits(unit: &LogicalUnit, out: &mut Vec<u8>) {
    let own = &unit.characteristics;
    // Fields by their offset in the page, header included.
    let mut page = [0; 64];
    page[4] = 0x01; // WSNZ: WRITE SAME of 0 blocks does not mean "all"
    page[5] = own.max_compare_and_write;
    page[6..8].copy_from_slice(&own.optimal_granularity.to_be_bytes());
    page[8..12].copy_from_slice(&saturated(own.max_transfer).to_be_bytes());
    page[12..16].copy_from_slice(&saturated(own.optimal_transfer).to_be_bytes());
    if let Some(unmap) = own.unmap {
        page[20..24].copy_from_slice(&unmap.max_blocks.to_be_bytes());
        page[24..28].copy_from_slice(&unmap.max_descriptors.to_be_bytes());
        page[28..32].copy_from_slice(&unmap.granularity.to_be_bytes());
        if let Some(alignment) = unmap.alignment {
            let valid = 1 << 31; // UGAVALID
            page[32..36].copy_from_slice(&(valid | alignment).to_be_bytes());
        }
    }
    page[36..44].copy_from_slice(&own.max_write_same.0.to_be_bytes());
    out.extend_from_slice(&page[4..]);
}

/// A count in a field of 32 bits. A larger limit is no limit for commands whose own length has 32 bits.
fn saturated(count: Blocks) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

fn block_device_characteristics(unit: &LogicalUnit, out: &mut Vec<u8>) {
    let mut page = [0; 64];
    // MEDIUM ROTATION RATE: 1 does not rotate, 0 is not reported.
    page[5] = u8::from(unit.characteristics.solid_state);
    out.extend_from_slice(&page[4..]);
}

fn logical_block_provisioning(unit: &LogicalUnit, out: &mut Vec<u8>) {
    // THRESHOLD EXPONENT 0: no thresholds.
    let mut body = [0; 4];
    if let Some(unmap) = unit.characteristics.unmap {
        body[1] = 0x80; // LBPU
        body[1] |= match unmap.write_same {
            WriteSame::None => 0,
            WriteSame::Sixteen => 0x40,
            WriteSame::TenAndSixteen => 0x60,
        };
        body[1] |= if unmap.reads_zeroes { 0x04 } else { 0 };
        body[2] = match unmap.provisioning {
            Provisioning::NotReported => 0,
            Provisioning::Resource => 1,
            Provisioning::Thin => 2,
        };
    }
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests;
