use super::*;
use crate::cdb_length;

#[test]
fn rows_stand_in_order_without_duplicates() {
    for pair in SUPPORTED.windows(2) {
        let key = |row: &Operation| (row.opcode, row.service_action);
        assert!(key(&pair[0]) < key(&pair[1]), "{} before {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn lengths_agree_with_group_codes_and_usage_maps() {
    for row in SUPPORTED {
        let length = row.cdb_length();
        assert_eq!(cdb_length(&[row.opcode]), Some(length), "{}", row.name);
        assert_eq!(row.usage[0], row.opcode, "{}", row.name);
        assert_eq!(row.usage[length - 1], 0x04, "{}: CONTROL", row.name);
        assert!(row.usage[length..].iter().all(|&byte| byte == 0), "{}: beyond the CDB", row.name);
        if row.service_action.is_some() {
            assert_eq!(row.usage[1] & 0x1f, 0x1f, "{}: the service action is looked at", row.name);
        }
    }
}

#[test]
fn every_row_is_found_by_its_own_opcode_and_no_other_opcode_is() {
    for opcode in 0..=0xff_u8 {
        let rows: Vec<&Operation> = SUPPORTED.iter().filter(|row| row.opcode == opcode).collect();
        for action in 0..=0x1f_u8 {
            let expected =
                rows.iter().find(|row| row.service_action.is_none_or(|own| own == u16::from(action)));
            let found = find(&[opcode, action]);
            assert_eq!(
                found.map(|row| row.name),
                expected.map(|row| row.name),
                "{opcode:02X}h/{action:02X}h"
            );
        }
    }
    assert!(find(&[]).is_none());
    assert!(find(&[0x9e]).is_none(), "the service action is missing");
}

#[test]
fn names_for_logs() {
    let table: &[(&[u8], &str)] = &[
        (&[0x28], "READ(10)"),
        (&[0x9e, 0x10], "READ CAPACITY(16)"),
        (&[0x9e, 0x12], "GET LBA STATUS(16)"),
        (&[0x9e, 0x1f], "SERVICE ACTION IN(16)"),
        (&[0xa3, 0x0c], "REPORT SUPPORTED OPERATION CODES"),
        (&[0x42], "UNMAP"),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0x00, 0x0d], "WRITE SAME(32)"),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0x01], "variable length CDB"),
        (&[0x7e], "reserved opcode"),
        (&[0xc1], "vendor specific opcode"),
        (&[0x02], "unknown opcode"),
        (&[], "empty CDB"),
    ];
    for &(cdb, name) in table {
        assert_eq!(opcode_name(cdb), name, "{cdb:02X?}");
    }
}

#[test]
fn supported_commands_have_no_second_name() {
    for row in SUPPORTED.iter().filter(|row| row.service_action.is_none()) {
        assert_eq!(names::unsupported(&[row.opcode, 0]), "unknown opcode", "{} is in both lists", row.name);
    }
}
