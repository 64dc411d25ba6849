//! Properties that hold for every sequence of bytes, and a round trip against an independent encoder.

use proptest::prelude::*;

use super::*;
use crate::command::Data;
use crate::units::{BlockSize, Blocks, Bytes, Lba};

/// Arbitrary bytes of 0 to 300, biased towards supported opcodes so that the parsers are reached.
fn cdbs() -> impl Strategy<Value = Vec<u8>> {
    let opcodes: Vec<u8> = opcode::SUPPORTED.iter().map(|row| row.opcode).chain([0x7f]).collect();
    let first = prop_oneof![any::<u8>(), proptest::sample::select(opcodes)];
    (first, prop::collection::vec(any::<u8>(), 0..=300)).prop_map(|(first, mut bytes)| {
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        bytes
    })
}

/// What the initiator of a READ or WRITE wants to say.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    write: bool,
    lba: u64,
    blocks: u32,
    dpo: bool,
    fua: bool,
}

/// Builds the CDB by the tables of SBC-4, for whichever form holds the values.
fn encode(wanted: Wanted, form: usize) -> Option<Vec<u8>> {
    let Wanted { write, lba, blocks, dpo, fua } = wanted;
    let hints = (u8::from(dpo) << 4) | (u8::from(fua) << 3);
    let opcode = |read: u8| if write { read + 2 } else { read };
    let mut cdb = Vec::new();
    match form {
        6 => {
            let count = match blocks {
                256 => 0,
                1..=255 => u8::try_from(blocks).ok()?,
                _ => return None,
            };
            if hints != 0 || lba >= 1 << 21 {
                return None;
            }
            cdb.push(opcode(0x08));
            cdb.extend_from_slice(&lba.to_be_bytes()[5..]);
            cdb.push(count);
        }
        10 => {
            cdb.extend_from_slice(&[opcode(0x28), hints]);
            cdb.extend_from_slice(&u32::try_from(lba).ok()?.to_be_bytes());
            cdb.push(0);
            cdb.extend_from_slice(&u16::try_from(blocks).ok()?.to_be_bytes());
        }
        12 => {
            cdb.extend_from_slice(&[opcode(0xa8), hints]);
            cdb.extend_from_slice(&u32::try_from(lba).ok()?.to_be_bytes());
            cdb.extend_from_slice(&blocks.to_be_bytes());
            cdb.push(0);
        }
        16 => {
            cdb.extend_from_slice(&[opcode(0x88), hints]);
            cdb.extend_from_slice(&lba.to_be_bytes());
            cdb.extend_from_slice(&blocks.to_be_bytes());
            cdb.push(0);
        }
        _ => {
            cdb.extend_from_slice(&[0x7f, 0, 0, 0, 0, 0, 0, 24, 0, opcode(0x09), hints, 0]);
            cdb.extend_from_slice(&lba.to_be_bytes());
            cdb.extend_from_slice(&[0x5a; 8]); // tags that nobody expects
            cdb.extend_from_slice(&blocks.to_be_bytes());
            return Some(cdb);
        }
    }
    cdb.push(0);
    Some(cdb)
}

