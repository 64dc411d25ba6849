use super::*;
use crate::logical_unit::{Geometry, Identity};
use crate::units::{BlockSize, Bytes};

fn group(id: u16, ports: Vec<u16>) -> TargetPortGroup {
    TargetPortGroup {
        id,
        state: AccessState::Optimized,
        preferred: false,
        supported: 0x8f,
        status: 2,
        implicit_transition_s: 0,
        explicit: false,
        implicit: true,
        ports,
    }
}

fn report(extended: bool, groups: Vec<TargetPortGroup>) -> Vec<u8> {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    let mut unit = LogicalUnit::new(Identity::tcmu("x"), geometry);
    unit.groups = groups;
    let mut out = vec![0xee];
    report_target_port_groups(extended, &unit, &mut out);
    assert_eq!(out.remove(0), 0xee, "what stood before is kept");
    let length = u32::from_be_bytes([out[0], out[1], out[2], out[3]]);
    assert_eq!(out.len(), 4 + usize::try_from(length).unwrap(), "RETURN DATA LENGTH");
    out
}

#[test]
fn groups_and_their_ports() {
    let mut standby = group(0x1234, vec![]);
    standby.state = AccessState::Standby;
    standby.preferred = true;
    let mut expected = vec![0, 0, 0, 24];
    expected.extend_from_slice(&[0x00, 0x8f, 0, 1, 0, 2, 0, 2, 0, 0, 0, 1, 0, 0, 0x12, 0x34]);
    expected.extend_from_slice(&[0x82, 0x8f, 0x12, 0x34, 0, 2, 0, 0]);
    assert_eq!(report(false, vec![group(1, vec![1, 0x1234]), standby]), expected);
}

/// The original's RETURN DATA LENGTH leaves four bytes of the extended header out.
#[test]
fn the_extended_header_counts() {
    let mut slow = group(7, vec![3]);
    slow.implicit_transition_s = 60;
    let groups = vec![group(1, vec![1]), slow];
    let mut expected = vec![0, 0, 0, 28, 0x10, 60, 0, 0];
    expected.extend_from_slice(&[0x00, 0x8f, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1]);
    expected.extend_from_slice(&[0x00, 0x8f, 0, 7, 0, 2, 0, 1, 0, 0, 0, 3]);
    assert_eq!(report(true, groups), expected);
    assert_eq!(report(true, vec![]), [0, 0, 0, 4, 0x10, 0, 0, 0]);
    assert_eq!(report(false, vec![]), [0, 0, 0, 0]);
}

#[test]
fn more_ports_than_the_count_can_say_are_left_out() {
    let data = report(false, vec![group(1, (1..=300).collect()), group(2, vec![])]);
    assert_eq!(data[4 + 7], 255);
    assert_eq!(data.len(), 4 + 8 + 255 * 4 + 8);
    assert_eq!(data[data.len() - 8..], [0x00, 0x8f, 0, 2, 0, 2, 0, 0]);
}

#[test]
fn states_are_those_of_the_standard() {
    for (code, bit) in
        [(0x0, 0x01), (0x1, 0x02), (0x2, 0x04), (0x3, 0x08), (0x4, 0x10), (0xe, 0x40), (0xf, 0x80)]
    {
        let state = AccessState::try_from(code).unwrap();
        assert_eq!((state.code(), state.support_bit()), (code, bit));
    }
    for code in (0x5..=0xd).chain(0x10..=0xff) {
        assert_eq!(AccessState::try_from(code), Err(InvalidAccessState(code)));
    }
    assert_eq!(
        InvalidAccessState(5).to_string(),
        "asymmetric access state: 5h does not exist; use 0h to 4h, Eh or Fh"
    );
}
