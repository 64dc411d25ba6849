//! The basic header segment (RFC 7143 clause 11.2.1) and logical unit numbers (SAM-5 clause 4.7).

use super::codes::InitiatorOpcode;

/// Bytes of the basic header segment.
pub const BHS_LENGTH: usize = 48;

/// The reserved value of Initiator Task Tag and Target Transfer Tag (RFC 7143 clauses 11.2.1.8 and 11.7.4).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// Bit 0 of byte 1: the final PDU of a sequence (RFC 7143 clause 11.2.1.3).
pub const FINAL_BIT: u8 = 0x80;

/// A basic header segment: the first 48 bytes of every PDU. Numbers are big-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bhs([u8; BHS_LENGTH]);

impl Bhs {
    /// Takes the bytes as they are; nothing is checked.
    #[must_use]
    pub const fn new(bytes: [u8; BHS_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a Reject quotes them (RFC 7143 clause 11.17).
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BHS_LENGTH] {
        &self.0
    }

    /// The opcode without the immediate bit: 0 to 63 (RFC 7143 clause 11.2.1.2).
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.0[0] & 0x3f
    }

    /// The opcode if it is one that initiators send and the standard defines.
    #[must_use]
    pub const fn initiator_opcode(&self) -> Option<InitiatorOpcode> {
        InitiatorOpcode::from_code(self.opcode())
    }

    /// The I bit: the PDU is outside of the command numbering (RFC 7143 clause 11.2.1.1).
    #[must_use]
    pub const fn is_immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Byte 1: the flags, whose meaning depends on the opcode.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.0[1]
    }

    /// The F bit (RFC 7143 clause 11.2.1.3).
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.0[1] & FINAL_BIT != 0
    }

    /// Length of all additional header segments in bytes, 0 to 1020 (the field counts words; RFC 7143 clause 11.2.1.5).
    #[must_use]
    pub const fn total_ahs_length(&self) -> usize {
        self.0[4] as usize * 4
    }

    /// Length of the data segment in bytes without padding, 0 to 16 777 215 (RFC 7143 clause 11.2.1.6).
    #[must_use]
    pub const fn data_segment_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// Bytes 8 to 15 as a logical unit number (RFC 7143 clause 11.2.1.7).
    #[must_use]
    pub const fn lun(&self) -> Lun {
        let b = &self.0;
        Lun([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]])
    }

    /// The Initiator Task Tag (RFC 7143 clause 11.2.1.8). Its bytes mean something to the initiator only.
    #[must_use]
    pub const fn initiator_task_tag(&self) -> u32 {
        self.u32_at(16)
    }

    /// The byte at `at`, which is below 48.
    #[must_use]
    pub const fn u8_at(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// The two-byte number at `at`, which is at most 46.
    #[must_use]
    pub const fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// The four-byte number at `at`, which is at most 44.
    #[must_use]
    pub const fn u32_at(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

impl std::fmt::Debug for Bhs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bhs(opcode {:#04x}, flags {:#04x}, ", self.opcode(), self.flags())?;
        write!(f, "ahs {}, data {}, ", self.total_ahs_length(), self.data_segment_length())?;
        write!(f, "itt {:#010x})", self.initiator_task_tag())
    }
}

/// A logical unit number as eight bytes on the wire (SAM-5 clause 4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// Encodes a number: peripheral device addressing up to 255, flat space addressing up to 16 383.
    /// `None` beyond that.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        let [high, low] = number.to_be_bytes();
        match high {
            0 => Some(Self([0, low, 0, 0, 0, 0, 0, 0])),
            0x01..0x40 => Some(Self([0x40 | high, low, 0, 0, 0, 0, 0, 0])),
            _ => None,
        }
    }

    /// The number that a single-level address names: peripheral device addressing on bus 0 (0 to 255; SAM-5 clause
    /// 4.7.7.2) or flat space addressing (0 to 16 383; SAM-5 clause 4.7.7.3). `None` for every other method and for
    /// addresses of more than one level: no such logical unit can exist here.
    #[must_use]
    pub const fn number(self) -> Option<u16> {
        let [first, second, c, d, e, f, g, h] = self.0;
        if c | d | e | f | g | h != 0 {
            return None;
        }
        match first {
            0x00 => Some(second as u16),
            0x40..0x80 => Some(u16::from_be_bytes([first & 0x3f, second])),
            _ => None,
        }
    }

    /// The number of a well-known logical unit (extended addressing, SAM-5 clause 4.7.7.5.1): 1 is REPORT LUNS.
    #[must_use]
    pub const fn well_known(self) -> Option<u8> {
        match self.0 {
            [0xc1, number, 0, 0, 0, 0, 0, 0] => Some(number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        let mut bytes = [0u8; BHS_LENGTH];
        bytes[0] = 0x41;
        bytes[1] = 0x80;
        bytes[4] = 0xff;
        bytes[5..8].copy_from_slice(&[0x12, 0x34, 0x56]);
        bytes[16..20].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        bytes[46..].copy_from_slice(&[0x01, 0x02]);
        let bhs = Bhs::new(bytes);
        assert_eq!(bhs.initiator_opcode(), Some(InitiatorOpcode::ScsiCommand));
        assert!(bhs.is_immediate() && bhs.is_final());
        assert_eq!(bhs.total_ahs_length(), 1020);
        assert_eq!(bhs.data_segment_length(), 0x12_3456);
        assert_eq!(bhs.initiator_task_tag(), 0xdead_beef);
        assert_eq!(bhs.u16_at(46), 0x0102);
        assert_eq!(bhs.u32_at(44), 0x0102);
    }

    #[test]
    fn every_number_up_to_the_limit_survives_and_short_ones_are_peripheral() {
        for number in 0..0x4000 {
            let lun = Lun::from_number(number).unwrap();
            assert_eq!(lun.number(), Some(number));
            assert_eq!(lun.0[0] == 0, number < 256, "{number}");
        }
        assert_eq!(Lun::from_number(0x4000), None);
    }

    #[test]
    fn other_addressing_methods_name_nothing() {
        assert_eq!(Lun([0x40, 7, 0, 0, 0, 0, 0, 0]).number(), Some(7), "flat addressing of a small number");
        assert_eq!(Lun([0x01, 0, 0, 0, 0, 0, 0, 0]).number(), None, "bus 1");
        assert_eq!(Lun([0x80, 0, 0, 0, 0, 0, 0, 0]).number(), None, "logical unit addressing");
        assert_eq!(Lun([0, 1, 0, 1, 0, 0, 0, 0]).number(), None, "second level");
        let report_luns = Lun([0xc1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!((report_luns.number(), report_luns.well_known()), (None, Some(1)));
        assert_eq!(Lun::default().well_known(), None);
    }
}
