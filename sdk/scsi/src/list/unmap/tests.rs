use super::*;
use crate::sense::Sense;

/// A list with these lengths in its header and this behind it.
fn list(data_length: u16, descriptor_length: u16, descriptors: &[(u64, u32)]) -> Vec<u8> {
    let mut list = Vec::new();
    list.extend_from_slice(&data_length.to_be_bytes());
    list.extend_from_slice(&descriptor_length.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for (lba, blocks) in descriptors {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

fn parsed(list: &[u8]) -> Result<Vec<(u64, u64)>, Sense> {
    let descriptors = parse(list)?;
    assert_eq!(descriptors.len(), descriptors.clone().count());
    Ok(descriptors.map(|(lba, blocks)| (lba.0, blocks.0)).collect())
}

#[test]
fn descriptors_in_order() {
    let sent = [(u64::MAX, u32::MAX), (0, 0), (0x0102_0304_0506_0708, 9)];
    let list = list(54, 48, &sent);
    let expected: Vec<_> = sent.iter().map(|&(lba, blocks)| (lba, u64::from(blocks))).collect();
    assert_eq!(parsed(&list), Ok(expected));
}

#[test]
fn nothing_to_unmap() {
    assert_eq!(parsed(&[]), Ok(vec![]));
    assert_eq!(parsed(&list(6, 0, &[])), Ok(vec![]));
    // Shorter than one descriptor.
    assert_eq!(parsed(&list(21, 15, &[(1, 1)])), Ok(vec![]));
}

#[test]
fn a_descriptor_that_is_cut_by_its_length_is_ignored() {
    assert_eq!(parsed(&list(6 + 31, 31, &[(1, 2), (3, 4)])), Ok(vec![(1, 2)]));
}

#[test]
fn data_length_is_not_looked_at() {
    for data_length in [0, 5, u16::MAX] {
        assert_eq!(parsed(&list(data_length, 16, &[(1, 2)])), Ok(vec![(1, 2)]));
    }
}

/// tcmu-runner believed the length and unmapped what it found behind the list on its heap.
#[test]
fn a_length_beyond_the_list_reads_nothing_behind_it() {
    let whole = list(22, 16, &[(1, 2)]);
    for end in 1..whole.len() {
        assert_eq!(parsed(&whole[..end]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "{end} bytes");
    }
    assert_eq!(parsed(&list(22, 32, &[(1, 2)])), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
    assert_eq!(parsed(&list(22, u16::MAX, &[(1, 2)])), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
}
