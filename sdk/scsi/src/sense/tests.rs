use super::*;

#[test]
fn keys_convert_both_ways_and_only_the_real_ones() {
    for code in 0..=0xff_u8 {
        match SenseKey::try_from(code) {
            Ok(key) => assert_eq!(key.code(), code),
            Err(error) => {
                assert_eq!(error, InvalidSenseKey(code));
                assert!(code == 0xc || code > 0xf, "{code:X}h is a sense key");
            }
        }
    }
    assert_eq!(InvalidSenseKey(12).to_string(), "sense key: Ch does not exist; use 0h to Bh or Dh to Fh");
}

#[test]
fn logs_show_name_numbers_and_information() {
    assert_eq!(Sense::INVALID_FIELD_IN_CDB.to_string(), "ILLEGAL REQUEST 5/24/00");
    assert_eq!(Sense::MISCOMPARE.with_information(512).to_string(), "MISCOMPARE E/1D/00 information=512");
}

/// Bytes that are not zero, with their positions: everything else of the 96 is checked to be zero.
fn nonzero(buffer: &[u8; SENSE_BUFFER_LENGTH]) -> Vec<(usize, u8)> {
    buffer.iter().copied().enumerate().filter(|&(_, byte)| byte != 0).collect()
}

#[test]
fn fixed_format() {
    let data = Sense::INVALID_FIELD_IN_CDB.encode(SenseFormat::Fixed, None);
    assert_eq!(data.as_bytes(), &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0]);
    assert_eq!(*data.buffer(), Sense::INVALID_FIELD_IN_CDB.fixed());
    assert_eq!(nonzero(&Sense::INVALID_FIELD_IN_CDB.fixed()), [(0, 0x70), (2, 5), (7, 10), (12, 0x24)]);
}

#[test]
fn fixed_format_carries_32_bits_of_information() {
    let data = Sense::UNRECOVERED_READ_ERROR.with_information(0x1234_5678).fixed();
    assert_eq!(
        nonzero(&data),
        [(0, 0xf0), (2, 3), (3, 0x12), (4, 0x34), (5, 0x56), (6, 0x78), (7, 10), (12, 0x11)]
    );
    // Zero is information too: VALID tells.
    assert_eq!(Sense::MISCOMPARE.with_information(0).fixed()[0], 0xf0);
}

#[test]
fn information_that_does_not_fit_the_fixed_format_is_not_valid() {
    let data = Sense::WRITE_ERROR.with_information(1 << 32).fixed();
    assert_eq!(nonzero(&data), [(0, 0x70), (2, 3), (7, 10), (12, 0x0c)]);
}

