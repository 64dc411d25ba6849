//! Standard INQUIRY data (SPC-5, INQUIRY command).

use crate::logical_unit::LogicalUnit;

/// Length of the standard data in bytes: up to the end of the version descriptors and their reserved space.
pub const STANDARD_LENGTH: usize = 96;

/// VERSION: SPC-4. The target answers what SPC-4 makes mandatory; SPC-5 would add commands that it lacks.
const VERSION_SPC_4: u8 = 0x06;

/// Standards that the unit claims, without a revision (SPC-5, version descriptor values).
const VERSION_DESCRIPTORS: [u16; 3] = [
    0x00a0, // SAM-5
    0x0460, // SPC-4
    0x04c0, // SBC-3
];

/// Builds the standard INQUIRY data of a direct access block device.
///
/// NORMACA and HISUP are 0 as the kernel's target core has no ACA and one level of LUNs; PROTECT is 0, CMDQUE
/// is 1. TPGS and 3PC say what the unit can do. The caller cuts to the allocation length.
#[must_use]
pub fn standard(unit: &LogicalUnit) -> [u8; STANDARD_LENGTH] {
    let mut data = [0; STANDARD_LENGTH];
    // Byte 0: peripheral connected, type 00h. Byte 1: medium not removable.
    data[2] = VERSION_SPC_4;
    data[3] = 0x02; // RESPONSE DATA FORMAT
    data[4] = 91; // ADDITIONAL LENGTH: all that follows
    data[5] = target_port_group_support(unit) << 4;
    data[5] |= if unit.characteristics.third_party_copy { 0x08 } else { 0 }; // 3PC
    data[7] = 0x02; // CMDQUE
    padded(&unit.identity.vendor, &mut data[8..16]);
    padded(&unit.identity.product, &mut data[16..32]);
    padded(&unit.identity.revision, &mut data[32..36]);
    for (field, value) in data[58..].chunks_exact_mut(2).zip(VERSION_DESCRIPTORS) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    data
}

/// TPGS: 01b if access states change implicitly, 10b if SET TARGET PORT GROUPS changes them, 11b if both.
fn target_port_group_support(unit: &LogicalUnit) -> u8 {
    unit.groups.iter().fold(0, |tpgs, group| {
        tpgs | if group.implicit { 0b01 } else { 0 } | if group.explicit { 0b10 } else { 0 }
    })
}

/// Fills `field` with left-aligned ASCII, padded with spaces (SPC-5 4.3.1).
pub(crate) fn padded(text: &str, field: &mut [u8]) {
    let text = printable(text).chain(std::iter::repeat(b' '));
    for (byte, character) in field.iter_mut().zip(text) {
        *byte = character;
    }
}

/// The text as ASCII that SPC-5 4.3.1 allows (20h to 7Eh), one byte for each character.
pub(crate) fn printable(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.chars().map(|character| match character {
        ' '..='~' => u8::try_from(character).unwrap_or(b'?'),
        _ => b'?',
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical_unit::{Geometry, Identity};
    use crate::target_port::{AccessState, TargetPortGroup};
    use crate::units::{BlockSize, Bytes};

    fn unit(identity: Identity) -> LogicalUnit {
        LogicalUnit::new(identity, Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap())
    }

    #[test]
    fn looks_like_tcmu_runner_but_claims_what_is_true() {
        let data = standard(&unit(Identity::tcmu("serial")));
        assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x02, 91, 0x00, 0x00, 0x02]);
        assert_eq!(&data[8..36], b"LIO-ORG TCMU device     0002");
        assert!(data[36..58].iter().all(|&byte| byte == 0));
        assert_eq!(data[58..64], [0x00, 0xa0, 0x04, 0x60, 0x04, 0xc0]);
        assert!(data[64..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn byte_5_tells_of_copies_and_access_states() {
        let mut own = unit(Identity::tcmu("serial"));
        own.characteristics.third_party_copy = true;
        assert_eq!(standard(&own)[5], 0x08);
        for (implicit, explicit, byte) in
            [(false, false, 0x08), (true, false, 0x18), (false, true, 0x28), (true, true, 0x38)]
        {
            own.groups = vec![TargetPortGroup {
                id: 0,
                state: AccessState::Optimized,
                preferred: false,
                supported: 0x01,
                status: 0,
                implicit_transition_s: 0,
                explicit,
                implicit,
                ports: vec![1],
            }];
            assert_eq!(standard(&own)[5], byte, "{implicit} {explicit}");
        }
    }

    #[test]
    fn additional_length_covers_the_rest() {
        let data = standard(&unit(Identity::tcmu("")));
        assert_eq!(usize::from(data[4]) + 5, data.len());
    }

    #[test]
    fn texts_are_padded_cut_and_made_printable() {
        let identity = Identity {
            vendor: "TOOLONGVENDOR".to_owned(),
            product: "a\u{e9}\n\u{20ac}b".to_owned(),
            revision: String::new(),
            serial: String::new(),
        };
        let data = standard(&unit(identity));
        assert_eq!(&data[8..36], b"TOOLONGVa???b               ");
    }
}
