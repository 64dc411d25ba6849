use super::*;
use crate::sense::FieldPointer;

const OWN: [u8; 16] = [0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const OTHER: [u8; 16] = [0x60, 0x01, 0x40, 0x5b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// A CSCD descriptor of a disk with blocks of 512 bytes.
fn device(name: &[u8; 16]) -> [u8; 32] {
    let mut descriptor = [0; 32];
    descriptor[0] = 0xe4;
    descriptor[4..8].copy_from_slice(&[0x01, 0x03, 0, 16]);
    descriptor[8..24].copy_from_slice(name);
    descriptor[30] = 2;
    descriptor
}

/// A block to block segment descriptor.
fn segment(source: u16, destination: u16, blocks: u16, from: u64, to: u64) -> Vec<u8> {
    let mut descriptor = vec![0x02, 0, 0, 0x18];
    descriptor.extend_from_slice(&source.to_be_bytes());
    descriptor.extend_from_slice(&destination.to_be_bytes());
    descriptor.extend_from_slice(&[0, 0]);
    descriptor.extend_from_slice(&blocks.to_be_bytes());
    descriptor.extend_from_slice(&from.to_be_bytes());
    descriptor.extend_from_slice(&to.to_be_bytes());
    descriptor
}

/// A list with LIST ID USAGE 11b.
fn list(devices: &[[u8; 32]], segments: &[u8]) -> Vec<u8> {
    let mut list = vec![0; 16];
    list[1] = 0x18;
    let length = u16::try_from(devices.len() * 32).unwrap();
    list[2..4].copy_from_slice(&length.to_be_bytes());
    let length = u32::try_from(segments.len()).unwrap();
    list[8..12].copy_from_slice(&length.to_be_bytes());
    list.extend(devices.iter().flatten());
    list.extend_from_slice(segments);
    list
}

/// A good list of one segment.
fn good() -> Vec<u8> {
    list(&[device(&OWN)], &segment(0, 0, 3, 10, 20))
}

fn parsed(list: &[u8]) -> Result<Copy, Rejected> {
    parse(list, &OWN, BlockSize::B512)
}

fn sense(list: &[u8]) -> Sense {
    parsed(list).expect_err("it is refused").sense
}

#[test]
fn one_segment_within_the_unit() {
    let expected = Segment { source: Lba(10), destination: Lba(20), blocks: Blocks(3) };
    assert_eq!(parsed(&good()), Ok(Copy { list_id: None, segments: vec![expected] }));
    // Source and destination may be described one by one.
    let two = list(&[device(&OWN), device(&OWN)], &segment(1, 0, 0xffff, u64::MAX, 1 << 40));
    let expected = Segment { source: Lba(u64::MAX), destination: Lba(1 << 40), blocks: Blocks(0xffff) };
    assert_eq!(parsed(&two).unwrap().segments, [expected]);
}

#[test]
fn nothing_to_copy() {
    assert_eq!(parsed(&[]), Ok(Copy { list_id: None, segments: vec![] }));
    assert_eq!(parsed(&list(&[], &[])).unwrap().segments, []);
    assert_eq!(parsed(&list(&[device(&OTHER)], &[])).unwrap().segments, []);
    let none = parsed(&list(&[device(&OWN)], &segment(0, 0, 0, 1, 2))).unwrap();
    assert_eq!(none.segments[0].blocks, Blocks(0));
}

#[test]
fn list_identifiers() {
    let with = |id, usage: u8| {
        let mut list = good();
        (list[0], list[1]) = (id, usage << 3 | 0x27); // STR and PRIORITY are hints
        parsed(&list).map(|copy| copy.list_id)
    };
    assert_eq!(with(0, 0b11), Ok(None));
    assert_eq!(with(0, 0b00), Ok(Some(0)));
    assert_eq!(with(7, 0b00), Ok(Some(7)));
    assert_eq!(with(255, 0b10), Ok(Some(255)));
    assert_eq!(with(1, 0b11), Err(Rejected::field(0)));
    assert_eq!(with(1, 0b01), Err(Rejected::bit(1, 4)));
}

/// The class of CVE-2020-28374 and CVE-2021-3139: no other unit can be read or written, whatever is in the list.
#[test]
fn other_units_are_never_reached() {
    let both = [device(&OWN), device(&OTHER)];
    for (source, destination) in [(0, 1), (1, 0), (1, 1)] {
        let list = list(&both, &segment(source, destination, 1, 0, 0));
        assert_eq!(sense(&list), Sense::COPY_TARGET_NOT_REACHABLE, "{source} {destination}");
    }
    assert_eq!(parsed(&list(&both, &segment(0, 0, 1, 0, 0))).unwrap().segments.len(), 1);
    for at in 8..24 {
        let mut list = good();
        list[16 + at] ^= 0x01;
        assert!(parsed(&list).is_err(), "a name that differs in byte {at}");
    }
    // An index behind the descriptors.
    for index in [1, 2, 0xff, 0x100, 0xffff] {
        for (source, destination) in [(index, 0), (0, index)] {
            let list = list(&[device(&OWN)], &segment(source, destination, 1, 0, 0));
            assert_eq!(sense(&list), Sense::COPY_TARGET_NOT_REACHABLE, "{source} {destination}");
        }
    }
}

#[test]
fn devices_that_are_none_or_of_another_kind() {
    let with = |at: usize, byte: u8| {
        let mut descriptor = device(&OWN);
        descriptor[at] = byte;
        sense(&list(&[descriptor], &segment(0, 0, 1, 0, 0)))
    };
    assert_eq!(with(1, 0x20), Sense::COPY_TARGET_NOT_REACHABLE); // NUL
    assert_eq!(with(1, 0x01), Sense::INCORRECT_COPY_TARGET_TYPE); // a tape
    assert_eq!(with(30, 0x10), Sense::INCORRECT_COPY_TARGET_TYPE); // blocks of 4096 bytes
    assert_eq!(with(29, 0x01), Sense::INCORRECT_COPY_TARGET_TYPE); // 512 in the low 16 bits only
    assert_eq!(with(0, 0xe0), Sense::UNSUPPORTED_TARGET_DESCRIPTOR);
    for (at, byte) in [(1, 0x80), (4, 0x02), (5, 0x13), (5, 0x02), (7, 8), (8, 0x50)] {
        assert_eq!(with(at, byte), Sense::INVALID_FIELD_IN_PARAMETER_LIST, "byte {at}");
    }
    // The bits around the fields are reserved.
    let mut descriptor = device(&OWN);
    (descriptor[2], descriptor[3], descriptor[4], descriptor[5]) = (0xff, 0xff, 0xf1, 0xc3);
    assert!(parsed(&list(&[descriptor], &segment(0, 0, 1, 0, 0))).is_ok());
}

#[test]
fn too_many_descriptors_and_other_types() {
    let three = [device(&OWN); 3];
    let rejected = parsed(&list(&three, &segment(0, 0, 1, 0, 0))).unwrap_err();
    assert_eq!(rejected, Rejected::at(Sense::TOO_MANY_TARGET_DESCRIPTORS, 2));
    let two = [segment(0, 0, 1, 0, 0), segment(0, 0, 1, 0, 0)].concat();
    assert_eq!(sense(&list(&[device(&OWN)], &two)), Sense::TOO_MANY_SEGMENT_DESCRIPTORS);
    // Stream to stream; its length is another one.
    let stream = [&[0x03, 0, 0, 0x14][..], &[0; 20]].concat();
    let rejected = parsed(&list(&[device(&OWN)], &stream)).unwrap_err();
    assert_eq!(rejected, Rejected::at(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR, 48));
    let mut odd = segment(0, 0, 1, 0, 0);
    odd[3] = 0x19;
    let rejected = parsed(&list(&[device(&OWN)], &odd)).unwrap_err();
    assert_eq!(rejected.field, Some(FieldPointer::parameter(50)));
    assert_eq!(rejected.sense, Sense::INVALID_FIELD_IN_PARAMETER_LIST);
}

/// tcmu-runner took only 16 bits of the segment descriptors' length, and only 8 to see whether they are whole.
#[test]
fn lengths_count_with_all_their_bits() {
    let with = |at: usize, bytes: &[u8]| {
        let mut list = good();
        list[at..at + bytes.len()].copy_from_slice(bytes);
        sense(&list)
    };
    let error = Sense::PARAMETER_LIST_LENGTH_ERROR;
    assert_eq!(with(8, &[0, 1, 0, 28]), error); // 65536 + 28
    assert_eq!(with(8, &[0, 0, 1, 28]), error); // 256 + 28
    assert_eq!(with(8, &[0xff; 4]), error);
    assert_eq!(with(8, &[0, 0, 0, 27]), error); // cut
    assert_eq!(with(2, &[0, 33]), error);
    // Longer than MAXIMUM DESCRIPTOR LIST LENGTH: that goes before the number of descriptors.
    assert_eq!(with(2, &[0xff, 0xe0]), error);
    assert_eq!(with(2, &[4, 0]), error);
    assert_eq!(with(2, &[3, 0xe0]), Sense::TOO_MANY_TARGET_DESCRIPTORS);
    assert_eq!(with(12, &[0, 0, 0, 1]), error);
    assert_eq!(with(8, &(1024u32 - 32 + 1).to_be_bytes()), error);
}

#[test]
fn a_list_that_is_cut_short() {
    let list = good();
    for end in 1..list.len() {
        assert_eq!(sense(&list[..end]), Sense::PARAMETER_LIST_LENGTH_ERROR, "{end} bytes");
    }
    // What stands behind the descriptors is not theirs.
    assert_eq!(parsed(&[&list[..], &[0xff; 64]].concat()), parsed(&list));
}
