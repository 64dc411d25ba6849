//! Vital product data pages (SPC-5 and SBC-4, clauses on VPD parameters).

mod device_identification;
mod scsi_ports;

pub use device_identification::naa_designator;

use crate::inquiry::printable;
use crate::logical_unit::{LogicalUnit, Provisioning, WriteSame};
use crate::sense::{SENSE_BUFFER_LENGTH, Sense};
use crate::units::Blocks;

/// Appends what stands behind the four bytes of a page header.
type Body = fn(&LogicalUnit, &mut Vec<u8>);
/// A page: PAGE CODE, what it says and whether the unit has it.
type Page = (u8, Body, fn(&LogicalUnit) -> bool);

/// Every page in ascending order; page 00h lists those that exist.
const PAGES: &[Page] = &[
    (0x00, supported_pages, always),
    (0x80, unit_serial_number, always),
    (0x83, device_identification::designators, always),
    (0x86, extended_inquiry, always),
    (0x87, mode_page_policy, always),
    (0x88, scsi_ports::ports, |unit| !unit.ports.is_empty()),
    (0xb0, block_limits, always),
    (0xb1, block_device_characteristics, always),
    (0xb2, logical_block_provisioning, always),
];

fn always(_: &LogicalUnit) -> bool {
    true
}

/// Appends the VPD page `code` to `out`. The caller cuts to the allocation length.
///
/// # Errors
/// The sense data to answer with, 5/24/00, if there is no such page; `out` is left as it was.
pub fn page(code: u8, unit: &LogicalUnit, out: &mut Vec<u8>) -> Result<(), Sense> {
    let found = PAGES.iter().find(|(own, _, exists)| *own == code && exists(unit));
    let (_, body, _) = found.ok_or(Sense::INVALID_FIELD_IN_CDB)?;
    let start = out.len();
    // Peripheral connected, type 00h.
    out.extend_from_slice(&[0x00, code, 0, 0]);
    body(unit, out);
    let length = u16::try_from(out.len() - start - 4)
        .expect("page 83h has at most five designators of 259 bytes, page 88h at most MAX_PORTS of 292");
    out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn supported_pages(unit: &LogicalUnit, out: &mut Vec<u8>) {
    out.extend(PAGES.iter().filter(|(_, _, exists)| exists(unit)).map(|(code, _, _)| code));
}

/// Extended INQUIRY data: what is not claimed here is not there.
fn extended_inquiry(unit: &LogicalUnit, out: &mut Vec<u8>) {
    let own = &unit.characteristics;
    let mut page = [0; 64];
    // SIMPSUP alone: the ring does not tell task attributes, and commands run side by side.
    page[5] = 0x01;
    // V_SUP: there is a volatile cache, or there can be one.
    page[6] = u8::from(own.write_cache || own.default_write_cache || own.changeable.write_cache);
    // MAXIMUM SUPPORTED SENSE DATA LENGTH: the kernel's buffer.
    page[13] = u8::try_from(SENSE_BUFFER_LENGTH).expect("the field's values end at 252");
    out.extend_from_slice(&page[4..]);
}

/// Mode page policy: all pages and subpages are shared by all initiators, which the ring does not tell apart.
fn mode_page_policy(_: &LogicalUnit, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x3f, 0xff, 0x00, 0]);
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
    let mut body = [0; 4];
    // THRESHOLD EXPONENT; 0: no thresholds.
    body[0] = unit.thin_space().map_or(0, |_| unit.geometry.threshold_exponent());
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
