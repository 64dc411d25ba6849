use proptest::prelude::*;

use super::*;
use crate::logical_unit::{Characteristics, Geometry, Identity, ThinSpace, Unmap};
use crate::target_port::TargetPort;
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
    let mut own = unit("x");
    let list = build(0x00, &own);
    assert_eq!(list, [0, 0, 0, 8, 0x00, 0x80, 0x83, 0x86, 0x87, 0xb0, 0xb1, 0xb2]);
    check_that_listed_pages_exist(&list, &own);
    own.ports = vec![port("p", "t")];
    let list = build(0x00, &own);
    assert_eq!(list, [0, 0, 0, 9, 0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0xb0, 0xb1, 0xb2]);
    check_that_listed_pages_exist(&list, &own);
}

fn check_that_listed_pages_exist(list: &[u8], own: &LogicalUnit) {
    let mut out = vec![0xee];
    for code in 0..=0xff_u8 {
        out.truncate(1);
        let listed = list[4..].contains(&code);
        assert_eq!(page(code, own, &mut out).is_ok(), listed, "page {code:02X}h");
        assert_eq!(out.len() > 1, listed, "page {code:02X}h: a refusal appends nothing");
        assert_eq!(out[0], 0xee);
    }
    assert_eq!(page(0x84, own, &mut out), Err(Sense::INVALID_FIELD_IN_CDB));
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

fn port(name: &str, target_name: &str) -> TargetPort {
    TargetPort {
        relative_id: 0x0102,
        protocol: 5,
        group: 0x0304,
        name: name.to_owned(),
        target_name: target_name.to_owned(),
    }
}

#[test]
fn page_83_names_the_port_when_there_is_one() {
    let mut own = unit("x");
    let without = build(0x83, &own);
    own.ports = vec![port("iqn.2003-01.org.example,t,0x0001", "iqn.2003-01.org.example")];
    let page = build(0x83, &own);
    let mut expected = without[4..].to_vec();
    expected.extend_from_slice(&[0x51, 0x94, 0, 4, 0, 0, 1, 2]);
    expected.extend_from_slice(&[0x51, 0x95, 0, 4, 0, 0, 3, 4]);
    // 32 characters and a NUL are padded to 36 bytes, 23 and a NUL to 24.
    expected.extend_from_slice(&[0x53, 0x98, 0, 36]);
    expected.extend_from_slice(b"iqn.2003-01.org.example,t,0x0001\0\0\0\0");
    expected.extend_from_slice(&[0x53, 0xa8, 0, 24]);
    expected.extend_from_slice(b"iqn.2003-01.org.example\0");
    assert_eq!(page[4..], expected);

    // Which of several the command came through is not known.
    own.ports.push(port("other", "other"));
    assert_eq!(build(0x83, &own), without);
}

/// The designators of page 83h: association and type, and the name.
fn designators(page: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = &page[4..];
    while !rest.is_empty() {
        let end = 4 + usize::from(rest[3]);
        found.push((rest[1], rest[4..end].to_vec()));
        rest = &rest[end..];
    }
    found
}

/// The original writes names of any length into a buffer of 512 bytes, and shows the configuration string.
#[test]
fn page_83_overrun_is_impossible_for_names_of_any_length() {
    for length in (0..=300).chain([4096, 70_000]) {
        let wwn = "n".repeat(length);
        let mut own = unit(&"5".repeat(length));
        own.ports = vec![port(&format!("{wwn},t,0x0001"), &wwn)];
        let page = build(0x83, &own);
        let found = designators(&page);
        let kinds: Vec<u8> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x01, 0x03, 0x94, 0x95, 0x98, 0xa8], "{length}");
        for (kind, name) in &found[4..] {
            assert!(name.len().is_multiple_of(4) && name.len() <= 252, "{length} {kind:02X}h");
            assert_eq!(name.last(), Some(&0), "{length} {kind:02X}h");
        }
        let text = String::from_utf8(found[4].1.clone()).unwrap();
        assert!(text.trim_end_matches('\0').ends_with(",t,0x0001"), "{length}: the tag stays");
    }
}

