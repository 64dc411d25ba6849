//! Sense data that this layer makes itself (SPC-5 annex F, RFC 7143 11.4.7.2).

use lunbox_scsi::{Sense, SenseKey};

/// 5/25/00: LOGICAL UNIT NOT SUPPORTED.
pub(crate) const NO_SUCH_LUN: Sense = Sense::new(SenseKey::IllegalRequest, 0x25, 0x00);
/// 5/0E/03: INVALID FIELD IN COMMAND INFORMATION UNIT; the initiator offers less data than the CDB writes.
pub(crate) const TOO_LITTLE_OFFERED: Sense = Sense::new(SenseKey::IllegalRequest, 0x0e, 0x03);
/// B/0C/0C: UNEXPECTED UNSOLICITED DATA.
pub(crate) const UNEXPECTED_UNSOLICITED: Sense = Sense::new(SenseKey::AbortedCommand, 0x0c, 0x0c);
/// B/0C/0D: NOT ENOUGH UNSOLICITED DATA; RFC 7143 calls it an incorrect amount of data.
pub(crate) const INCORRECT_AMOUNT: Sense = Sense::new(SenseKey::AbortedCommand, 0x0c, 0x0d);
/// B/47/05: PROTOCOL SERVICE CRC ERROR.
pub(crate) const CRC_ERROR: Sense = Sense::new(SenseKey::AbortedCommand, 0x47, 0x05);
/// B/4B/00: DATA PHASE ERROR; a Data-Out PDU is missing or out of order.
pub(crate) const DATA_PHASE_ERROR: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x00);
/// B/4B/01: INVALID TARGET PORT TRANSFER TAG RECEIVED.
pub(crate) const INVALID_TRANSFER_TAG: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x01);
/// B/4B/02: TOO MUCH WRITE DATA.
pub(crate) const TOO_MUCH_DATA: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x02);
/// B/4B/05: DATA OFFSET ERROR.
pub(crate) const DATA_OFFSET_ERROR: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x05);

/// How many bytes of a sense buffer are sense data: its additional sense length counts from byte 8
/// (SPC-5 4.4.2.1, 4.4.3). Something that says nothing about its length is passed on whole.
pub(crate) fn length(buffer: &[u8]) -> usize {
    let described = match buffer.first().map(|code| code & 0x7f) {
        Some(0x70..=0x73) => buffer.get(7).map(|&more| 8 + usize::from(more)),
        _ => None,
    };
    described.unwrap_or(buffer.len()).min(buffer.len())
}

#[cfg(test)]
mod tests {
    use lunbox_scsi::SenseFormat;

    use super::*;

    #[test]
    fn zeros_behind_sense_data_are_not_sent() {
        assert_eq!(length(&NO_SUCH_LUN.fixed()), 18);
        let descriptor = NO_SUCH_LUN.with_information(7).encode(SenseFormat::Descriptor, None);
        assert_eq!(length(descriptor.buffer()), descriptor.as_bytes().len());
    }

    #[test]
    fn what_is_not_sense_data_is_passed_on() {
        assert_eq!(length(&[0x7f; 20]), 20, "vendor specific");
        assert_eq!(length(&[]), 0);
        assert_eq!(length(&[0x70, 0, 0, 0, 0, 0, 0, 200]), 8, "a length that lies is cut");
    }
}
