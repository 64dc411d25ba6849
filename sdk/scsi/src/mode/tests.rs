use super::*;
use crate::logical_unit::{Changeable, Identity, Provisioning, ThinSpace, Unmap, WriteSame};
use crate::units::{BlockSize, Bytes};

const ERROR_RECOVERY: [u8; 12] = [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// tcmu-runner's, except QUEUE ALGORITHM MODIFIER (byte 3), which it leaves at "restricted" without keeping to it.
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x02, 0x10, 0, 0x40, 0, 0, 0xff, 0xff, 0, 0];

const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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
    for (code, page) in [(0x01, &ERROR_RECOVERY[..]), (0x08, &CACHING), (0x0a, &CONTROL), (0x1c, &EXCEPTIONS)]
    {
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
    let mut expected = vec![59, 0, 0, 0];
    for page in [&ERROR_RECOVERY[..], &CACHING, &CONTROL, &EXCEPTIONS] {
        expected.extend_from_slice(page);
    }
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
    for page in (0..0x3f).filter(|page| ![0x01, 0x08, 0x0a, 0x1c].contains(page)) {
        assert_eq!(build(&ten(page), &unit()), Err(Sense::INVALID_FIELD_IN_CDB), "page {page:02X}h");
    }
}

#[test]
fn page_control() {
    let with = |control| build(&ModeSense { control, ..six(0x3f) }, &unit());
    assert_eq!(with(PageControl::Default), with(PageControl::Current));
    assert_eq!(with(PageControl::Saved), Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED));

    let mut mask = vec![59, 0, 0, 0, 0x01, 0x0a];
    mask.resize(4 + 12, 0);
    mask.extend_from_slice(&[0x08, 0x12]);
    mask.resize(4 + 12 + 20, 0);
    mask.extend_from_slice(&[0x0a, 0x0a]);
    mask.resize(4 + 12 + 20 + 12, 0);
    mask.extend_from_slice(&[0x1c, 0x0a]);
    mask.resize(4 + 12 + 20 + 12 + 12, 0);
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

#[test]
fn software_write_protection_shows_in_header_and_control_page() {
    let mut own = unit();
    own.characteristics.software_write_protected = true;
    let data = build(&six(0x0a), &own).unwrap();
    assert_eq!(data[2], 0x80, "WP");
    assert_eq!(data[4 + 4], 0x08, "SWP");
}

#[test]
fn what_may_be_changed_is_masked_and_has_a_default() {
    let mut own = unit();
    own.characteristics.changeable =
        Changeable { write_cache: true, software_write_protect: true, descriptor_sense: true };
    let with = |own: &LogicalUnit, control, page| build(&ModeSense { control, ..six(page) }, own).unwrap();
    let mut mask = [0; 20];
    mask[..3].copy_from_slice(&[0x08, 0x12, 0x04]);
    assert_eq!(with(&own, PageControl::Changeable, 0x08)[4..], mask);
    assert_eq!(
        with(&own, PageControl::Changeable, 0x0a)[4..],
        [0x0a, 0x0a, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0]
    );

    own.characteristics.write_cache = false;
    own.characteristics.default_write_cache = true;
    own.characteristics.software_write_protected = true;
    own.characteristics.descriptor_sense = true;
    assert_eq!(with(&own, PageControl::Current, 0x08)[4..], CACHING);
    assert_eq!(with(&own, PageControl::Default, 0x08)[4 + 2], 0x04, "WCE after power on");
    assert_eq!(with(&own, PageControl::Current, 0x0a)[4 + 2..4 + 5], [0x06, 0x10, 0x08]);
    assert_eq!(with(&own, PageControl::Default, 0x0a)[4..], CONTROL);
}

fn thin(threshold: Option<u64>) -> LogicalUnit {
    let mut own = unit();
    own.characteristics.unmap = Some(Unmap {
        max_blocks: 1,
        max_descriptors: 1,
        granularity: 0,
        alignment: None,
        reads_zeroes: true,
        write_same: WriteSame::None,
        provisioning: Provisioning::Thin,
    });
    own.space = Some(ThinSpace { available: Bytes(1), used: Bytes(1), threshold: threshold.map(Bytes) });
    own
}

#[test]
fn the_provisioning_page_is_a_subpage_of_thin_units() {
    let own = thin(Some(5 << 20));
    let mut page = vec![0x5c, 0x02, 0, 20, 0x01];
    page.resize(16, 0);
    page.extend_from_slice(&[0x80, 0x01, 0, 0, 0, 0, 0, 5]);

    let alone = build(&ModeSense { subpage: 2, ..six(0x1c) }, &own).unwrap();
    assert_eq!(alone[4..], page);
    let both = build(&ModeSense { subpage: 0xff, ..six(0x1c) }, &own).unwrap();
    assert_eq!(both[4..], [&EXCEPTIONS[..], &page].concat());
    assert_eq!(build(&six(0x1c), &own).unwrap()[4..], EXCEPTIONS);
    // Page 3Fh shows it with subpage FFh alone.
    assert_eq!(build(&six(0x3f), &own).unwrap().len(), 60);
    let all = build(&ModeSense { subpage: 0xff, ..six(0x3f) }, &own).unwrap();
    assert_eq!((all[0], all.len()), (83, 84));
    assert_eq!(all[60..], page);
    assert_eq!(build(&ModeSense { subpage: 2, ..six(0x3f) }, &own), Err(Sense::INVALID_FIELD_IN_CDB));

    // Without a threshold it is not enabled; without room that is known, or without UNMAP, there is no page.
    let data = build(&ModeSense { subpage: 2, ..six(0x1c) }, &thin(None)).unwrap();
    assert_eq!(data[4 + 16..], [0, 0x01, 0, 0, 0, 0, 0, 0]);
    for own in [LogicalUnit { space: None, ..thin(None) }, LogicalUnit { space: thin(None).space, ..unit() }]
    {
        let request = ModeSense { subpage: 2, ..six(0x1c) };
        assert_eq!(build(&request, &own), Err(Sense::INVALID_FIELD_IN_CDB));
        assert_eq!(current_page(0x1c, 2, &own), None);
    }
}

#[test]
fn single_pages_for_mode_select() {
    let mut own = thin(None);
    own.characteristics.changeable.descriptor_sense = true;
    assert_eq!(current_page(0x0a, 0, &own), Some(CONTROL.to_vec()));
    let mut mask = vec![0x0a, 0x0a, 0x04];
    mask.resize(12, 0);
    assert_eq!(changeable_page(0x0a, 0, &own), Some(mask));
    for (code, subpage) in [(0x01, 0), (0x08, 0), (0x0a, 0), (0x1c, 0), (0x1c, 2)] {
        let current = current_page(code, subpage, &own).unwrap();
        let changeable = changeable_page(code, subpage, &own).unwrap();
        assert_eq!(current.len(), changeable.len(), "{code:02X}h/{subpage:02X}h");
        let header = if subpage == 0 { 2 } else { 4 };
        assert_eq!(current[..header], changeable[..header], "{code:02X}h/{subpage:02X}h");
    }
    for (code, subpage) in [(0x02, 0), (0x0a, 1), (0x3f, 0), (0x08, 0xff)] {
        assert_eq!(current_page(code, subpage, &own), None);
        assert_eq!(changeable_page(code, subpage, &own), None);
    }
}
