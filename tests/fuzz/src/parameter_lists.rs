//! Hostile parameter lists. Nothing panics, nothing that is accepted lies outside of the list or goes beyond the
//! limits that the unit states, and each refusal is one of the standard's.

use lunbox_scsi::copy_results::MAX_SEGMENT_DESCRIPTORS;
use lunbox_scsi::list::{Rejected, extended_copy, format, mode_select, target_port_groups, unmap};
use lunbox_scsi::{BlockSize, Blocks, Bytes, Changeable, Geometry, Identity, LogicalUnit, Sense};

/// The unit's NAA designator.
const OWN: [u8; 16] = [0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// The first byte chooses the parser and the form of the list, the others are the list.
pub fn drive(bytes: &[u8]) {
    let [choice, list @ ..] = bytes else { return };
    let long = choice & 0x80 != 0;
    let result = match (choice & 0x7f) % 5 {
        0 => unmap::parse(list).map(|descriptors| {
            assert!(list.is_empty() || 8 + 16 * descriptors.len() <= list.len());
            assert_eq!(descriptors.len(), descriptors.count());
        }),
        1 => target_port_groups::parse(list).map(|descriptors| {
            assert_eq!(descriptors.len(), list.len().saturating_sub(4) / 4);
            assert!(descriptors.clone().all(|wanted| wanted.state < 16));
            assert_eq!(descriptors.len(), descriptors.count());
        }),
        2 => mode_select::parse(list, long, &unit(0x07)).map(|_| {
            // A unit that lets nothing be changed takes nothing but what is.
            let fixed = unit(0);
            let own = &fixed.characteristics;
            if let Ok(change) = mode_select::parse(list, long, &fixed) {
                assert_eq!(change.write_cache, own.write_cache);
                assert_eq!(change.software_write_protect, own.software_write_protected);
                assert_eq!(change.descriptor_sense, own.descriptor_sense);
            }
        }),
        3 => format::parse(list, long, BlockSize::B512).map(|format| {
            if let Some(pattern) = format.pattern {
                assert!((1..=512).contains(&pattern.len()));
                assert!(list.windows(pattern.len()).any(|part| part == pattern));
            }
        }),
        _ => extended_copy::parse(list, &OWN, BlockSize::B512).map(|copy| {
            assert!(copy.segments.len() <= usize::from(MAX_SEGMENT_DESCRIPTORS));
            assert!(copy.segments.iter().all(|segment| segment.blocks <= Blocks(0xffff)));
            // No copy without the unit's own name, so none of another unit.
            assert!(copy.segments.is_empty() || list.windows(16).any(|name| name == OWN));
        }),
    };
    if let Err(rejected) = result {
        check(rejected, list);
    }
}

fn check(rejected: Rejected, list: &[u8]) {
    let senses = [
        Sense::PARAMETER_LIST_LENGTH_ERROR,
        Sense::INVALID_FIELD_IN_PARAMETER_LIST,
        Sense::TOO_MANY_TARGET_DESCRIPTORS,
        Sense::UNSUPPORTED_TARGET_DESCRIPTOR,
        Sense::TOO_MANY_SEGMENT_DESCRIPTORS,
        Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR,
        Sense::COPY_TARGET_NOT_REACHABLE,
        Sense::INCORRECT_COPY_TARGET_TYPE,
    ];
    assert!(senses.contains(&rejected.sense), "{rejected:?}");
    if let Some(field) = rejected.field {
        assert!(!field.in_cdb && usize::from(field.byte) < list.len(), "{rejected:?}");
    }
}

/// A unit whose MODE SELECT changes what the bits say.
fn unit(changeable: u8) -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).expect("a whole number of blocks");
    let mut unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    unit.characteristics.write_cache = true;
    unit.characteristics.changeable = Changeable {
        write_cache: changeable & 1 != 0,
        software_write_protect: changeable & 2 != 0,
        descriptor_sense: changeable & 4 != 0,
    };
    unit
}