#[test]
fn descriptor_format() {
    let data = Sense::CAPACITY_CHANGED.encode(SenseFormat::Descriptor, None);
    assert_eq!(data.as_bytes(), &[0x72, 6, 0x2a, 0x09, 0, 0, 0, 0]);

    let data =
        Sense::WRITE_ERROR.with_information(0x0102_0304_0506_0708).encode(SenseFormat::Descriptor, None);
    assert_eq!(
        data.as_bytes(),
        &[0x72, 3, 0x0c, 0, 0, 0, 0, 12, 0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn field_pointers_stand_in_both_formats() {
    let field = Some(SenseKeySpecific::Field(FieldPointer::cdb_bit(1, 7)));
    let fixed = Sense::INVALID_FIELD_IN_CDB.encode(SenseFormat::Fixed, field);
    assert_eq!(&fixed.as_bytes()[15..], &[0xcf, 0, 1]);

    let descriptor = Sense::INVALID_FIELD_IN_CDB.encode(SenseFormat::Descriptor, field);
    assert_eq!(descriptor.as_bytes(), &[0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xcf, 0, 1, 0]);

    let whole = Some(SenseKeySpecific::Field(FieldPointer::cdb(2)));
    assert_eq!(
        &Sense::INVALID_FIELD_IN_CDB.encode(SenseFormat::Fixed, whole).as_bytes()[15..],
        &[0xc0, 0, 2]
    );
    let parameter = Some(SenseKeySpecific::Field(FieldPointer::parameter(0x0104)));
    assert_eq!(
        &Sense::INVALID_FIELD_IN_PARAMETER_LIST.encode(SenseFormat::Fixed, parameter).as_bytes()[15..],
        &[0x80, 1, 4]
    );
}

#[test]
fn information_and_field_pointer_stand_behind_each_other() {
    let field = Some(SenseKeySpecific::Field(FieldPointer::cdb(2)));
    let data = Sense::LBA_OUT_OF_RANGE.with_information(9).encode(SenseFormat::Descriptor, field);
    let bytes = data.as_bytes();
    assert_eq!(bytes.len(), 28);
    assert_eq!(bytes[7], 20);
    assert_eq!(&bytes[8..20], &[0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(&bytes[20..], &[0x02, 0x06, 0, 0, 0xc0, 0, 2, 0]);
}

#[test]
fn progress_goes_with_not_ready_and_nothing_goes_with_the_wrong_key() {
    let progress = Some(SenseKeySpecific::Progress(0x8000));
    let data = Sense::FORMAT_IN_PROGRESS.encode(SenseFormat::Fixed, progress);
    assert_eq!(&data.as_bytes()[12..], &[0x04, 0x04, 0, 0x80, 0x80, 0]);

    assert_eq!(*Sense::WRITE_ERROR.encode(SenseFormat::Fixed, progress).buffer(), Sense::WRITE_ERROR.fixed());
    let field = Some(SenseKeySpecific::Field(FieldPointer::cdb(2)));
    assert_eq!(*Sense::WRITE_ERROR.encode(SenseFormat::Fixed, field).buffer(), Sense::WRITE_ERROR.fixed());
}

/// The statuses of tcmu-runner and what they mean on the wire; the numbers are the drop-in promise.
#[test]
fn named_codes_match_the_status_table() {
    let table: &[(Sense, u8, u8, u8)] = &[
        (Sense::WRITE_ERROR, 3, 0x0c, 0x00),
        (Sense::UNRECOVERED_READ_ERROR, 3, 0x11, 0x00),
        (Sense::MISCOMPARE, 0xe, 0x1d, 0x00),
        (Sense::INVALID_COMMAND_OPERATION_CODE, 5, 0x20, 0x00),
        (Sense::INVALID_FIELD_IN_CDB, 5, 0x24, 0x00),
        (Sense::INVALID_FIELD_IN_PARAMETER_LIST, 5, 0x26, 0x00),
        (Sense::PARAMETER_LIST_LENGTH_ERROR, 5, 0x1a, 0x00),
        (Sense::TARGET_PORT_IN_STANDBY, 2, 0x04, 0x0b),
        (Sense::INTERNAL_TARGET_FAILURE, 4, 0x44, 0x00),
        (Sense::LBA_OUT_OF_RANGE, 5, 0x21, 0x00),
        (Sense::FORMAT_IN_PROGRESS, 2, 0x04, 0x04),
        (Sense::CAPACITY_CHANGED, 6, 0x2a, 0x09),
        (Sense::SAVING_PARAMETERS_NOT_SUPPORTED, 5, 0x39, 0x00),
        (Sense::CANNOT_WRITE_INCOMPATIBLE_FORMAT, 5, 0x30, 0x05),
        (Sense::ASYMMETRIC_ACCESS_TRANSITION, 2, 0x04, 0x0a),
        (Sense::IMPLICIT_TRANSITION_FAILED, 6, 0x2a, 0x07),
        (Sense::SET_TARGET_PORT_GROUPS_FAILED, 4, 0x67, 0x0a),
        (Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR, 5, 0x26, 0x09),
        (Sense::UNSUPPORTED_TARGET_DESCRIPTOR, 5, 0x26, 0x07),
        (Sense::COPY_TARGET_NOT_REACHABLE, 0xa, 0x0d, 0x02),
        (Sense::INCORRECT_COPY_TARGET_TYPE, 0xa, 0x0d, 0x03),
        (Sense::TOO_MANY_SEGMENT_DESCRIPTORS, 5, 0x26, 0x08),
        (Sense::TOO_MANY_TARGET_DESCRIPTORS, 5, 0x26, 0x06),
        (Sense::SPACE_ALLOCATION_FAILED, 7, 0x27, 0x07),
        (Sense::WRITE_PROTECTED, 7, 0x27, 0x00),
    ];
    for &(sense, key, asc, ascq) in table {
        assert_eq!((sense.key.code(), sense.asc, sense.ascq), (key, asc, ascq), "{sense}");
        assert_eq!(sense.information, None);
    }
}
