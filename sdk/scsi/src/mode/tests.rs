use super::*;
use crate::logical_unit::Identity;
use crate::units::{BlockSize, Bytes};

const ERROR_RECOVERY: [u8; 12] = [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// tcmu-runner's, except QUEUE ALGORITHM MODIFIER (byte 3), which it leaves at "restricted" without keeping to it.
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x02, 0x10, 0, 0x40, 0, 0, 0xff, 0xff, 0, 0];

fn unit() -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 30), BlockSize::B4096).unwrap();
    LogicalUnit::new(Identity::tcmu("serial"), geometry)
}

fn six(page: u8) -> ModeSense {
    ModeSense {
        ten: false,
        llbaa: false,
        dbd: true,
        control: PageControl::Current,
        page,
        subpage: 0,
        allocation: 255,
    }
}

fn ten(page: u8) -> ModeSense {
    ModeSense { ten: true, ..six(page) }
}

fn build(request: &ModeSense, unit: &LogicalUnit) -> Result<Vec<u8>, Sense> {
    let mut out = vec![0xee];
    let result = mode_sense(request, unit, &mut out);
    assert_eq!(out.remove(0), 0xee, "what stood before is kept");
    match result {
        Ok(()) => Ok(out),
        Err(sense) => {
            assert_eq!(out, [], "a refusal appends nothing");
            Err(sense)
        }
    }
}

#[test]
fn single_pages() {
    for (code, page) in [(0x01, &ERROR_RECOVERY[..]), (0x08, &CACHING), (0x0a, &CONTROL)] {
        let length = u8::try_from(page.len()).unwrap();
        let data = build(&six(code), &unit()).unwrap();
        assert_eq!(data[..4], [3 + length, 0, 0, 0], "page {code:02X}h");
        assert_eq!(&data[4..], page, "page {code:02X}h");
        let data = build(&ten(code), &unit()).unwrap();
        assert_eq!(data[..8], [0, 6 + length, 0, 0, 0, 0, 0, 0], "page {code:02X}h");
        assert_eq!(&data[8..], page, "page {code:02X}h");
    }
}

#[test]
fn all_pages_ascend_with_or_without_subpages() {
    let mut expected = vec![47, 0, 0, 0];
    expected.extend_from_slice(&ERROR_RECOVERY);
    expected.extend_from_slice(&CACHING);
    expected.extend_from_slice(&CONTROL);
    assert_eq!(build(&six(0x3f), &unit()), Ok(expected.clone()));
    assert_eq!(build(&ModeSense { subpage: 0xff, ..six(0x3f) }, &unit()), Ok(expected));
}

#[test]
fn subpages_other_than_none_and_all_do_not_exist() {
    let whole = build(&six(0x08), &unit());
    assert_eq!(build(&ModeSense { subpage: 0xff, ..six(0x08) }, &unit()), whole);
    for page in [0x08, 0x3f] {
        for subpage in 1..0xff {
            assert_eq!(
                build(&ModeSense { subpage, ..six(page) }, &unit()),
                Err(Sense::INVALID_FIELD_IN_CDB),
                "{page:02X}h/{subpage:02X}h"
            );
        }
    }
}

#[test]
fn unknown_pages_are_refused() {
    for page in (0..0x3f).filter(|page| ![0x01, 0x08, 0x0a].contains(page)) {
        assert_eq!(build(&ten(page), &unit()), Err(Sense::INVALID_FIELD_IN_CDB), "page {page:02X}h");
    }
}

#[test]
fn page_control() {
    let with = |control| build(&ModeSense { control, ..six(0x3f) }, &unit());
    assert_eq!(with(PageControl::Default), with(PageControl::Current));
    assert_eq!(with(PageControl::Saved), Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED));

    let mut mask = vec![47, 0, 0, 0, 0x01, 0x0a];
    mask.resize(4 + 12, 0);
    mask.extend_from_slice(&[0x08, 0x12]);
    mask.resize(4 + 12 + 20, 0);
    mask.extend_from_slice(&[0x0a, 0x0a]);
    mask.resize(4 + 12 + 20 + 12, 0);
    assert_eq!(with(PageControl::Changeable), Ok(mask));
}

#[test]
fn characteristics_show_in_header_and_pages() {
    let mut own = unit();
    own.characteristics.write_cache = true;
    own.characteristics.descriptor_sense = true;
    own.characteristics.write_protected = true;
    let data = build(&six(0x3f), &own).unwrap();
    assert_eq!(data[2], 0x80, "WP");
    assert_eq!(data[4 + 12 + 2], 0x04, "WCE");
    assert_eq!(data[4 + 12 + 20 + 2], 0x06, "D_SENSE, GLTSD");

    own.characteristics.dpo_fua = true;
    assert_eq!(build(&six(0x08), &own).unwrap()[2], 0x90, "WP, DPOFUA");
    assert_eq!(build(&ten(0x08), &own).unwrap()[3], 0x90, "WP, DPOFUA");
    own.characteristics.write_protected = false;
    assert_eq!(build(&ten(0x08), &own).unwrap()[3], 0x10, "DPOFUA");
}

#[test]
fn short_block_descriptors() {
    let expected = [0, 0x04, 0, 0, 0, 0, 0x10, 0];
    let data = build(&ModeSense { dbd: false, ..six(0x01) }, &unit()).unwrap();
    assert_eq!(data[..4], [3 + 8 + 12, 0, 0, 8]);
    assert_eq!(data[4..12], expected);
    assert_eq!(data[12..], ERROR_RECOVERY);

    let data = build(&ModeSense { dbd: false, ..ten(0x01) }, &unit()).unwrap();
    assert_eq!(data[..8], [0, 6 + 8 + 12, 0, 0, 0, 0, 0, 8]);
    assert_eq!(data[8..16], expected);
    assert_eq!(data[16..], ERROR_RECOVERY);
}

#[test]
fn long_block_descriptors_only_if_accepted() {
    let mut own = unit();
    own.geometry = Geometry::new(Bytes(1 << 52), BlockSize::B512).unwrap();
    let data = build(&ModeSense { dbd: false, llbaa: true, ..ten(0x01) }, &own).unwrap();
    assert_eq!(data[..8], [0, 6 + 16 + 12, 0, 0, 1, 0, 0, 16]);
    assert_eq!(data[8..24], [0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(data[24..], ERROR_RECOVERY);

    // Without LLBAA the count saturates.
    let data = build(&ModeSense { dbd: false, ..ten(0x01) }, &own).unwrap();
    assert_eq!(data[4], 0);
    assert_eq!(data[8..16], [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);

    // With DBD there is none, long or short.
    let data = build(&ModeSense { llbaa: true, ..ten(0x01) }, &own).unwrap();
    assert_eq!(data[..8], [0, 6 + 12, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_largest_block_size_fits_the_short_descriptor() {
    let mut own = unit();
    own.geometry = Geometry::new(Bytes(1 << 30), BlockSize::new(1 << 23).unwrap()).unwrap();
    let data = build(&ModeSense { dbd: false, ..six(0x01) }, &own).unwrap();
    assert_eq!(data[4..12], [0, 0, 0, 128, 0, 0x80, 0, 0]);
}
