//! REPORT LUNS (SPC-5 6.33), which the target core answers for all of its LUNs.

use lunbox_scsi::Sense;

use crate::pdu::header::Lun;

/// SELECT REPORT.
mod select {
    /// Addressing methods of ordinary LUNs.
    pub(super) const ORDINARY: u8 = 0x00;
    /// Well known logical units only.
    pub(super) const WELL_KNOWN: u8 = 0x01;
    /// All.
    pub(super) const ALL: u8 = 0x02;
}

/// The REPORT LUNS well known logical unit (SAM-5 4.7.5).
pub(crate) const WELL_KNOWN_LUN: [u8; 8] = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];

/// Appends the parameter data for `count` LUNs, numbered from 0, cut to the allocation length.
///
/// # Errors
/// 5/24/00 for a CDB that is too short or a SELECT REPORT that is not supported. Unlike in SPC-3, an allocation length
/// below 16 is no error (SPC-4 6.33 and 4.2.5.6).
pub(crate) fn report(cdb: &[u8], count: u16, into: &mut Vec<u8>) -> Result<(), Sense> {
    let (Some(&selection), Some(&[a, b, c, d])) =
        (cdb.get(2), cdb.get(6..10).and_then(|at| at.first_chunk()))
    else {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    };
    let allocation = u32::from_be_bytes([a, b, c, d]);
    let (ordinary, well_known) = match selection {
        select::ORDINARY => (count, false),
        select::WELL_KNOWN => (0, true),
        select::ALL => (count, true),
        _ => return Err(Sense::INVALID_FIELD_IN_CDB),
    };
    let start = into.len();
    let entries = u32::from(ordinary) + u32::from(well_known);
    into.extend_from_slice(&(entries * 8).to_be_bytes());
    into.extend_from_slice(&[0; 4]);
    for lun in 0..ordinary {
        into.extend_from_slice(&Lun::from_number(lun).unwrap_or_default().0);
    }
    if well_known {
        into.extend_from_slice(&WELL_KNOWN_LUN);
    }
    into.truncate(start + usize::try_from(allocation).unwrap_or(usize::MAX).min(into.len() - start));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdb(selection: u8, allocation: u32) -> [u8; 12] {
        let [a, b, c, d] = allocation.to_be_bytes();
        [0xa0, 0, selection, 0, 0, 0, a, b, c, d, 0, 0]
    }

    fn asked(selection: u8, allocation: u32, count: u16) -> Vec<u8> {
        let mut data = Vec::new();
        report(&cdb(selection, allocation), count, &mut data).unwrap();
        data
    }

    #[test]
    fn lists_luns_by_kind() {
        assert_eq!(
            asked(0, 255, 2),
            [&[0, 0, 0, 16, 0, 0, 0, 0][..], &[0; 8], &[0, 1, 0, 0, 0, 0, 0, 0]].concat()
        );
        assert_eq!(asked(1, 255, 2), [&[0, 0, 0, 8, 0, 0, 0, 0][..], &WELL_KNOWN_LUN].concat());
        assert_eq!(asked(2, 255, 1), [&[0, 0, 0, 16, 0, 0, 0, 0][..], &[0; 8], &WELL_KNOWN_LUN].concat());
    }

    #[test]
    fn the_length_tells_all_although_the_list_is_cut() {
        assert_eq!(asked(0, 16, 3), [0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn short_allocation_lengths_cut_the_answer() {
        assert_eq!(asked(0, 15, 3), [0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(asked(0, 4, 3), [0, 0, 0, 24]);
        assert_eq!(asked(0, 0, 3), []);
    }

    #[test]
    fn numbers_above_255_are_flat() {
        let data = asked(0, 1 << 20, 258);
        assert_eq!(data[8 + 257 * 8..], [0x41, 0x01, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for (selection, allocation) in [(3, 64), (0x10, 64)] {
            let refused = report(&cdb(selection, allocation), 1, &mut Vec::new());
            assert_eq!(refused, Err(Sense::INVALID_FIELD_IN_CDB), "{selection} {allocation}");
        }
        assert_eq!(report(&[0xa0; 6], 1, &mut Vec::new()), Err(Sense::INVALID_FIELD_IN_CDB));
    }
}
