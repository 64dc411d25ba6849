use proptest::prelude::*;

use super::*;
use crate::units::{BlockSize, Bytes};
use crate::{
    AccessState, Characteristics, Data, Geometry, Identity, Provisioning, TargetPort, TargetPortGroup,
    ThinSpace, Unmap, WriteSame, cdb_length, decode, opcode,
};

fn unit() -> LogicalUnit {
    let geometry = Geometry::new(Bytes(1 << 30), BlockSize::B512).unwrap();
    LogicalUnit::new(Identity::tcmu("6b1c4f2e-0a37-4d58-9be1-c0ffee123456"), geometry)
}

/// The answer to a CDB; what was in the buffer before must not show.
fn answer(cdb: &[u8]) -> Option<Result<Vec<u8>, Sense>> {
    let mut out = vec![0xee; 1000];
    let result = parameter_data(&decode(cdb).unwrap(), &unit(), &mut out)?;
    Some(match result {
        Ok(()) => Ok(out),
        Err(sense) => {
            assert_eq!(out, []);
            Err(sense)
        }
    })
}

#[test]
fn answers_are_cut_to_the_allocation_length() {
    for allocation in [0, 1, 4, 5, 36, 95, 96, 255] {
        let data = answer(&[0x12, 0, 0, 0, allocation, 0]).unwrap().unwrap();
        assert_eq!(data, inquiry::standard(&unit())[..usize::from(allocation).min(96)]);
    }
    // PAGE LENGTH and MODE DATA LENGTH are those of the uncut data.
    assert_eq!(answer(&[0x12, 1, 0x83, 0, 4, 0]), Some(Ok(vec![0, 0x83, 0, 69])));
    assert_eq!(answer(&[0x1a, 0x08, 0x3f, 0, 1, 0]), Some(Ok(vec![59])));
    assert_eq!(answer(&[0x1a, 0x08, 0x3f, 0, 0, 0]), Some(Ok(vec![])));
    assert_eq!(answer(&[0x5a, 0x08, 0x08, 0, 0, 0, 0, 0, 2, 0]), Some(Ok(vec![0, 26])));
}

#[test]
fn capacity_10_has_no_allocation_length() {
    let expected = vec![0, 0x1f, 0xff, 0xff, 0, 0, 2, 0];
    assert_eq!(answer(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(Ok(expected)));
}

#[test]
fn capacity_16_up_to_the_largest_allocation_length() {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x9e, 0x10);
    let whole = capacity::read_capacity_16(&unit().geometry, &Characteristics::default());
    for (allocation, length) in [(0_u32, 0), (12, 12), (32, 32), (u32::MAX, 32)] {
        cdb[10..14].copy_from_slice(&allocation.to_be_bytes());
        assert_eq!(answer(&cdb), Some(Ok(whole[..length].to_vec())), "{allocation}");
    }
}

#[test]
fn request_sense_answers_in_the_format_that_is_asked_for() {
    let fixed = vec![0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer(&[0x03, 0, 0, 0, 252, 0]), Some(Ok(fixed)));
    assert_eq!(answer(&[0x03, 1, 0, 0, 252, 0]), Some(Ok(vec![0x72, 0, 0, 0, 0, 0, 0, 0])));
    assert_eq!(answer(&[0x03, 1, 0, 0, 3, 0]), Some(Ok(vec![0x72, 0, 0])));
}

#[test]
fn request_sense_reports_what_is_pending() {
    let mut own = unit();
    own.pending_sense = Some(Sense::CAPACITY_CHANGED);
    let mut out = Vec::new();
    let command = decode(&[0x03, 1, 0, 0, 252, 0]).unwrap();
    assert_eq!(parameter_data(&command, &own, &mut out), Some(Ok(())));
    assert_eq!(out, [0x72, 6, 0x2a, 0x09, 0, 0, 0, 0]);
}

