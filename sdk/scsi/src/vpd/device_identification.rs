//! VPD page 83h: the names of the logical unit, and of the target port where it is known. Nothing of the configuration stands here: paths and pool names
//! are not the initiator's business.

use crate::inquiry::{padded, printable};
use crate::logical_unit::{Identity, LogicalUnit};
use crate::target_port::TargetPort;

/// Longest serial number in the T10 name in bytes: with the vendor's 8 and a NUL it fills DESIGNATOR LENGTH, a
/// field of one byte.
const MAX_SERIAL: u8 = 0xff - 8 - 1;

/// NAA 6h and 001405h, the company that LIO's names are registered under; 7 of 32 digits.
const NAA_PREFIX: [u8; 7] = [6, 0, 0, 1, 4, 0, 5];

/// Longest SCSI name string in bytes, with its NULs (SPC-5 7.7.6.11).
const MAX_NAME: u8 = 252;

/// Ends the name of a target port: `,t,0x` and a tag of four digits (RFC 7143 4.2.7.3 for iSCSI).
const LONGEST_TAG: usize = ",t,0x0001".len();

/// The unit's own names. Then those of the port that the command came through, as far as that is known: the ring
/// does not tell, so only a single port is known to be it.
pub(super) fn designators(unit: &LogicalUnit, out: &mut Vec<u8>) {
    t10_vendor_id(&unit.identity, out);
    naa(&unit.identity.serial, out);
    if let [port] = unit.ports.as_slice() {
        relative_target_port(port, out);
        target_port_group(port, out);
        port_name(port, out);
        target_name(port, out);
    }
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

/// NAA IEEE registered extended designator: binary, of the logical unit, 16 bytes.
fn naa(serial: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x01, 0x03, 0, 16]);
    out.extend_from_slice(&naa_designator(serial));
}

/// The NAA name of the unit with this serial number, as VPD page 83h shows it and EXTENDED COPY names it: the prefix
/// is followed by the first 25 hexadecimal digits of the serial number; too few are followed by zeros.
#[must_use]
pub fn naa_designator(serial: &str) -> [u8; 16] {
    // `to_digit(16)` is below 16, so the conversion never drops one.
    let digits = serial.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok());
    let digits = NAA_PREFIX.into_iter().chain(digits).chain(std::iter::repeat(0));
    let mut name = [0; 16];
    for (at, digit) in digits.take(2 * name.len()).enumerate() {
        let shift = if at % 2 == 0 { 4 } else { 0 };
        name[at / 2] |= digit << shift;
    }
    name
}

/// Associations of designators that are not of the logical unit, each with PIV, since they name a protocol.
const PIV_OF_PORT: u8 = 0x90;
const PIV_OF_TARGET: u8 = 0xa0;

/// Relative target port identifier: binary, of the port.
fn relative_target_port(port: &TargetPort, out: &mut Vec<u8>) {
    let [high, low] = port.relative_id.to_be_bytes();
    out.extend_from_slice(&[protocol(port) | 0x01, PIV_OF_PORT | 0x04, 0, 4, 0, 0, high, low]);
}

/// Target port group: binary, of the port.
fn target_port_group(port: &TargetPort, out: &mut Vec<u8>) {
    let [high, low] = port.group.to_be_bytes();
    out.extend_from_slice(&[protocol(port) | 0x01, PIV_OF_PORT | 0x05, 0, 4, 0, 0, high, low]);
}

/// SCSI name string of the port: UTF-8.
pub(super) fn port_name(port: &TargetPort, out: &mut Vec<u8>) {
    out.extend_from_slice(&[protocol(port) | 0x03, PIV_OF_PORT | 0x08, 0]);
    name_string(&port.name, out);
}

/// SCSI name string of the target device: UTF-8.
fn target_name(port: &TargetPort, out: &mut Vec<u8>) {
    out.extend_from_slice(&[protocol(port) | 0x03, PIV_OF_TARGET | 0x08, 0]);
    name_string(&port.target_name, out);
}

/// PROTOCOL IDENTIFIER, in the high half of a designator's first byte.
const fn protocol(port: &TargetPort) -> u8 {
    port.protocol << 4
}

/// DESIGNATOR LENGTH and a SCSI name string: at least one NUL behind it, and a multiple of four bytes. What is too
/// long loses its middle, so that the tag at the end of a port's name still tells ports apart.
fn name_string(name: &str, out: &mut Vec<u8>) {
    let longest = usize::from(MAX_NAME) - 1;
    let (front, back) = if name.len() <= longest {
        (name, "")
    } else {
        let back = boundary_from(name, name.len() - LONGEST_TAG);
        (&name[..boundary_until(name, longest - (name.len() - back))], &name[back..])
    };
    let padded = (front.len() + back.len() + 1).next_multiple_of(4);
    out.push(u8::try_from(padded).expect("MAX_NAME is a multiple of four bytes"));
    let end = out.len() + padded;
    out.extend_from_slice(front.as_bytes());
    out.extend_from_slice(back.as_bytes());
    out.resize(end, 0);
}

/// The first character boundary at or behind `at`.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// The last character boundary at or before `at`.
fn boundary_until(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
