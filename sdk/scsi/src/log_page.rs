//! LOG SENSE parameter data (SPC-5, log parameters; SBC-4, log parameters for direct access block devices).
//!
//! No page holds counters: its parameters are lists, for which PC has no meaning (SPC-5 7.3.2.2.2). Nothing is
//! saved.

use crate::logical_unit::{LogicalUnit, ThinSpace};
use crate::sense::Sense;

/// A page: PAGE CODE, SUBPAGE CODE and whether the unit has it.
type Page = (u8, u8, fn(&LogicalUnit) -> bool);

const SUPPORTED_PAGES: (u8, u8) = (0x00, 0x00);
const SUPPORTED_PAGES_AND_SUBPAGES: (u8, u8) = (0x00, 0xff);
const LOGICAL_BLOCK_PROVISIONING: (u8, u8) = (0x0c, 0x00);

/// Every page in ascending order.
const PAGES: &[Page] = &[
    (SUPPORTED_PAGES.0, SUPPORTED_PAGES.1, |_| true),
    (SUPPORTED_PAGES_AND_SUBPAGES.0, SUPPORTED_PAGES_AND_SUBPAGES.1, |_| true),
    (LOGICAL_BLOCK_PROVISIONING.0, LOGICAL_BLOCK_PROVISIONING.1, |unit| unit.thin_space().is_some()),
];

