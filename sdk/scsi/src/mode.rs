//! MODE SENSE parameter data (SPC-5, mode parameters; SBC-4, mode parameters for direct access block devices).
//!
//! Nothing can be saved. What MODE SELECT may change is what [`Changeable`](crate::Changeable) says.

mod pages;

use crate::command::{ModeSense, PageControl};
use crate::logical_unit::{Geometry, LogicalUnit};
use crate::sense::Sense;
use pages::{PAGES, Page, Values};

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
    let values = match request.control {
        PageControl::Current => Values::Current,
        PageControl::Changeable => Values::Changeable,
        PageControl::Default => Values::Default,
        PageControl::Saved => return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED),
    };
    let wanted = |page: &Page| {
        (request.page == ALL_PAGES || request.page == page.code)
            // Of single pages any subpage may be wanted, of all of them these two values alone.
            && match request.subpage {
                ALL_SUBPAGES => true,
                subpage => subpage == page.subpage && (subpage == 0 || request.page != ALL_PAGES),
            }
            && page.exists(unit)
    };
    if !PAGES.iter().any(wanted) {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }

    let start = out.len();
    // The length at the front is known at the end.
    out.resize(start + if request.ten { 8 } else { 4 }, 0);
    let descriptor = block_descriptor(request, &unit.geometry, out);
    for page in PAGES.iter().filter(|page| wanted(page)) {
        page.append(values, unit, out);
    }
    let total = out.len() - start;
    if let Err(sense) = header(request, unit, descriptor, total, &mut out[start..]) {
        out.truncate(start);
        return Err(sense);
    }
    Ok(())
}

/// The unit has a page with this PAGE CODE, or it asks for all.
pub(crate) fn has_page(code: u8, unit: &LogicalUnit) -> bool {
    code == ALL_PAGES || PAGES.iter().any(|page| page.code == code && page.exists(unit))
}

/// The values of a page that are in force: the whole page as MODE SENSE shows it, its header included. `subpage` is
/// 00h for a page without. `None` if the unit has no such page.
#[must_use]
pub fn current_page(code: u8, subpage: u8, unit: &LogicalUnit) -> Option<Vec<u8>> {
    single_page(code, subpage, Values::Current, unit)
}

/// The bits of a page that MODE SELECT may change are set; its header and length are those of [`current_page`].
/// `None` if the unit has no such page.
#[must_use]
pub fn changeable_page(code: u8, subpage: u8, unit: &LogicalUnit) -> Option<Vec<u8>> {
    single_page(code, subpage, Values::Changeable, unit)
}

fn single_page(code: u8, subpage: u8, values: Values, unit: &LogicalUnit) -> Option<Vec<u8>> {
    let page = PAGES.iter().find(|page| (page.code, page.subpage) == (code, subpage))?;
    let mut out = Vec::new();
    page.exists(unit).then(|| page.append(values, unit, &mut out))?;
    Some(out)
}

/// Fills in the mode parameter header. `total` counts it in, MODE DATA LENGTH does not count itself.
fn header(
    request: &ModeSense,
    unit: &LogicalUnit,
    descriptor: u8,
    total: usize,
    data: &mut [u8],
) -> Result<(), Sense> {
    // MEDIUM TYPE is 00h. DEVICE-SPECIFIC PARAMETER: WP and DPOFUA (SBC-4).
    let write_protected = unit.write_protection().is_some();
    let specific =
        if write_protected { 0x80 } else { 0 } | if unit.characteristics.dpo_fua { 0x10 } else { 0 };
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

#[cfg(test)]
mod tests;
