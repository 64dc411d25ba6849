use super::*;
use crate::logical_unit::{Geometry, Identity};
use crate::units::{BlockSize, Bytes};

fn unit() -> LogicalUnit {
    LogicalUnit::new(Identity::tcmu("x"), Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap())
}

fn report(
    options: u8,
    timeouts: bool,
    opcode: u8,
    action: u16,
    unit: &LogicalUnit,
) -> Result<Vec<u8>, Sense> {
    let mut out = vec![0xee];
    let result = operation_codes(options, timeouts, opcode, action, unit, &mut out);
    assert_eq!(out.remove(0), 0xee, "what stood before is kept");
    if result.is_err() {
        assert_eq!(out, [], "a refusal appends nothing");
    }
    result.map(|()| out)
}

/// The command descriptors of the answer to REPORTING OPTIONS 000b.
fn descriptors(timeouts: bool, unit: &LogicalUnit) -> Vec<Vec<u8>> {
    let data = report(0, timeouts, 0, 0, unit).unwrap();
    let length = u32::from_be_bytes([data[0], data[1], data[2], data[3]]);
    assert_eq!(data.len(), 4 + usize::try_from(length).unwrap(), "COMMAND DATA LENGTH");
    let descriptors = data[4..].chunks_exact(if timeouts { 20 } else { 8 });
    assert_eq!(descriptors.remainder(), [] as [u8; 0]);
    descriptors.map(<[u8]>::to_vec).collect()
}

#[test]
fn the_list_holds_what_the_unit_supports() {
    let mut own = unit();
    let plain = descriptors(false, &own);
    for expected in [
        [0x00, 0, 0, 0, 0, 0, 0, 6],
        [0x28, 0, 0, 0, 0, 0, 0, 10],
        [0x9e, 0, 0, 0x10, 0, 1, 0, 16],
        [0xa0, 0, 0, 0, 0, 0, 0, 12],
        [0xa3, 0, 0, 0x0c, 0, 1, 0, 12],
    ] {
        assert!(plain.contains(&expected.to_vec()), "{expected:02X?}");
    }
    let has = |list: &[Vec<u8>], opcode| list.iter().any(|row| row[0] == opcode);
    for opcode in [0x42, 0x5e, 0x5f, 0x16, 0x89, 0xa4] {
        assert!(!has(&plain, opcode), "{opcode:02X}h");
    }
    own.characteristics.reservations = true;
    own.characteristics.max_compare_and_write = 1;
    let more = descriptors(false, &own);
    for opcode in [0x5e, 0x5f, 0x16, 0x17, 0x56, 0x57, 0x89] {
        assert!(has(&more, opcode), "{opcode:02X}h");
    }
    assert_eq!(more.len(), plain.len() + 16 + 1);
}

#[test]
fn timeouts_are_there_if_asked_for_and_indicate_nothing() {
    let (plain, timed) = (descriptors(false, &unit()), descriptors(true, &unit()));
    assert_eq!(plain.len(), timed.len());
    for (plain, timed) in plain.iter().zip(&timed) {
        assert_eq!(timed[..5], plain[..5]);
        assert_eq!(timed[5], plain[5] | 0x02, "CTDP");
        assert_eq!(timed[6..8], plain[6..8]);
        assert_eq!(timed[8..], TIMEOUTS);
    }
}

/// Each command that the list has is reported alone in the same way, and says so in its own CDB usage data.
#[test]
fn one_command_agrees_with_the_list() {
    let mut own = unit();
    own.characteristics.reservations = true;
    own.characteristics.max_compare_and_write = 1;
    for row in descriptors(false, &own) {
        let action = u16::from_be_bytes([row[2], row[3]]);
        let has_action = row[5] & 0x01 != 0;
        let name = format!("{:02X}h/{action:02X}h", row[0]);
        let (right, wrong) = if has_action { (2, 1) } else { (1, 2) };
        let data = report(right, false, row[0], action, &own).unwrap();
        assert_eq!(data[..4], [0, 0b011, row[6], row[7]], "{name}");
        assert_eq!(data.len(), 4 + usize::from(row[7]), "{name}");
        assert_eq!(data[4], row[0], "{name}");
        if has_action {
            let shown = if row[0] == 0x7f { data[4 + 9] } else { data[4 + 1] & 0x1f };
            assert_eq!(u16::from(shown), action, "{name}");
        }
        assert_eq!(report(wrong, false, row[0], action, &own), Err(Sense::INVALID_FIELD_IN_CDB), "{name}");
        assert_eq!(report(3, false, row[0], action, &own), Ok(data.clone()), "{name}");
        let timed = report(right, true, row[0], action, &own).unwrap();
        assert_eq!(timed[..4], [0, 0x83, row[6], row[7]], "{name}");
        assert_eq!(timed[4..], [&data[4..], &TIMEOUTS].concat(), "{name}");
    }
}

#[test]
fn what_is_not_supported_is_told_so() {
    let not = Ok(vec![0, 0b001, 0, 0]);
    for timeouts in [false, true] {
        // No such command, with any way of asking.
        for options in 1..=3 {
            assert_eq!(report(options, timeouts, 0xff, 0, &unit()), not);
        }
        // The unit can not do it, others can.
        assert_eq!(report(1, timeouts, 0x42, 0, &unit()), not);
        assert_eq!(report(2, timeouts, 0x5e, 0, &unit()), not);
        // No such service action.
        assert_eq!(report(2, timeouts, 0x9e, 0x1f, &unit()), not);
        assert_eq!(report(3, timeouts, 0x9e, 0x1f, &unit()), not);
        // A service action for a command without.
        assert_eq!(report(3, timeouts, 0x28, 1, &unit()), not);
    }
    for options in 4..=0xff {
        assert_eq!(report(options, false, 0x28, 0, &unit()), Err(Sense::INVALID_FIELD_IN_CDB));
    }
}

#[test]
fn task_management() {
    assert_eq!(task_management_functions(false), [0x88, 0, 0, 0]);
    assert_eq!(task_management_functions(true), [0x88, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
