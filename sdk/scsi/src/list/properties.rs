//! Properties that hold for every sequence of bytes.

use proptest::prelude::*;

use super::*;
use crate::copy_results::{MAX_CSCD_DESCRIPTORS, MAX_SEGMENT_DESCRIPTORS};
use crate::logical_unit::{Changeable, Geometry, Identity, LogicalUnit};
use crate::units::{BlockSize, Bytes};

const OWN: [u8; 16] = [0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn unit() -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    let mut unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    unit.characteristics.changeable =
        Changeable { write_cache: true, software_write_protect: true, descriptor_sense: true };
    unit
}

/// A good list, with which a parser gets far.
fn seeds() -> Vec<Vec<u8>> {
    let unit = unit();
    let pages: Vec<u8> = [0x01, 0x08, 0x0a, 0x1c]
        .iter()
        .filter_map(|&code| crate::mode::current_page(code, 0, &unit))
        .flatten()
        .collect();
    let mut copy = vec![0; 16];
    (copy[1], copy[3], copy[11]) = (0x18, 32, 28);
    copy.extend_from_slice(&[0xe4, 0, 0, 0, 1, 3, 0, 16]);
    copy.extend_from_slice(&OWN);
    copy.extend_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0]);
    copy.extend_from_slice(&[2, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 1]);
    copy.extend_from_slice(&[0; 16]);
    vec![
        vec![],
        copy,
        [&[0, 0, 0, 0][..], &pages].concat(),
        [&[0; 8][..], &pages].concat(),
        [&[0, 0, 0, 0, 1, 0, 0, 16][..], &[0xff; 8], &[0, 0, 0, 0, 0, 0, 2, 0], &pages].concat(),
        [&[0, 38, 0, 32, 0, 0, 0, 0][..], &[1; 32]].concat(),
        vec![0, 0x8a, 0, 0, 0, 1, 0, 3, 1, 2, 3],
        vec![0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2],
    ]
}

/// Arbitrary bytes, and good lists with some bytes changed, cut or with more behind them.
fn lists() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        proptest::sample::select(seeds()),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut list, changes, more, end, cut)| {
            for (at, byte) in changes {
                if !list.is_empty() {
                    let at = at.index(list.len());
                    list[at] = byte;
                }
            }
            if cut {
                list.truncate(end.index(list.len() + 1));
            } else {
                list.extend(more);
            }
            list
        });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..300), 3 => changed]
}

/// What every refusal of a list looks like.
fn check(rejected: Rejected, list: &[u8]) -> Result<(), TestCaseError> {
    let codes = [
        Sense::PARAMETER_LIST_LENGTH_ERROR,
        Sense::INVALID_FIELD_IN_PARAMETER_LIST,
        Sense::TOO_MANY_TARGET_DESCRIPTORS,
        Sense::UNSUPPORTED_TARGET_DESCRIPTOR,
        Sense::TOO_MANY_SEGMENT_DESCRIPTORS,
        Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR,
        Sense::COPY_TARGET_NOT_REACHABLE,
        Sense::INCORRECT_COPY_TARGET_TYPE,
    ];
    prop_assert!(codes.contains(&rejected.sense), "{:?}", rejected);
    if let Some(field) = rejected.field {
        prop_assert!(!field.in_cdb);
        prop_assert!(usize::from(field.byte) < list.len(), "pointer outside: {rejected:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn no_list_makes_a_parser_panic_or_look_behind_its_end(
        list in lists(),
        behind in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let unit = unit();
        match unmap::parse(&list) {
            Ok(descriptors) => prop_assert!(descriptors.len() * 16 <= list.len()),
            Err(rejected) => check(rejected, &list)?,
        }
        match target_port_groups::parse(&list) {
            Ok(descriptors) => prop_assert_eq!(descriptors.len(), list.len().saturating_sub(4) / 4),
            Err(rejected) => check(rejected, &list)?,
        }
        for ten in [false, true] {
            if let Err(rejected) = mode_select::parse(&list, ten, &unit) {
                check(rejected, &list)?;
            }
        }
        for long in [false, true] {
            match format::parse(&list, long, BlockSize::B512) {
                Ok(format) => {
                    if let Some(pattern) = &format.pattern {
                        prop_assert!((1..=512).contains(&pattern.len()));
                    }
                    // The list says where it ends.
                    let more = [&list[..], &behind].concat();
                    prop_assert_eq!(format::parse(&more, long, BlockSize::B512), Ok(format));
                }
                Err(rejected) => check(rejected, &list)?,
            }
        }
        match extended_copy::parse(&list, &OWN, BlockSize::B512) {
            Ok(copy) => {
                prop_assert!(copy.segments.len() <= usize::from(MAX_SEGMENT_DESCRIPTORS));
                if !copy.segments.is_empty() {
                    prop_assert!(list.windows(16).any(|name| name == OWN), "a copy without this unit's name");
                }
                let devices = list.get(2..4).map_or(0, |length| u16::from_be_bytes([length[0], length[1]]));
                prop_assert!(devices <= 32 * MAX_CSCD_DESCRIPTORS);
            }
            Err(rejected) => check(rejected, &list)?,
        }
    }

    #[test]
    fn unmap_descriptors_survive_encoding(sent in prop::collection::vec((any::<u64>(), any::<u32>()), 0..40)) {
        let length = u16::try_from(16 * sent.len()).unwrap();
        let mut list = (length + 6).to_be_bytes().to_vec();
        list.extend_from_slice(&length.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
        for (lba, blocks) in &sent {
            list.extend_from_slice(&lba.to_be_bytes());
            list.extend_from_slice(&blocks.to_be_bytes());
            list.extend_from_slice(&[0; 4]);
        }
        let parsed: Vec<_> = unmap::parse(&list).unwrap().map(|(lba, blocks)| (lba.0, blocks.0)).collect();
        let sent: Vec<_> = sent.into_iter().map(|(lba, blocks)| (lba, u64::from(blocks))).collect();
        prop_assert_eq!(parsed, sent);
    }
}
