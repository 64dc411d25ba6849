use super::*;
use crate::sense::{FieldPointer, Sense};

fn short(list: &[u8]) -> Result<Format, Rejected> {
    parse(list, false, BlockSize::B512)
}

fn long(list: &[u8]) -> Result<Format, Rejected> {
    parse(list, true, BlockSize::B512)
}

fn plain(immed: bool) -> Result<Format, Rejected> {
    Ok(Format { immed, pattern: None })
}

fn filled(pattern: &[u8]) -> Result<Format, Rejected> {
    Ok(Format { immed: false, pattern: Some(pattern.to_vec()) })
}

/// An initialization pattern descriptor behind a short header.
fn pattern_list(first: u8, kind: u8, length: u16, pattern: &[u8]) -> Vec<u8> {
    let mut list = vec![0, 0x88, 0, 0, first, kind];
    list.extend_from_slice(&length.to_be_bytes());
    list.extend_from_slice(pattern);
    list
}

#[test]
fn headers_without_a_pattern() {
    assert_eq!(short(&[0, 0, 0, 0]), plain(false));
    assert_eq!(short(&[0, 0x02, 0, 0]), plain(true));
    // DSP of SBC-2 and the vendor specific bit; what follows is not the list's.
    assert_eq!(short(&[0, 0x05, 0, 0, 0xff, 0xff]), plain(false));
    // DPRY, DCRT, STPF with FOV.
    assert_eq!(short(&[0, 0xf2, 0, 0]), plain(true));
    assert_eq!(long(&[0, 0x02, 0xff, 0, 0, 0, 0, 0]), plain(true));
}

#[test]
fn patterns() {
    assert_eq!(short(&pattern_list(0, 0, 0, &[])), plain(false));
    assert_eq!(short(&pattern_list(0, 1, 1, &[0xa5])), filled(&[0xa5]));
    assert_eq!(short(&pattern_list(0, 1, 2, &[1, 2, 3])), filled(&[1, 2]));
    assert_eq!(short(&pattern_list(0, 1, 512, &[7; 512])), filled(&[7; 512]));
    let mut list = vec![0, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3];
    list.extend_from_slice(b"abc");
    assert_eq!(long(&list), filled(b"abc"));
}

#[test]
fn what_is_refused_and_where() {
    let byte = |at| Some(FieldPointer::parameter(at));
    let bit = |at, bit| Some(FieldPointer { in_cdb: false, byte: at, bit: Some(bit) });
    let table: &[(Result<Format, Rejected>, Option<FieldPointer>)] = &[
        (short(&[0x01, 0, 0, 0]), bit(0, 2)),
        (short(&[0, 0x40, 0, 0]), bit(1, 7)),
        (short(&[0, 0x20, 0, 0]), bit(1, 7)),
        (short(&[0, 0x10, 0, 0]), bit(1, 7)),
        (short(&[0, 0x08, 0, 0, 0, 0, 0, 0]), bit(1, 7)),
        (short(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]), byte(2)),
        (long(&[0, 0, 0, 0, 0, 0, 0, 8]), byte(4)),
        (long(&[0, 0, 0, 0x10, 0, 0, 0, 0]), byte(3)),
        (long(&[0, 0, 0, 0x01, 0, 0, 0, 0]), byte(3)),
        (short(&pattern_list(0x40, 1, 1, &[0])), bit(4, 7)),
        (short(&pattern_list(0x20, 1, 1, &[0])), bit(4, 5)),
        (short(&pattern_list(0, 2, 1, &[0])), byte(5)),
        (short(&pattern_list(0, 0x80, 0, &[])), byte(5)),
        (short(&pattern_list(0, 0, 1, &[0])), byte(6)),
        (short(&pattern_list(0, 1, 0, &[])), byte(6)),
        (short(&pattern_list(0, 1, 513, &[0; 513])), byte(6)),
    ];
    for (at, (answer, field)) in table.iter().enumerate() {
        let rejected = Rejected { sense: Sense::INVALID_FIELD_IN_PARAMETER_LIST, field: *field };
        assert_eq!(*answer, Err(rejected), "row {at}");
    }
}

#[test]
fn a_list_that_is_cut_short() {
    let list = pattern_list(0, 1, 4, &[1, 2, 3, 4]);
    for end in 0..list.len() {
        assert_eq!(short(&list[..end]), Err(Rejected::TRUNCATED), "{end} bytes");
    }
    assert_eq!(short(&list), filled(&[1, 2, 3, 4]));
    let header = [0; 8];
    for end in 0..header.len() {
        assert_eq!(long(&header[..end]), Err(Rejected::TRUNCATED), "{end} bytes");
    }
}
