use super::*;
use crate::logical_unit::{Changeable, Geometry, Identity};
use crate::sense::Sense;
use crate::units::{BlockSize, Bytes};

/// 2048 blocks of 512 bytes with a write cache; everything that can be changeable is.
fn unit() -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    let mut unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    unit.characteristics.write_cache = true;
    unit.characteristics.changeable =
        Changeable { write_cache: true, software_write_protect: true, descriptor_sense: true };
    unit
}

fn change(write_cache: bool, software_write_protect: bool, descriptor_sense: bool) -> ModeChange {
    ModeChange { write_cache, software_write_protect, descriptor_sense }
}

fn page(code: u8, unit: &LogicalUnit) -> Vec<u8> {
    mode::current_page(code, 0, unit).unwrap()
}

/// The caching page with WCE=0.
fn without_cache(unit: &LogicalUnit) -> Vec<u8> {
    let mut page = page(CACHING, unit);
    page[2] &= !0x04;
    page
}

/// A list without block descriptor.
fn six(pages: &[&[u8]]) -> Vec<u8> {
    [&[0, 0, 0, 0][..], &pages.concat()].concat()
}

fn ten(pages: &[&[u8]]) -> Vec<u8> {
    [&[0; 8][..], &pages.concat()].concat()
}

#[test]
fn what_is_sent_back_unchanged_changes_nothing() {
    let unit = unit();
    let now = Ok(change(true, false, false));
    assert_eq!(parse(&[], false, &unit), now);
    assert_eq!(parse(&six(&[]), false, &unit), now);
    for code in [0x01, 0x08, 0x0a, 0x1c] {
        let mut page = page(code, &unit);
        assert_eq!(parse(&six(&[&page]), false, &unit), now, "page {code:02X}h");
        page[0] |= 0x80; // PS
        assert_eq!(parse(&ten(&[&page]), true, &unit), now, "page {code:02X}h");
    }
    let all: Vec<Vec<u8>> = [0x01, 0x08, 0x0a, 0x1c].iter().map(|&code| page(code, &unit)).collect();
    assert_eq!(parse(&six(&[&all.concat()]), false, &unit), now);
    // MODE DATA LENGTH and DEVICE-SPECIFIC PARAMETER are reserved.
    assert_eq!(parse(&[0xff, 0, 0x90, 0], false, &unit), now);
}

#[test]
fn what_is_changeable_is_changed() {
    let mut unit = unit();
    let mut control = page(CONTROL, &unit);
    assert_eq!(parse(&six(&[&without_cache(&unit)]), false, &unit), Ok(change(false, false, false)));
    control[2] |= 0x04;
    assert_eq!(parse(&ten(&[&control]), true, &unit), Ok(change(true, false, true)));
    control[4] |= 0x08;
    let both = six(&[&control, &without_cache(&unit)]);
    assert_eq!(parse(&both, false, &unit), Ok(change(false, true, true)));
    // What a list leaves out stays.
    unit.characteristics.software_write_protected = true;
    unit.characteristics.descriptor_sense = true;
    assert_eq!(parse(&six(&[&without_cache(&unit)]), false, &unit), Ok(change(false, true, true)));
}

#[test]
fn what_is_not_changeable_is_refused_and_pointed_at() {
    let mut unit = unit();
    for code in [0x01, 0x08, 0x0a, 0x1c] {
        let current = page(code, &unit);
        let mask = mode::changeable_page(code, 0, &unit).unwrap();
        for at in 2..current.len() {
            for bit in 0..8 {
                let mut sent = current.clone();
                sent[at] ^= 1 << bit;
                let answer = parse(&six(&[&sent]), false, &unit);
                if mask[at] & (1 << bit) == 0 {
                    assert_eq!(answer, Err(Rejected::bit(4 + at, bit)), "page {code:02X}h");
                } else {
                    assert_ne!(
                        answer,
                        Ok(change(true, false, false)),
                        "page {code:02X}h byte {at} bit {bit}"
                    );
                    assert!(answer.is_ok());
                }
            }
        }
    }
    unit.characteristics.changeable.write_cache = false;
    assert_eq!(parse(&six(&[&without_cache(&unit)]), false, &unit), Err(Rejected::bit(6, 2)));
}

