use super::*;
use crate::logical_unit::{Characteristics, Geometry, Identity, Unmap};
use crate::units::{BlockSize, Bytes};

fn unit(serial: &str) -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 30), BlockSize::B512).unwrap();
    LogicalUnit::new(Identity::tcmu(serial), geometry)
}

fn build(code: u8, unit: &LogicalUnit) -> Vec<u8> {
    let mut out = Vec::new();
    page(code, unit, &mut out).unwrap();
    let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
    assert_eq!(out.len(), 4 + length, "page {code:02X}h: PAGE LENGTH");
    assert_eq!(out[..2], [0, code]);
    out
}

#[test]
fn page_00_lists_exactly_what_there_is() {
    let own = unit("x");
    let list = build(0x00, &own);
    assert_eq!(list, [0, 0, 0, 6, 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    let mut out = vec![0xee];
    for code in 0..=0xff_u8 {
        out.truncate(1);
        let listed = list[4..].contains(&code);
        assert_eq!(page(code, &own, &mut out).is_ok(), listed, "page {code:02X}h");
        assert_eq!(out.len() > 1, listed, "page {code:02X}h: a refusal appends nothing");
        assert_eq!(out[0], 0xee);
    }
    assert_eq!(page(0x84, &own, &mut out), Err(Sense::INVALID_FIELD_IN_CDB));
}

#[test]
fn page_80_shows_the_serial_with_its_nul() {
    assert_eq!(build(0x80, &unit("ab-12")), [0, 0x80, 0, 6, b'a', b'b', b'-', b'1', b'2', 0]);
    assert_eq!(build(0x80, &unit("")), [0, 0x80, 0, 1, 0]);
    let long = "s".repeat(1000);
    let page = build(0x80, &unit(&long));
    assert_eq!((page[2], page[3], page.len()), (0, 0xff, 4 + 255));
}

#[test]
fn page_83_as_tcmu_runner_builds_it() {
    let page = build(0x83, &unit("6b1c4f2e-0a37-4d58-9be1-c0ffee123456"));
    let mut expected = vec![0, 0x83, 0, 69];
    expected.extend_from_slice(&[0x02, 0x01, 0, 45]);
    expected.extend_from_slice(b"LIO-ORG 6b1c4f2e-0a37-4d58-9be1-c0ffee123456\0");
    expected.extend_from_slice(&[0x01, 0x03, 0, 16]);
    expected.extend_from_slice(&[0x60, 0x01, 0x40, 0x56, 0xb1, 0xc4, 0xf2, 0xe0]);
    expected.extend_from_slice(&[0xa3, 0x74, 0xd5, 0x89, 0xbe, 0x1c, 0x0f, 0xfe]);
    assert_eq!(page, expected);
}

#[test]
fn page_83_skips_what_is_not_hexadecimal_and_fills_with_zeros() {
    let page = build(0x83, &unit("zz9-Fg"));
    assert_eq!(page[page.len() - 16..], [0x60, 0x01, 0x40, 0x59, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let page = build(0x83, &unit(""));
    assert_eq!(page[4..17], [0x02, 0x01, 0, 9, b'L', b'I', b'O', b'-', b'O', b'R', b'G', b' ', 0]);
    assert_eq!(page[17..25], [0x01, 0x03, 0, 16, 0x60, 0x01, 0x40, 0x50]);
}

#[test]
fn page_83_is_well_formed_for_any_length_of_serial() {
    for length in (0..=300).chain([4096]) {
        let serial: String = "f0\u{e9}".chars().cycle().take(length).collect();
        let page = build(0x83, &unit(&serial));
        let shown = length.min(246);
        assert_eq!(usize::from(page[7]), 8 + shown + 1, "{length} characters");
        let naa = 8 + usize::from(page[7]);
        assert_eq!(page[naa - 1], 0, "{length} characters");
        assert_eq!(page[naa..naa + 4], [0x01, 0x03, 0, 16]);
        assert_eq!(page.len(), naa + 20);
        assert!(page[16..naa - 1].iter().all(|byte| matches!(byte, b'f' | b'0' | b'?')));
    }
}

#[test]
fn page_b0_states_limits() {
    let mut own = unit("x");
    own.characteristics.max_transfer = Blocks(128);
    own.characteristics.optimal_transfer = Blocks(64);
    own.characteristics.optimal_granularity = 8;
    let mut expected = vec![0, 0xb0, 0, 0x3c];
    expected.extend_from_slice(&[0x01, 0, 0, 8, 0, 0, 0, 128, 0, 0, 0, 64]);
    expected.resize(64, 0);
    assert_eq!(build(0xb0, &own), expected);

    own.characteristics.max_transfer = Blocks(u64::MAX);
    assert_eq!(build(0xb0, &own)[8..12], [0xff; 4]);
}

fn thin(alignment: Option<u32>) -> Characteristics {
    Characteristics {
        max_transfer: Blocks(0x100),
        optimal_transfer: Blocks(0x100),
        max_compare_and_write: 1,
        max_write_same: Blocks(0xffff_ffff),
        unmap: Some(Unmap {
            max_blocks: 0x0102_0304,
            max_descriptors: 4,
            granularity: 0x2000,
            alignment,
            reads_zeroes: true,
            write_same: WriteSame::TenAndSixteen,
            provisioning: Provisioning::Thin,
        }),
        ..Characteristics::default()
    }
}

/// The page of a tcmu-runner device with UNMAP.
#[test]
fn page_b0_with_unmap_compare_and_write_and_write_same() {
    let mut own = unit("x");
    own.characteristics = thin(Some(3));
    let mut expected = vec![0, 0xb0, 0, 0x3c, 0x01, 0x01, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0];
    expected.extend_from_slice(&[0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 4, 0, 0, 0x20, 0, 0x80, 0, 0, 3]);
    expected.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    expected.resize(64, 0);
    assert_eq!(build(0xb0, &own), expected);

    own.characteristics = thin(None);
    assert_eq!(build(0xb0, &own)[32..36], [0; 4], "UGAVALID=0");
}

#[test]
fn page_b1_tells_rotating_from_solid_state() {
    let mut own = unit("x");
    let mut expected = vec![0, 0xb1, 0, 0x3c];
    expected.resize(64, 0);
    assert_eq!(build(0xb1, &own), expected);
    own.characteristics.solid_state = true;
    expected[5] = 1;
    assert_eq!(build(0xb1, &own), expected);
}

#[test]
fn page_b2_follows_the_abilities() {
    let mut own = unit("x");
    assert_eq!(build(0xb2, &own), [0, 0xb2, 0, 4, 0, 0, 0, 0]);

    own.characteristics = thin(None);
    assert_eq!(build(0xb2, &own), [0, 0xb2, 0, 4, 0, 0xe4, 2, 0]);

    let table = [
        (WriteSame::None, false, Provisioning::NotReported, [0x80, 0]),
        (WriteSame::Sixteen, true, Provisioning::Resource, [0xc4, 1]),
        (WriteSame::TenAndSixteen, false, Provisioning::Thin, [0xe0, 2]),
    ];
    for (write_same, reads_zeroes, provisioning, expected) in table {
        own.characteristics.unmap =
            thin(None).unmap.map(|unmap| Unmap { write_same, reads_zeroes, provisioning, ..unmap });
        assert_eq!(build(0xb2, &own)[5..7], expected, "{write_same:?}");
    }
}
