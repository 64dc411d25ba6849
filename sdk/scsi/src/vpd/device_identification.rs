//! VPD page 83h: the names of the logical unit. Nothing of the configuration stands here: paths and pool names
//! are not the initiator's business.

use crate::inquiry::{padded, printable};
use crate::logical_unit::{Identity, LogicalUnit};

/// Longest serial number in the T10 name in bytes: with the vendor's 8 and a NUL it fills DESIGNATOR LENGTH, a
/// field of one byte.
const MAX_SERIAL: u8 = 0xff - 8 - 1;

/// NAA 6h and 001405h, the company that LIO's names are registered under; 7 of 32 digits.
const NAA_PREFIX: [u8; 7] = [6, 0, 0, 1, 4, 0, 5];

pub(super) fn designators(unit: &LogicalUnit, out: &mut Vec<u8>) {
    t10_vendor_id(&unit.identity, out);
    naa(&unit.identity.serial, out);
}

/// T10 vendor ID based designator: ASCII, of the logical unit, with the NUL that tcmu-runner writes.
fn t10_vendor_id(identity: &Identity, out: &mut Vec<u8>) {
    let mut vendor = [0; 8];
    padded(&identity.vendor, &mut vendor);
    out.extend_from_slice(&[0x02, 0x01, 0, 0]);
    let length_at = out.len() - 1;
    out.extend_from_slice(&vendor);
    let mut length: u8 = 8 + 1;
    for byte in printable(&identity.serial).take(usize::from(MAX_SERIAL)) {
        out.push(byte);
        length += 1;
    }
    out.push(0);
    out[length_at] = length;
}

/// NAA IEEE registered extended designator: binary, of the logical unit, 16 bytes. The prefix is followed by the
/// first 25 hexadecimal digits of the serial number; too few are followed by zeros.
fn naa(serial: &str, out: &mut Vec<u8>) {
    // `to_digit(16)` is below 16, so the conversion never drops one.
    let digits = serial.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok());
    let digits = NAA_PREFIX.into_iter().chain(digits).chain(std::iter::repeat(0));
    let mut name = [0; 16];
    for (at, digit) in digits.take(2 * name.len()).enumerate() {
        let shift = if at % 2 == 0 { 4 } else { 0 };
        name[at / 2] |= digit << shift;
    }
    out.extend_from_slice(&[0x01, 0x03, 0, 16]);
    out.extend_from_slice(&name);
}
