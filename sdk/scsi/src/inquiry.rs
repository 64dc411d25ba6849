//! Standard INQUIRY data (SPC-5, INQUIRY command).

use crate::logical_unit::Identity;

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
/// NORMACA and HISUP are 0 as the kernel's target core has no ACA and one level of LUNs; TPGS, 3PC and PROTECT
/// are 0, CMDQUE is 1. The caller cuts to the allocation length.
#[must_use]
pub fn standard(identity: &Identity) -> [u8; STANDARD_LENGTH] {
    let mut data = [0; STANDARD_LENGTH];
    // Byte 0: peripheral connected, type 00h. Byte 1: medium not removable.
    data[2] = VERSION_SPC_4;
    data[3] = 0x02; // RESPONSE DATA FORMAT
    data[4] = 91; // ADDITIONAL LENGTH: all that follows
    data[7] = 0x02; // CMDQUE
    padded(&identity.vendor, &mut data[8..16]);
    padded(&identity.product, &mut data[16..32]);
    padded(&identity.revision, &mut data[32..36]);
    for (field, value) in data[58..].chunks_exact_mut(2).zip(VERSION_DESCRIPTORS) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    data
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

    #[test]
    fn looks_like_tcmu_runner_but_claims_what_is_true() {
        let data = standard(&Identity::tcmu("serial"));
        assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x02, 91, 0x00, 0x00, 0x02]);
        assert_eq!(&data[8..36], b"LIO-ORG TCMU device     0002");
        assert!(data[36..58].iter().all(|&byte| byte == 0));
        assert_eq!(data[58..64], [0x00, 0xa0, 0x04, 0x60, 0x04, 0xc0]);
        assert!(data[64..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn additional_length_covers_the_rest() {
        let data = standard(&Identity::tcmu(""));
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
        let data = standard(&identity);
        assert_eq!(&data[8..36], b"TOOLONGVa???b               ");
    }
}