/// Appends the log page `page`/`subpage`, its parameters from the code `parameter_pointer` on. The caller cuts to
/// the allocation length.
///
/// # Errors
/// The sense data to answer with, 5/24/00, if the unit has no such page, or the page no such parameter nor one
/// behind it; `out` is left as it was.
pub fn log_sense(
    page: u8,
    subpage: u8,
    parameter_pointer: u16,
    unit: &LogicalUnit,
    out: &mut Vec<u8>,
) -> Result<(), Sense> {
    let mut body = Vec::new();
    let header = match (page, subpage) {
        SUPPORTED_PAGES => {
            // Those without subpages: each as one byte.
            body.extend(existing(unit).filter(|(_, subpage)| *subpage == 0).map(|(page, _)| page));
            [0x00, 0x00]
        }
        SUPPORTED_PAGES_AND_SUBPAGES => {
            body.extend(existing(unit).flat_map(|(page, subpage)| [page, subpage]));
            [0x40, 0xff] // SPF
        }
        LOGICAL_BLOCK_PROVISIONING => {
            let space = unit.thin_space().ok_or(Sense::INVALID_FIELD_IN_CDB)?;
            provisioning(space, unit, parameter_pointer, &mut body)?;
            [0x8c, 0x00] // DS: not saved
        }
        _ => return Err(Sense::INVALID_FIELD_IN_CDB),
    };
    if page == 0x00 && parameter_pointer != 0 {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    let length = u16::try_from(body.len()).expect("the longest page has two parameters");
    out.extend_from_slice(&header);
    out.extend_from_slice(&length.to_be_bytes());
    out.append(&mut body);
    Ok(())
}

/// The SUBPAGE CODEs that the unit has of a page.
pub(crate) fn subpages(page: u8, unit: &LogicalUnit) -> Vec<u8> {
    existing(unit).filter(|(own, _)| *own == page).map(|(_, subpage)| subpage).collect()
}

fn existing(unit: &LogicalUnit) -> impl Iterator<Item = (u8, u8)> {
    PAGES.iter().filter(|(_, _, exists)| exists(unit)).map(|(page, subpage, _)| (*page, *subpage))
}

/// SCOPE: the room is the unit's own.
const DEDICATED: u8 = 0b01;
/// SCOPE: others may take the room as well.
const PERHAPS_SHARED: u8 = 0b10;

/// Logical block provisioning log page (SBC-4 6.4.5): available and used LBA mapping resources, in threshold sets.
fn provisioning(space: &ThinSpace, unit: &LogicalUnit, from: u16, out: &mut Vec<u8>) -> Result<(), Sense> {
    let parameters = [
        (0x0001_u16, unit.geometry.whole_threshold_sets(space.available), PERHAPS_SHARED),
        (0x0002, unit.geometry.touched_threshold_sets(space.used), DEDICATED),
    ];
    for (code, count, scope) in parameters.into_iter().filter(|(code, _, _)| *code >= from) {
        out.extend_from_slice(&code.to_be_bytes());
        // FORMAT AND LINKING 11b: a binary list parameter. PARAMETER LENGTH.
        out.extend_from_slice(&[0x03, 8]);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&[scope, 0, 0, 0]);
    }
    if out.is_empty() { Err(Sense::INVALID_FIELD_IN_CDB) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical_unit::{Geometry, Identity, Provisioning, Unmap, WriteSame};
    use crate::units::{BlockSize, Bytes};

    fn thick() -> LogicalUnit {
        LogicalUnit::new(Identity::tcmu("x"), Geometry::new(Bytes(1 << 30), BlockSize::B512).unwrap())
    }

    fn thin() -> LogicalUnit {
        let mut unit = thick();
        unit.characteristics.unmap = Some(Unmap {
            max_blocks: 1,
            max_descriptors: 1,
            granularity: 0,
            alignment: None,
            reads_zeroes: true,
            write_same: WriteSame::None,
            provisioning: Provisioning::Thin,
        });
        unit.space =
            Some(ThinSpace { available: Bytes((5 << 20) + 1), used: Bytes((2 << 20) + 1), threshold: None });
        unit
    }

    fn build(page: u8, subpage: u8, pointer: u16, unit: &LogicalUnit) -> Result<Vec<u8>, Sense> {
        let mut out = vec![0xee];
        let result = log_sense(page, subpage, pointer, unit, &mut out);
        assert_eq!(out.remove(0), 0xee, "what stood before is kept");
        match result {
            Ok(()) => {
                let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
                assert_eq!(out.len(), 4 + length, "PAGE LENGTH");
                Ok(out)
            }
            Err(sense) => {
                assert_eq!(out, [], "a refusal appends nothing");
                Err(sense)
            }
        }
    }

    #[test]
    fn the_lists_name_exactly_what_there_is() {
        assert_eq!(build(0, 0, 0, &thick()), Ok(vec![0, 0, 0, 1, 0x00]));
        assert_eq!(build(0, 0, 0, &thin()), Ok(vec![0, 0, 0, 2, 0x00, 0x0c]));
        assert_eq!(build(0, 0xff, 0, &thick()), Ok(vec![0x40, 0xff, 0, 4, 0, 0, 0, 0xff]));
        let all = build(0, 0xff, 0, &thin()).unwrap();
        assert_eq!(all, [0x40, 0xff, 0, 6, 0, 0, 0, 0xff, 0x0c, 0]);
        for unit in [thick(), thin()] {
            let listed = build(0, 0xff, 0, &unit).unwrap();
            for page in 0..0x40 {
                for subpage in 0..=0xff {
                    let exists = listed[4..].chunks(2).any(|entry| entry == [page, subpage]);
                    let answer = build(page, subpage, 0, &unit);
                    assert_eq!(answer.is_ok(), exists, "{page:02X}h/{subpage:02X}h");
                }
            }
        }
    }

    #[test]
    fn provisioning_counts_threshold_sets() {
        let expected =
            [[0, 1, 0x03, 8, 0, 0, 0, 5, 0b10, 0, 0, 0], [0, 2, 0x03, 8, 0, 0, 0, 3, 0b01, 0, 0, 0]];
        let page = build(0x0c, 0, 0, &thin()).unwrap();
        assert_eq!(page[..4], [0x8c, 0, 0, 24]);
        assert_eq!(page[4..], expected.concat());
        assert_eq!(build(0x0c, 0, 1, &thin()), Ok(page));
    }

    #[test]
    fn the_parameter_pointer_skips_what_is_before_it() {
        let page = build(0x0c, 0, 2, &thin()).unwrap();
        assert_eq!(page, [0x8c, 0, 0, 12, 0, 2, 0x03, 8, 0, 0, 0, 3, 0b01, 0, 0, 0]);
        for (page, subpage, pointer) in [(0x0c, 0, 3), (0x0c, 0, 0xffff), (0, 0, 1), (0, 0xff, 1)] {
            assert_eq!(build(page, subpage, pointer, &thin()), Err(Sense::INVALID_FIELD_IN_CDB));
        }
    }
}
