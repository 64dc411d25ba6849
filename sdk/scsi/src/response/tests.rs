use proptest::prelude::*;

use super::*;
use crate::units::{BlockSize, Bytes};
use crate::{Characteristics, Data, Geometry, Identity, cdb_length, decode, opcode};

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
        assert_eq!(data, inquiry::standard(&unit().identity)[..usize::from(allocation).min(96)]);
    }
    // PAGE LENGTH and MODE DATA LENGTH are those of the uncut data.
    assert_eq!(answer(&[0x12, 1, 0x83, 0, 4, 0]), Some(Ok(vec![0, 0x83, 0, 69])));
    assert_eq!(answer(&[0x1a, 0x08, 0x3f, 0, 1, 0]), Some(Ok(vec![47])));
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
        noise in any::<[u8; 16]>(),
        serial in texts(),
        vendor in texts(),
        blocks in 1..=u64::MAX / 4096,
        flags in any::<[bool; 5]>(),
    ) {
        let row = &opcode::SUPPORTED[row];
        let mut cdb = noise;
        cdb[0] = row.opcode;
        if let Some(action) = row.service_action {
            cdb[1] = u8::try_from(action).unwrap();
        }
        let length = cdb_length(&cdb).unwrap();
        cdb[length - 1] = 0;
        let Ok(command) = decode(&cdb) else { return Ok(()) };

        let geometry = Geometry::new(Bytes(blocks * 4096), BlockSize::B4096).unwrap();
        let mut unit = LogicalUnit::new(Identity { vendor, ..Identity::tcmu(&serial) }, geometry);
        unit.characteristics.write_protected = flags[0];
        unit.characteristics.write_cache = flags[1];
        unit.characteristics.dpo_fua = flags[2];
        unit.characteristics.descriptor_sense = flags[3];
        unit.characteristics.solid_state = flags[4];

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