/// Numbers whose size in bits is even, so that each form of CDB gets some that it holds.
fn sized(bits: u32) -> impl Strategy<Value = u64> {
    (0..=bits, any::<u64>())
        .prop_map(|(bits, value)| if bits == 0 { 0 } else { value >> (64 - bits.clamp(1, 64)) })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn decoding_never_panics_and_lengths_are_consistent(bytes in cdbs()) {
        let length = cdb_length(&bytes);
        let decoded = decode(&bytes);
        prop_assert!(!opcode::opcode_name(&bytes).is_empty());
        match decoded {
            Ok(_) => {
                let length = length.unwrap();
                prop_assert!(length <= bytes.len(), "decoded from fewer bytes than the CDB has");
                // What stands behind the CDB changes nothing.
                prop_assert_eq!(decode(&bytes[..length]), decoded);
            }
            Err(sense) if sense == Sense::INVALID_FIELD_IN_CDB => {
                let length = length.unwrap();
                match invalid_field(&bytes) {
                    Some(field) => {
                        prop_assert!(usize::from(field.byte) < length.min(bytes.len()), "pointer outside");
                    }
                    None => prop_assert!(bytes.len() < length, "only a short CDB has no field to blame"),
                }
            }
            Err(sense) => {
                prop_assert_eq!(sense, Sense::INVALID_COMMAND_OPERATION_CODE);
                prop_assert!(opcode::find(&bytes).is_none());
            }
        }
    }

    #[test]
    fn bits_outside_of_the_usage_map_change_nothing(
        row in proptest::sample::select((0..opcode::SUPPORTED.len()).collect::<Vec<_>>()),
        noise in any::<[u8; MAX_FIXED_CDB]>(),
        other in any::<[u8; MAX_FIXED_CDB]>(),
    ) {
        let row = &opcode::SUPPORTED[row];
        let usage = row.usage;
        let build = |outside: [u8; MAX_FIXED_CDB]| {
            let mut cdb: Vec<u8> = (0..row.cdb_length())
                .map(|at| (noise[at] & usage[at]) | (outside[at] & !usage[at]))
                .collect();
            cdb[0] = row.opcode;
            let [high, low] = row.service_action.unwrap_or(0).to_be_bytes();
            if row.opcode == VARIABLE {
                (cdb[7], cdb[8], cdb[9]) = (24, high, low);
            } else if row.service_action.is_some() {
                cdb[1] = (cdb[1] & 0xe0) | low;
            }
            cdb
        };
        prop_assert_eq!(decode(&build([0; MAX_FIXED_CDB])), decode(&build(other)));
    }

    #[test]
    fn reads_and_writes_survive_encoding(
        write in any::<bool>(),
        lba in sized(64),
        blocks in sized(32),
        dpo in any::<bool>(),
        fua in any::<bool>(),
        padding in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let wanted = Wanted { write, lba, blocks: u32::try_from(blocks).unwrap(), dpo, fua };
        let (lba, blocks) = (Lba(lba), Blocks(blocks));
        let expected = if write {
            Command::Write { lba, blocks, dpo, fua }
        } else {
            Command::Read { lba, blocks, dpo, fua }
        };
        let mut forms = 0;
        for form in [6, 10, 12, 16, 32] {
            let Some(mut cdb) = encode(wanted, form) else { continue };
            prop_assert_eq!(cdb.len(), form);
            prop_assert_eq!(cdb_length(&cdb), Some(form));
            cdb.extend_from_slice(&padding);
            let command = decode(&cdb).unwrap();
            prop_assert_eq!(command, expected);
            let bytes = Bytes(blocks.0 * 512);
            let direction = match (blocks, write) {
                (Blocks(0), _) => Data::None,
                (_, true) => Data::Out(bytes),
                (_, false) => Data::In(bytes),
            };
            prop_assert_eq!(command.direction(BlockSize::B512), direction);
            forms += 1;
        }
        prop_assert!(forms > 0, "the 16-byte form holds every value");
    }
}

/// A map that says too much would be as false as one that says too little.
#[test]
fn each_bit_of_the_usage_map_counts_in_some_command() {
    for (row, (_, blank)) in opcode::SUPPORTED.iter().zip(opcode::dictionary()) {
        // With all fields 0, or with one bit set that changes what the others mean, every bit makes a difference.
        let mut starts = vec![blank.clone()];
        for at in 1..blank.len() {
            for bit in 0..8 {
                let mut start = blank.clone();
                start[at] ^= 1 << bit;
                starts.push(start);
            }
        }
        for at in 1..row.cdb_length() {
            for bit in (0..8).filter(|bit| row.usage[at] & (1 << bit) != 0) {
                let differs = starts.iter().any(|start| {
                    let mut flipped = start.clone();
                    flipped[at] ^= 1 << bit;
                    decode(start) != decode(&flipped) || invalid_field(start) != invalid_field(&flipped)
                });
                assert!(differs, "{}: byte {at} bit {bit}", row.name);
            }
        }
    }
}
