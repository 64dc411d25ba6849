//! Hostile CDBs for units of all abilities. Nothing panics, what is refused is refused as the standard asks, and no
//! answer is longer than what the CDB has room for.

use lunbox_scsi::{
    BlockSize, Blocks, Bytes, Command, Data, Geometry, Identity, LogicalUnit, Provisioning, Sense, Unmap,
    WriteSame, cdb_length, decode, decode_for, invalid_field, opcode, opcode_name, parameter_data,
};

/// The first byte says what the unit can do, the others are the CDB.
pub fn drive(bytes: &[u8]) {
    let [abilities, cdb @ ..] = bytes else { return };
    let unit = unit(*abilities);
    let known = opcode::find(cdb);
    assert!(!opcode_name(cdb).is_empty());
    if let Some(row) = known {
        assert_eq!(opcode::class(cdb), row.class);
    }
    let decoded = decode(cdb);
    let supported = known.is_some_and(|row| opcode::is_supported(row, &unit));
    let expected = if supported { decoded } else { Err(Sense::INVALID_COMMAND_OPERATION_CODE) };
    assert_eq!(decode_for(&unit, cdb), expected);
    match decoded {
        Ok(command) => {
            let length = cdb_length(cdb).expect("a command that is known has a length");
            assert_eq!(decode(&cdb[..length]), decoded, "what stands behind a CDB changes nothing");
            assert_eq!(invalid_field(cdb), None);
            answer(&command, &unit);
        }
        Err(Sense::INVALID_COMMAND_OPERATION_CODE) => assert!(known.is_none()),
        Err(sense) => {
            assert_eq!(sense, Sense::INVALID_FIELD_IN_CDB);
            let length = cdb_length(cdb).expect("a command that is known has a length");
            match invalid_field(cdb) {
                Some(field) => assert!(field.in_cdb && usize::from(field.byte) < length.min(cdb.len())),
                None => assert!(cdb.len() < length, "only a short CDB has no field to blame"),
            }
        }
    }
}

/// Parameter data fits into what the CDB asks for, and goes the way it says.
fn answer(command: &Command, unit: &LogicalUnit) {
    let direction = command.direction(unit.geometry.block_size());
    let mut data = vec![0xa5; 7];
    match parameter_data(command, unit, &mut data) {
        Some(Ok(())) => {
            let room = match direction {
                Data::In(Bytes(room)) => room,
                Data::None | Data::Out(_) => 0,
            };
            let length = u64::try_from(data.len()).expect("a length fits 64 bits");
            assert!(length <= room, "{command:?}: {length} bytes for {room}");
        }
        Some(Err(sense)) => assert!(data.is_empty() && sense.key.code() != 0, "{command:?}: {sense:?}"),
        None => {
            if let Command::Read { lba, blocks, .. } | Command::Write { lba, blocks, .. } = *command {
                // A range of 64 bits never wraps into the medium.
                let fits = lba.0.checked_add(blocks.0).is_some_and(|end| end <= unit.geometry.capacity().0);
                assert_eq!(unit.geometry.check_range(lba, blocks).is_ok(), fits);
            }
        }
    }
}

fn unit(abilities: u8) -> LogicalUnit {
    let bit = |number: u8| abilities >> number & 1 == 1;
    let block_size = if bit(0) { BlockSize::B4096 } else { BlockSize::B512 };
    let size = if bit(1) { 1 << 20 } else { 1 << 45 };
    let geometry = Geometry::new(Bytes(size), block_size).expect("a whole number of blocks");
    let mut unit = LogicalUnit::new(Identity::tcmu("6b1c4f2e-0a37-4d7b-8a55-0123456789ab"), geometry);
    let own = &mut unit.characteristics;
    (own.composites, own.third_party_copy) = (bit(2), bit(3));
    (own.write_cache, own.descriptor_sense) = (bit(4), bit(5));
    (own.dpo_fua, own.lba_status, own.max_transfer) = (true, bit(6), Blocks(2048));
    if bit(6) {
        own.max_compare_and_write = 255;
        own.unmap = Some(Unmap {
            max_blocks: 1 << 22,
            max_descriptors: 4,
            granularity: 8,
            alignment: None,
            reads_zeroes: true,
            write_same: WriteSame::TenAndSixteen,
            provisioning: Provisioning::Thin,
        });
    }
    unit.formatting = bit(7).then_some(0x8000);
    unit
}
