//! MODE SENSE parameter data (SPC-5, mode parameters; SBC-4, mode parameters for direct access block devices).
//!
//! There is no MODE SELECT: nothing is changeable, nothing can be saved, and the default values are those in
//! force.

use crate::command::{ModeSense, PageControl};
use crate::logical_unit::{Characteristics, Geometry, LogicalUnit};
use crate::sense::Sense;

/// Appends the body of a page: what stands behind PAGE CODE and PAGE LENGTH.
type Body = fn(&Characteristics, &mut Vec<u8>);

/// Every page in ascending order. None has subpages.
const PAGES: &[(u8, Body)] = &[(0x01, error_recovery), (0x08, caching), (0x0a, control)];

/// PAGE CODE that asks for all pages.
const ALL_PAGES: u8 = 0x3f;
/// SUBPAGE CODE that asks for all subpages; 00h stands for the page itself.
const ALL_SUBPAGES: u8 = 0xff;

/// Appends the answer to a MODE SENSE to `out`: header, block descriptor, pages. The caller cuts to the
/// allocation length; MODE DATA LENGTH is that of the uncut data, as SPC-5 asks.
///
/// # Errors
/// The sense data to answer with: 5/39/00 for saved values, 5/24/00 for a page or subpage that does not exist
/// and for data that is too long for MODE SENSE (6). `out` is left as it was.
pub fn mode_sense(request: &ModeSense, unit: &LogicalUnit, out: &mut Vec<u8>) -> Result<(), Sense> {
    if request.control == PageControl::Saved {
        return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED);
    }
    let wanted = |code: u8| request.page == ALL_PAGES || request.page == code;
    let subpage_exists = request.subpage == 0 || request.subpage == ALL_SUBPAGES;
    if !subpage_exists || !PAGES.iter().any(|(code, _)| wanted(*code)) {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }

    let start = out.len();
    // The length at the front is known at the end.
    out.resize(start + if request.ten { 8 } else { 4 }, 0);
    let descriptor = block_descriptor(request, &unit.geometry, out);
    for (code, body) in PAGES.iter().filter(|(code, _)| wanted(*code)) {
        page(*code, *body, request.control, &unit.characteristics, out);
    }
    let total = out.len() - start;
    if let Err(sense) = header(request, &unit.characteristics, descriptor, total, &mut out[start..]) {
        out.truncate(start);
        return Err(sense);
    }
    Ok(())
}

/// Fills in the mode parameter header. `total` counts it in, MODE DATA LENGTH does not count itself.
fn header(
    request: &ModeSense,
    own: &Characteristics,
    descriptor: u8,
    total: usize,
    data: &mut [u8],
) -> Result<(), Sense> {
    // MEDIUM TYPE is 00h. DEVICE-SPECIFIC PARAMETER: WP and DPOFUA (SBC-4).
    let specific = if own.write_protected { 0x80 } else { 0 } | if own.dpo_fua { 0x10 } else { 0 };
    if request.ten {
        let length = u16::try_from(total - 2).map_err(|_| Sense::INVALID_FIELD_IN_CDB)?;
        data[..2].copy_from_slice(&length.to_be_bytes());
        data[3] = specific;
        data[4] = u8::from(request.llbaa && descriptor != 0); // LONGLBA
        data[7] = descriptor;
    } else {
        data[0] = u8::try_from(total - 1).map_err(|_| Sense::INVALID_FIELD_IN_CDB)?;
        data[2] = specific;
        data[3] = descriptor;
    }
    Ok(())
}

/// Appends the block descriptor that the request permits and tells its length in bytes: 0, 8 or 16.
fn block_descriptor(request: &ModeSense, geometry: &Geometry, out: &mut Vec<u8>) -> u8 {
    let length = geometry.block_size().get().to_be_bytes();
    let count = geometry.capacity().0;
    if request.dbd {
        0
    } else if request.llbaa {
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length);
        16
    } else {
        // More blocks than 32 bits hold are shown as FFFFFFFFh. BlockSize fits three bytes.
        out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&[0, length[1], length[2], length[3]]);
        8
    }
}

fn page(code: u8, body: Body, control: PageControl, own: &Characteristics, out: &mut Vec<u8>) {
    out.extend_from_slice(&[code, 0]);
    let start = out.len();
    body(own, out);
    if control == PageControl::Changeable {
        // A mask: nothing may be changed.
        out[start..].fill(0);
    }
    out[start - 1] = u8::try_from(out.len() - start).expect("the longest page is caching with 18 bytes");
}

/// Read-write error recovery page: no retries to steer, nothing reported.
fn error_recovery(_: &Characteristics, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 10]);
}

/// Caching page: WCE.
fn caching(own: &Characteristics, out: &mut Vec<u8>) {
    let mut body = [0; 18];
    body[0] = if own.write_cache { 0x04 } else { 0 };
    out.extend_from_slice(&body);
}

/// Control page.
fn control(own: &Characteristics, out: &mut Vec<u8>) {
    let mut body = [0; 10];
    body[0] = 0x02; // GLTSD: log parameters are not saved
    body[0] |= if own.descriptor_sense { 0x04 } else { 0 }; // D_SENSE
    body[1] = 0x10; // QUEUE ALGORITHM MODIFIER: commands run side by side and end in any order
    body[3] = 0x40; // TAS: the kernel's target core answers aborted commands with TASK ABORTED
    body[6..8].fill(0xff); // BUSY TIMEOUT PERIOD: unlimited
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests;