#[test]
fn names_are_not_cut_within_a_character() {
    for pad in 0..4 {
        let wwn = format!("{}{}", "n".repeat(pad), "\u{20ac}".repeat(200));
        let mut own = unit("x");
        own.ports = vec![port(&format!("{wwn},t,0x0001"), &wwn)];
        for (_, name) in &designators(&build(0x83, &own))[4..] {
            assert!(String::from_utf8(name.clone()).is_ok(), "{pad}");
        }
    }
}

#[test]
fn page_86_claims_what_is_true() {
    let mut own = unit("x");
    let mut expected = vec![0, 0x86, 0, 0x3c, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 96];
    expected.resize(64, 0);
    assert_eq!(build(0x86, &own), expected);
    for set in [
        |own: &mut Characteristics| own.write_cache = true,
        |own: &mut Characteristics| own.default_write_cache = true,
        |own: &mut Characteristics| own.changeable.write_cache = true,
    ] {
        own.characteristics = Characteristics::default();
        set(&mut own.characteristics);
        assert_eq!(build(0x86, &own)[6], 0x01, "V_SUP");
    }
}

#[test]
fn page_87_says_that_modes_are_shared() {
    assert_eq!(build(0x87, &unit("x")), [0, 0x87, 0, 4, 0x3f, 0xff, 0, 0]);
}

#[test]
fn page_88_lists_ports() {
    let mut own = unit("x");
    own.ports = vec![port("abc", "t"), TargetPort { relative_id: 2, protocol: 4, ..port("wxyz", "t") }];
    let mut expected = vec![0, 0x88, 0, 44];
    expected.extend_from_slice(&[0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0x53, 0x98, 0, 4]);
    expected.extend_from_slice(b"abc\0");
    expected.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 12, 0x43, 0x98, 0, 8]);
    expected.extend_from_slice(b"wxyz\0\0\0\0");
    assert_eq!(build(0x88, &own), expected);

    own.ports = vec![port(&"p".repeat(1000), "t"); 1000];
    assert_eq!(build(0x88, &own).len(), 4 + 64 * (12 + 4 + 252));
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

#[test]
fn page_b2_has_thresholds_when_the_room_is_known() {
    let mut own = unit("x");
    own.space = Some(ThinSpace { available: Bytes(0), used: Bytes(0), threshold: None });
    assert_eq!(build(0xb2, &own)[4], 0, "not thin");
    own.characteristics = thin(None);
    assert_eq!(build(0xb2, &own), [0, 0xb2, 0, 4, 11, 0xe4, 2, 0]);
    own.characteristics.unmap =
        thin(None).unmap.map(|unmap| Unmap { provisioning: Provisioning::Resource, ..unmap });
    assert_eq!(build(0xb2, &own), [0, 0xb2, 0, 4, 0, 0xe4, 1, 0]);
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..400).prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    /// Whatever the names: each page's length field is true, and page 83h is made of whole designators.
    #[test]
    fn length_fields_agree_for_any_names(
        serial in texts(),
        ports in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u16>(), texts(), texts()), 0..3),
    ) {
        let mut own = unit(&serial);
        own.ports = ports
            .into_iter()
            .map(|(relative_id, protocol, group, name, target_name)| TargetPort {
                relative_id, protocol, group, name, target_name,
            })
            .collect();
        let list = build(0x00, &own);
        for &code in &list[4..] {
            // Checks PAGE LENGTH.
            build(code, &own);
        }
        let found = designators(&build(0x83, &own));
        prop_assert_eq!(found.len(), if own.ports.len() == 1 { 6 } else { 2 });
        prop_assert_eq!(found[1].1.as_slice(), naa_designator(&serial));
    }
}