#[test]
fn request_sense_tells_how_far_formatting_has_come() {
    let mut own = unit();
    own.formatting = Some(0x8001);
    let ask = |descriptor, own: &LogicalUnit| {
        let mut out = Vec::new();
        let command = decode(&[0x03, descriptor, 0, 0, 252, 0]).unwrap();
        assert_eq!(parameter_data(&command, own, &mut out), Some(Ok(())));
        out
    };
    let fixed = [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x04, 0, 0x80, 0x80, 0x01];
    assert_eq!(ask(0, &own), fixed);
    let descriptor = [0x72, 2, 0x04, 0x04, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0x80, 0x80, 0x01, 0];
    assert_eq!(ask(1, &own), descriptor);
    // News comes first.
    own.pending_sense = Some(Sense::CAPACITY_CHANGED);
    assert_eq!(ask(1, &own), [0x72, 6, 0x2a, 0x09, 0, 0, 0, 0]);
}

#[test]
fn reports_are_answered_without_the_medium() {
    // REPORT SUPPORTED OPERATION CODES, READ(10) alone.
    let cdb = [0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 0, 255, 0, 0];
    let usage = vec![0, 3, 0, 10, 0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0x04];
    assert_eq!(answer(&cdb), Some(Ok(usage)));
    // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, cut.
    assert_eq!(answer(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]), Some(Ok(vec![0x88, 0])));
    // REPORT TARGET PORT GROUPS without groups.
    assert_eq!(answer(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]), Some(Ok(vec![0, 0, 0, 0])));
    // LOG SENSE: the supported pages.
    assert_eq!(answer(&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0]), Some(Ok(vec![0, 0, 0, 1, 0])));
    assert_eq!(answer(&[0x4d, 0, 0x4c, 0, 0, 0, 0, 0, 255, 0]), Some(Err(Sense::INVALID_FIELD_IN_CDB)));
    // RECEIVE COPY RESULTS: operating parameters; a copy that there never was.
    let mut cdb = [0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
    assert_eq!(answer(&cdb), Some(Ok(vec![0, 0, 0, 42])));
    cdb[1] = 0;
    assert_eq!(answer(&cdb), Some(Err(Sense::INVALID_FIELD_IN_CDB)));
}

#[test]
fn refusals_point_at_the_field() {
    for (cdb, field) in [
        (&[0x12, 1, 0x99, 0, 255, 0][..], FieldPointer::cdb(2)),
        (&[0x1a, 0, 0x02, 0, 255, 0], FieldPointer::cdb_bit(2, 5)),
        (&[0x1a, 0, 0x0a, 1, 255, 0], FieldPointer::cdb(3)),
        (&[0x1a, 0, 0x3f, 1, 255, 0], FieldPointer::cdb(3)),
        (&[0x1a, 0, 0xc8, 0, 255, 0], FieldPointer::cdb_bit(2, 7)),
        (&[0x4d, 0, 0x4d, 0, 0, 0, 0, 0, 255, 0], FieldPointer::cdb_bit(2, 5)),
        (&[0x4d, 0, 0x40, 1, 0, 0, 0, 0, 255, 0], FieldPointer::cdb(3)),
        (&[0x4d, 0, 0x40, 0, 0, 0, 1, 0, 255, 0], FieldPointer::cdb(5)),
        (&[0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 0, 255, 0, 0], FieldPointer::cdb_bit(2, 2)),
        (&[0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 0, 255, 0, 0], FieldPointer::cdb_bit(2, 2)),
        (&[0x84, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], FieldPointer::cdb(2)),
    ] {
        assert!(answer(cdb).unwrap().is_err(), "{cdb:02X?}");
        assert_eq!(refused_field(&decode(cdb).unwrap(), &unit()), Some(field), "{cdb:02X?}");
    }
    assert_eq!(refused_field(&decode(&[0x00; 6]).unwrap(), &unit()), None);
}

#[test]
fn refusals() {
    assert_eq!(answer(&[0x12, 1, 0x99, 0, 255, 0]), Some(Err(Sense::INVALID_FIELD_IN_CDB)));
    assert_eq!(answer(&[0x1a, 0, 0x02, 0, 255, 0]), Some(Err(Sense::INVALID_FIELD_IN_CDB)));
    assert_eq!(answer(&[0x1a, 0, 0xff, 0, 255, 0]), Some(Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED)));
}

