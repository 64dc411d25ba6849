use super::*;
use crate::sense::Sense;

fn parsed(list: &[u8]) -> Result<Vec<(u8, u16)>, Sense> {
    let descriptors = parse(list)?;
    assert_eq!(descriptors.len(), descriptors.clone().count());
    Ok(descriptors.map(|wanted| (wanted.state, wanted.group)).collect())
}

#[test]
fn descriptors_in_order() {
    let list = [0xff, 0xff, 0xff, 0xff, 0x00, 0, 0, 1, 0xf2, 0, 0x12, 0x34, 0x0f, 0xff, 0xff, 0xff];
    assert_eq!(parsed(&list), Ok(vec![(0, 1), (2, 0x1234), (15, 0xffff)]));
    assert_eq!(parsed(&list[..4]), Ok(vec![]));
    assert_eq!(parsed(&[]), Ok(vec![]));
}

/// tcmu-runner read up to three bytes behind the list.
#[test]
fn a_piece_of_a_descriptor_is_refused() {
    let list = [0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2];
    for end in (1..list.len()).filter(|end| end % 4 != 0) {
        assert_eq!(parsed(&list[..end]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "{end} bytes");
    }
}
