//! The fuzz harnesses of CDBs and parameter lists on inputs of chance, near what is good.

#[path = "../../../tests/fuzz/src/parameter_lists.rs"]
mod parameter_lists;
#[path = "../../../tests/fuzz/src/scsi_cdb.rs"]
mod scsi_cdb;

use lunbox_scsi::opcode;
use proptest::prelude::*;

/// Sets some bytes and cuts or lengthens.
fn spoil(
    mut bytes: Vec<u8>,
    changes: Vec<(prop::sample::Index, u8)>,
    more: Vec<u8>,
    cut: Option<prop::sample::Index>,
) -> Vec<u8> {
    for (at, byte) in changes {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
    }
    match cut {
        Some(end) => bytes.truncate(end.index(bytes.len() + 1)),
        None => bytes.extend(more),
    }
    bytes
}

/// One of the seeds, spoilt.
fn near(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::sample::select(seeds),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        prop::collection::vec(any::<u8>(), 0..40),
        proptest::option::of(any::<prop::sample::Index>()),
    )
        .prop_map(|(seed, changes, more, cut)| spoil(seed, changes, more, cut))
}

fn cdb_seeds() -> Vec<Vec<u8>> {
    opcode::dictionary().into_iter().map(|(_, cdb)| cdb).collect()
}

/// What the harness of lists takes: good lists behind the byte that chooses their parser.
fn list_seeds() -> Vec<Vec<u8>> {
    let mut copy = vec![4, 0, 0x18, 0, 32, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0, 0xe4, 0, 0, 0, 1, 3, 0, 16];
    copy.extend_from_slice(&[0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    copy.extend_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 1]);
    copy.extend_from_slice(&[0; 16]);
    let caching = [0x08, 18, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        copy,
        [&[0, 0, 38, 0, 32, 0, 0, 0, 0][..], &[1; 32]].concat(),
        vec![1, 0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2],
        [&[2, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0][..], &caching].concat(),
        [&[0x82, 0, 0, 0, 0, 0, 0, 0, 0][..], &caching].concat(),
        vec![3, 0, 0x8a, 0, 0, 0, 1, 0, 3, 1, 2, 3],
        vec![0x83, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 1, 2, 3],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, ..ProptestConfig::default() })]

    #[test]
    fn cdbs(abilities in any::<u8>(), cdb in near(cdb_seeds())) {
        scsi_cdb::drive(&[&[abilities][..], &cdb].concat());
    }

    #[test]
    fn lists(list in near(list_seeds())) {
        parameter_lists::drive(&list);
    }

    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        scsi_cdb::drive(&bytes);
        parameter_lists::drive(&bytes);
    }
}
