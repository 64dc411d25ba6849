use super::*;
use crate::target_port::{AccessState, TargetPortGroup};
use crate::{
    BlockSize, Bytes, Geometry, Identity, LogicalUnit, Provisioning, Unmap, WriteSame, cdb_length, decode,
};

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
        assert_eq!(cdb_length(&row.blank()), Some(length), "{}", row.name);
        assert_eq!(row.usage[0], row.opcode, "{}", row.name);
        assert_eq!(row.usage[usize::from(row.control())], 0x04, "{}: CONTROL", row.name);
        assert!(row.usage[length..].iter().all(|&byte| byte == 0), "{}: beyond the CDB", row.name);
        if row.opcode == VARIABLE {
            assert_eq!(row.usage[7..10], [0xff; 3], "{}: length and service action are looked at", row.name);
        } else if row.service_action.is_some() {
            assert_eq!(row.usage[1] & 0x1f, 0x1f, "{}: the service action is looked at", row.name);
        }
    }
}

#[test]
fn every_row_is_found_by_its_own_opcode_and_no_other_opcode_is() {
    for opcode in (0..=0xff_u8).filter(|&opcode| opcode != VARIABLE) {
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
    for row in SUPPORTED {
        assert!(find(&row.blank()).is_some_and(|found| std::ptr::eq(found, row)), "{}", row.name);
    }
    assert!(find(&[]).is_none());
    assert!(find(&[0x9e]).is_none(), "the service action is missing");
    assert!(find(&[VARIABLE, 0, 0, 0, 0, 0, 0, 24, 0]).is_none(), "half of the service action is missing");
}

/// Reserved and vendor specific opcodes must be refused, not left unanswered: with tcmu-runner they kept their slot in
/// the ring for ever, and opcode 7Fh brought the daemon down when it logged a timeout.
#[test]
fn reserved_and_vendor_specific_opcodes_have_no_row() {
    for opcode in (0x60..=0x7e).chain(0xc0..=0xff) {
        assert!(find(&[opcode; 32]).is_none(), "{opcode:02X}h");
        assert_eq!(class(&[opcode; 32]), Class::Other);
    }
    assert!(find(&[VARIABLE]).is_none());
}

#[test]
fn usage_data_shows_the_service_action_itself() {
    let of = |name: &str| {
        let row = SUPPORTED.iter().find(|row| row.name == name).unwrap();
        row.cdb_usage_data()[..row.cdb_length()].to_vec()
    };
    let table: &[(&str, &[u8])] = &[
        ("TEST UNIT READY", &[0, 0, 0, 0, 0, 4]),
        ("READ(6)", &[0x08, 0x1f, 0xff, 0xff, 0xff, 4]),
        ("READ(10)", &[0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4]),
        ("VERIFY(10)", &[0x2f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4]),
        ("UNMAP", &[0x42, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 4]),
        ("READ CAPACITY(16)", &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 4]),
        (
            "COMPARE AND WRITE",
            &[0x89, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0, 4],
        ),
        ("REPORT TARGET PORT GROUPS", &[0xa3, 0xea, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4]),
        (
            "REPORT SUPPORTED OPERATION CODES",
            &[0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4],
        ),
        (
            "WRITE SAME(32)",
            &[
                0x7f, 4, 0, 0, 0, 0, 0, 0xff, 0, 0x0d, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
    ];
    for &(name, usage) in table {
        assert_eq!(of(name), usage, "{name}");
    }
}

#[test]
fn classes() {
    let table: &[(&[u8], Class)] = &[
        (&[0x08], Class::Read),
        (&[0x28], Class::Read),
        (&[0x88], Class::Read),
        (&[0xa8], Class::Read),
        (&[0x0a], Class::Write),
        (&[0x8a, 0xff], Class::Write),
        (&[0xae], Class::Write),
        (&[0x41], Class::Write),
        (&[0x89], Class::Write),
        (&[0x8b], Class::Write),
        (&[0x35], Class::Flush),
        (&[0x91], Class::Flush),
        (&[0x42], Class::Other),
        (&[0x2f], Class::Other),
        (&[0x9e, 0x10], Class::Other),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 24, 0, 0x09], Class::Read),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 24, 0, 0x0b], Class::Write),
        (&[0x7f, 0, 0, 0, 0, 0, 0, 24, 0, 0x0a], Class::Other),
        (&[0x7f, 0, 0], Class::Other),
        (&[], Class::Other),
    ];
    for &(cdb, expected) in table {
        assert_eq!(class(cdb), expected, "{cdb:02X?}");
    }
    // The table by opcode speaks for all service actions of it.
    for row in SUPPORTED {
        assert_eq!(class(&row.blank()), row.class, "{}", row.name);
    }
}

#[test]
fn a_unit_supports_what_it_can_do() {
    let geometry = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    let mut unit = LogicalUnit::new(Identity::tcmu("1"), geometry);
    let missing = |unit: &LogicalUnit| -> Vec<&str> {
        SUPPORTED.iter().filter(|row| !is_supported(row, unit)).map(|row| row.name).collect()
    };
    let composites = [
        "FORMAT UNIT",
        "MODE SELECT(6)",
        "WRITE AND VERIFY(10)",
        "VERIFY(10)",
        "PRE-FETCH(10)",
        "WRITE SAME(10)",
        "MODE SELECT(10)",
        "VERIFY(32)",
        "WRITE AND VERIFY(32)",
        "WRITE SAME(32)",
        "ORWRITE(16)",
        "WRITE AND VERIFY(16)",
        "VERIFY(16)",
        "PRE-FETCH(16)",
        "WRITE SAME(16)",
        "GET LBA STATUS(16)",
        "WRITE AND VERIFY(12)",
        "VERIFY(12)",
    ];
    let copies = [
        "EXTENDED COPY(LID1)",
        "RECEIVE COPY STATUS(LID1)",
        "RECEIVE COPY OPERATING PARAMETERS",
        "RECEIVE COPY FAILURE DETAILS(LID1)",
    ];
    let least = missing(&unit);
    assert_eq!(least.len(), composites.len() + copies.len() + 4);
    unit.characteristics.composites = true;
    assert!(composites.iter().all(|name| least.contains(name) && !missing(&unit).contains(name)));
    unit.characteristics.third_party_copy = true;
    let groups = ["REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS"];
    assert_eq!(missing(&unit), [&["UNMAP", "COMPARE AND WRITE"][..], &groups].concat());
    unit.characteristics.max_compare_and_write = 1;
    assert_eq!(missing(&unit), [&["UNMAP"][..], &groups].concat());
    unit.characteristics.unmap = Some(Unmap {
        max_blocks: 1,
        max_descriptors: 1,
        granularity: 0,
        alignment: None,
        reads_zeroes: true,
        write_same: WriteSame::None,
        provisioning: Provisioning::Thin,
    });
    assert_eq!(missing(&unit), groups);
    unit.groups.push(TargetPortGroup {
        id: 1,
        state: AccessState::Optimized,
        preferred: false,
        supported: 0x01,
        status: 0,
        implicit_transition_s: 0,
        explicit: false,
        implicit: true,
        ports: vec![1],
    });
    assert!(missing(&unit).is_empty());
}

#[test]
fn the_dictionary_holds_a_command_that_decodes_for_each_row() {
    let dictionary = dictionary();
    assert_eq!(dictionary.len(), SUPPORTED.len());
    for (name, cdb) in dictionary {
        assert!(decode(&cdb).is_ok(), "{name}");
        assert_eq!(opcode_name(&cdb), name);
    }
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
