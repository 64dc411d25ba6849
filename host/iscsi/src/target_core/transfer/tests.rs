use super::*;

const MAX: u32 = 1 << 20;

fn read(blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0]
}

fn write(blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, 0, 0, 0, blocks, 0]
}

fn offer(direction: &str, length: u32) -> Offer {
    Offer { read: direction.contains('r'), write: direction.contains('w'), length }
}

fn planned(cdb: &[u8], direction: &str, length: u32) -> Result<Transfer, Refused> {
    plan(cdb, offer(direction, length), BlockSize::B512, MAX)
}

#[test]
fn a_read_gets_what_its_cdb_asks_for_whatever_was_offered() {
    for expected in [0, 512, 1024, 4096] {
        assert_eq!(planned(&read(2), "r", expected), Ok(Transfer::In(1024)), "{expected}");
    }
}

#[test]
fn a_write_gets_what_its_cdb_asks_for_and_never_less() {
    for expected in [1024, 4096] {
        assert_eq!(planned(&write(2), "w", expected), Ok(Transfer::Out(1024)), "{expected}");
    }
    let short = Refused { sense: TOO_LITTLE_OFFERED, residual: Residual::Overflow(512) };
    assert_eq!(planned(&write(2), "w", 512), Err(short));
}

#[test]
fn a_write_that_wants_to_read_is_refused() {
    let wrong = Refused { sense: Sense::INVALID_FIELD_IN_CDB, residual: Residual::Underflow(1024) };
    assert_eq!(planned(&write(2), "r", 1024), Err(wrong));
    assert_eq!(
        planned(&read(2), "w", 1024),
        Ok(Transfer::In(1024)),
        "done, but nobody has room for the data"
    );
}

#[test]
fn parameter_data_has_room_beyond_what_was_offered() {
    let read_capacity = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(planned(&read_capacity, "r", 32), Ok(Transfer::In(64 * 1024)));
    assert_eq!(planned(&[0x12, 0, 0, 0, 255, 0], "r", 36), Ok(Transfer::In(255)));
}

#[test]
fn commands_without_data_move_none() {
    assert_eq!(planned(&[0; 6], "", 0), Ok(Transfer::None));
    assert_eq!(planned(&[0; 6], "w", 512), Ok(Transfer::None));
    assert_eq!(planned(&read(0), "r", 512), Ok(Transfer::None));
}

#[test]
fn unknown_commands_reach_the_device_with_what_was_offered() {
    assert_eq!(planned(&[0xc7; 10], "r", 777), Ok(Transfer::In(777)));
    assert_eq!(planned(&[0xc7; 10], "w", 777), Ok(Transfer::Out(777)));
    assert_eq!(planned(&[0xc7; 10], "", 0), Ok(Transfer::None));
    assert_eq!(planned(&[0xc7; 10], "r", u32::MAX), Ok(Transfer::In(MAX)));
    assert!(planned(&[0xc7; 10], "w", u32::MAX).is_err());
}

#[test]
fn more_than_the_device_carries_is_refused() {
    let long = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(planned(&long, "r", 512).map_err(|refused| refused.sense), Err(Sense::INVALID_FIELD_IN_CDB));
}

#[test]
fn residuals_count_both_ways() {
    assert_eq!(residual(512, 512), Residual::None);
    assert_eq!(residual(512, 100), Residual::Underflow(412));
    assert_eq!(residual(512, 1024), Residual::Overflow(512));
    assert_eq!(residual(0, u64::MAX), Residual::Overflow(u32::MAX));
}

/// READ(32), WRITE(32) and others of operation code 7Fh.
fn long(action: u8, blocks: u8) -> [u8; 32] {
    let mut cdb = [0; 32];
    (cdb[0], cdb[7], cdb[9], cdb[31]) = (0x7f, 0x18, action, blocks);
    cdb
}

#[test]
fn cdbs_of_32_bytes_move_what_they_ask_for() {
    assert_eq!(planned(&long(0x09, 2), "r", 4096), Ok(Transfer::In(1024)));
    assert_eq!(planned(&long(0x0b, 2), "w", 1024), Ok(Transfer::Out(1024)));
    let short = Refused { sense: TOO_LITTLE_OFFERED, residual: Residual::Overflow(512) };
    assert_eq!(planned(&long(0x0b, 2), "w", 512), Err(short));
    assert_eq!(planned(&long(0x0d, 200), "w", 512), Ok(Transfer::Out(512)), "WRITE SAME: one block");
    for (offered, transfer) in [(0, Transfer::None), (256, Transfer::Out(256)), (1024, Transfer::Out(1024))] {
        assert_eq!(planned(&long(0x0d, 200), "w", offered), Ok(transfer), "the device says what is wrong");
    }
}

#[test]
fn commands_of_several_steps_move_what_they_compare_and_write() {
    let mut compare = [0; 16];
    (compare[0], compare[13]) = (0x89, 3);
    assert_eq!(planned(&compare, "w", 3072), Ok(Transfer::Out(3072)), "both halves");
    for wrong in [512, 4096] {
        assert_eq!(planned(&compare, "w", wrong), Ok(Transfer::Out(wrong)), "the device says what is wrong");
    }
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    for (offered, moved) in [(8, 8), (24, 24), (512, 24)] {
        assert_eq!(planned(&unmap, "w", offered), Ok(Transfer::Out(moved)), "{offered}");
    }
    let verify = |byte_check: u8| [0x2f, byte_check << 1, 0, 0, 0, 0, 0, 0, 4, 0];
    assert_eq!(planned(&verify(0), "", 0), Ok(Transfer::None));
    assert_eq!(planned(&verify(1), "w", 2048), Ok(Transfer::Out(2048)));
    assert_eq!(planned(&verify(3), "w", 512), Ok(Transfer::Out(512)));
}

#[test]
fn the_parameter_list_of_format_unit_is_as_long_as_what_was_offered() {
    assert_eq!(planned(&[0x04, 0, 0, 0, 0, 0], "", 0), Ok(Transfer::None));
    assert_eq!(planned(&[0x04, 0x10, 0, 0, 0, 0], "w", 4), Ok(Transfer::Out(4)));
    assert_eq!(planned(&[0x04, 0x10, 0, 0, 0, 0], "w", 12), Ok(Transfer::Out(12)), "with a pattern");
    assert_eq!(
        planned(&[0x04, 0x10, 0, 0, 0, 0], "w", 2),
        Ok(Transfer::Out(2)),
        "the device says what is wrong"
    );
    let long = planned(&[0x04, 0x10, 0, 0, 0, 0], "w", MAX + 1).unwrap_err();
    assert_eq!(long.sense, Sense::INVALID_FIELD_IN_CDB);
}