#[test]
fn commands_of_the_medium_are_left_to_the_caller() {
    for cdb in [&[0x00; 6][..], &[0x08, 0, 0, 0, 1, 0], &[0x2a; 10], &[0x35; 10], &[0x1b, 0, 0, 0, 1, 0]] {
        let mut cdb = cdb.to_vec();
        cdb[1] = 0;
        *cdb.last_mut().unwrap() = 0;
        assert_eq!(answer(&cdb), None, "{cdb:02X?}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..300).prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    /// Whatever the CDB and the identity: no panic, never more than the CDB allows, refused is empty.
    #[test]
    fn answers_never_exceed_what_the_cdb_asks_for(
        row in proptest::sample::select((0..opcode::SUPPORTED.len()).collect::<Vec<_>>()),
        noise in any::<[u8; 32]>(),
        serial in texts(),
        vendor in texts(),
        blocks in 1..=u64::MAX / 4096,
        flags in any::<[bool; 12]>(),
        ports in prop::collection::vec((any::<u16>(), any::<u8>(), texts(), texts()), 0..3),
        groups in prop::collection::vec((any::<u16>(), 0_usize..400, any::<u8>()), 0..4),
        space in prop::option::of(any::<(u64, u64, Option<u64>)>()),
    ) {
        let row = &opcode::SUPPORTED[row];
        let mut cdb = noise;
        let usage = row.cdb_usage_data();
        cdb[0] = row.opcode;
        if row.opcode == 0x7f {
            cdb[7] = 24;
            cdb[8..10].copy_from_slice(&usage[8..10]);
            cdb[1] = 0;
        } else if let Some(action) = row.service_action {
            cdb[1] = (cdb[1] & 0xe0) | u8::try_from(action).unwrap();
        }
        let length = cdb_length(&cdb).unwrap();
        if row.opcode != 0x7f {
            cdb[length - 1] = 0;
        }
        let Ok(command) = decode(&cdb[..length]) else { return Ok(()) };

        let geometry = Geometry::new(Bytes(blocks * 4096), BlockSize::B4096).unwrap();
        let mut unit = LogicalUnit::new(Identity { vendor, ..Identity::tcmu(&serial) }, geometry);
        unit.characteristics.write_protected = flags[0];
        unit.characteristics.write_cache = flags[1];
        unit.characteristics.dpo_fua = flags[2];
        unit.characteristics.descriptor_sense = flags[3];
        unit.characteristics.solid_state = flags[4];
        unit.characteristics.third_party_copy = flags[5];
        unit.characteristics.composites = flags[6];
        unit.characteristics.reservations = flags[7];
        unit.characteristics.software_write_protected = flags[8];
        unit.characteristics.changeable.write_cache = flags[9];
        unit.formatting = flags[10].then_some(0x1234);
        unit.characteristics.unmap = flags[11].then_some(Unmap {
            max_blocks: 1,
            max_descriptors: 1,
            granularity: 0,
            alignment: None,
            reads_zeroes: true,
            write_same: WriteSame::None,
            provisioning: Provisioning::Thin,
        });
        unit.ports = ports
            .into_iter()
            .map(|(relative_id, protocol, name, target_name)| TargetPort {
                relative_id, protocol, group: 1, name, target_name,
            })
            .collect();
        unit.groups = groups
            .into_iter()
            .map(|(id, ports, byte)| TargetPortGroup {
                id,
                state: AccessState::Optimized,
                preferred: flags[0],
                supported: byte,
                status: byte,
                implicit_transition_s: byte,
                explicit: flags[1],
                implicit: flags[2],
                ports: vec![id; ports],
            })
            .collect();
        unit.space = space.map(|(available, used, threshold)| ThinSpace {
            available: Bytes(available),
            used: Bytes(used),
            threshold: threshold.map(Bytes),
        });

        let mut out = vec![0xee; 7];
        match parameter_data(&command, &unit, &mut out) {
            None => prop_assert!(out.is_empty()),
            Some(Err(_)) => prop_assert!(out.is_empty()),
            Some(Ok(())) => match command.direction(BlockSize::B4096) {
                Data::In(allowed) => prop_assert!(u64::try_from(out.len()).unwrap() <= allowed.0),
                Data::None => prop_assert!(out.is_empty()),
                Data::Out(_) => prop_assert!(false, "parameter data goes to the initiator"),
            },
        }
    }
}