#[test]
fn pages_that_do_not_exist_or_have_another_length() {
    let unit = unit();
    let unknown = |page: &[u8]| parse(&six(&[page]), false, &unit);
    assert_eq!(unknown(&[0x02, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Rejected::bit(4, 5)));
    assert_eq!(unknown(&[0x00, 0]), Err(Rejected::bit(4, 5)));
    assert_eq!(unknown(&[0x3f, 0]), Err(Rejected::bit(4, 5)));
    // A subpage that does not exist, and subpage 00h with the header of a subpage.
    assert_eq!(unknown(&[0x48, 1, 0, 0]), Err(Rejected::bit(4, 5)));
    assert_eq!(
        unknown(&[0x48, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(Rejected::bit(4, 5))
    );
    let mut short = page(CACHING, &unit);
    short[1] = 17;
    assert_eq!(unknown(&short), Err(Rejected::field(5)));
    short[1] = 19;
    short.push(0);
    assert_eq!(unknown(&short), Err(Rejected::field(5)));
}

#[test]
fn block_descriptors() {
    let unit = unit();
    let now = change(true, false, false);
    let short = |count: u32, size: u32| {
        let mut list = vec![0, 0, 0, 8];
        list.extend_from_slice(&count.to_be_bytes());
        list.extend_from_slice(&size.to_be_bytes());
        list.extend(without_cache(&unit));
        parse(&list, false, &unit)
    };
    let done = Ok(change(false, false, false));
    for count in [0, 2048, u32::MAX] {
        assert_eq!(short(count, 512), done);
    }
    // Byte 4 is reserved.
    assert_eq!(short(0, 0xff00_0200), done);
    assert_eq!(short(2047, 512), Err(Rejected::field(4)));
    assert_eq!(short(2048, 4096), Err(Rejected::field(9)));
    assert_eq!(short(2048, 0), Err(Rejected::field(9)));

    let long = |longlba: u8, count: u64, size: u32| {
        let mut list = vec![0, 0, 0, 0, longlba, 0, 0, 16];
        list.extend_from_slice(&count.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
        list.extend_from_slice(&size.to_be_bytes());
        parse(&list, true, &unit)
    };
    for count in [0, 2048, u64::MAX] {
        assert_eq!(long(1, count, 512), Ok(now));
    }
    assert_eq!(long(1, u64::from(u32::MAX), 512), Err(Rejected::field(8)));
    assert_eq!(long(1, 2048, 4096), Err(Rejected::field(20)));
    // Lengths that go with no descriptor, or with the other kind.
    assert_eq!(long(0, 2048, 512), Err(Rejected::field(6)));
    assert_eq!(
        parse(&[0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0], true, &unit),
        Err(Rejected::field(6))
    );
    assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0xff, 0xff], true, &unit), Err(Rejected::field(6)));
    assert_eq!(parse(&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], false, &unit), Err(Rejected::field(3)));
    // MEDIUM TYPE.
    assert_eq!(parse(&[0, 1, 0, 0], false, &unit), Err(Rejected::field(1)));
    assert_eq!(parse(&[0, 0, 1, 0, 0, 0, 0, 0], true, &unit), Err(Rejected::field(2)));
}

#[test]
fn more_than_32_bits_of_blocks_are_described_by_a_short_descriptor() {
    let geometry = Geometry::new(Bytes(1 << 42), BlockSize::B512).unwrap();
    let unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    let list = [0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0];
    assert_eq!(parse(&list, false, &unit), Ok(change(false, false, false)));
}

#[test]
fn a_list_that_is_cut_short() {
    let unit = unit();
    let mut list = vec![0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0];
    let pages = list.len();
    list.extend(without_cache(&unit));
    for end in (1..list.len()).filter(|&end| end != pages) {
        let answer = parse(&list[..end], false, &unit).map_err(|rejected| rejected.sense);
        assert_eq!(answer, Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "{end} bytes");
    }
    for end in 1..8 {
        assert_eq!(parse(&[0; 8][..end], true, &unit), Err(Rejected::TRUNCATED), "{end} bytes");
    }
}
