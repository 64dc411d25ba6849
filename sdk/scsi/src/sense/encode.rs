//! Sense data as bytes: descriptor format (SPC-5 4.4.2) and fixed format (SPC-5 4.4.3).

use super::{Sense, SenseKey};

/// Length of the kernel's sense buffer in bytes (`TCMU_SENSE_BUFFERSIZE` of
/// include/uapi/linux/target_core_user.h). The kernel sends all of it on, whatever is in it.
pub const SENSE_BUFFER_LENGTH: usize = 96;

/// Layout of sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseFormat {
    /// 18 bytes, response code 70h. INFORMATION has 32 bits.
    Fixed,
    /// 8 bytes and descriptors, response code 72h. INFORMATION has 64 bits.
    Descriptor,
}

/// The SENSE KEY SPECIFIC field (SPC-5 4.4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseKeySpecific {
    /// Which field is wrong. Goes with ILLEGAL REQUEST only.
    Field(FieldPointer),
    /// How far an operation has come, in 65,536ths. Goes with NOT READY and NO SENSE only.
    Progress(u16),
}

/// Where the invalid field stands (SPC-5 4.4.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// The field is in the CDB; else in the parameter data.
    pub in_cdb: bool,
    /// First byte of the field, from 0.
    pub byte: u16,
    /// Most significant bit of the field, 0 to 7; `None` if the field is whole bytes.
    pub bit: Option<u8>,
}

impl FieldPointer {
    /// A field of the CDB that is whole bytes.
    #[must_use]
    pub const fn cdb(byte: u16) -> Self {
        Self { in_cdb: true, byte, bit: None }
    }

    /// A field of the CDB whose most significant bit is `bit` (0 to 7) of `byte`.
    #[must_use]
    pub const fn cdb_bit(byte: u16, bit: u8) -> Self {
        Self { in_cdb: true, byte, bit: Some(bit) }
    }

    /// A field of the parameter data that is whole bytes.
    #[must_use]
    pub const fn parameter(byte: u16) -> Self {
        Self { in_cdb: false, byte, bit: None }
    }

    /// A field of the parameter data whose most significant bit is `bit` (0 to 7) of `byte`.
    #[must_use]
    pub const fn parameter_bit(byte: u16, bit: u8) -> Self {
        Self { in_cdb: false, byte, bit: Some(bit) }
    }
}

/// Sense data in a buffer of the kernel's length; what is not sense data is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenseData {
    buffer: [u8; SENSE_BUFFER_LENGTH],
    length: u8,
}

impl SenseData {
    /// The whole buffer, for the ring.
    #[must_use]
    pub const fn buffer(&self) -> &[u8; SENSE_BUFFER_LENGTH] {
        &self.buffer
    }

    /// The sense data without the zeros behind it, for REQUEST SENSE.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..usize::from(self.length)]
    }
}

impl Sense {
    /// The kernel's whole sense buffer: fixed format without SENSE KEY SPECIFIC, zeros behind its 18 bytes.
    ///
    /// INFORMATION above 32 bits does not fit: the VALID bit is 0 then and the field is zero (SPC-5 4.4.3).
    #[must_use]
    pub fn fixed(self) -> [u8; SENSE_BUFFER_LENGTH] {
        self.encode(SenseFormat::Fixed, None).buffer
    }

    /// Sense data in the given format.
    ///
    /// `specific` is left out if it does not go with the sense key (see [`SenseKeySpecific`]): the initiator
    /// would read it as something else.
    #[must_use]
    pub fn encode(self, format: SenseFormat, specific: Option<SenseKeySpecific>) -> SenseData {
        let specific = specific.and_then(|specific| specific.bytes(self.key));
        match format {
            SenseFormat::Fixed => self.encode_fixed(specific),
            SenseFormat::Descriptor => self.encode_descriptor(specific),
        }
    }

    fn encode_fixed(self, specific: Option<[u8; 3]>) -> SenseData {
        let mut buffer = [0; SENSE_BUFFER_LENGTH];
        buffer[0] = 0x70;
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            buffer[0] |= 0x80;
            buffer[3..7].copy_from_slice(&information.to_be_bytes());
        }
        buffer[2] = self.key.code();
        buffer[7] = 10;
        buffer[12] = self.asc;
        buffer[13] = self.ascq;
        if let Some(specific) = specific {
            buffer[15..18].copy_from_slice(&specific);
        }
        SenseData { buffer, length: 18 }
    }

    fn encode_descriptor(self, specific: Option<[u8; 3]>) -> SenseData {
        let mut buffer = [0; SENSE_BUFFER_LENGTH];
        let mut length = 8u8;
        buffer[..4].copy_from_slice(&[0x72, self.key.code(), self.asc, self.ascq]);
        if let Some(information) = self.information {
            // Information descriptor: type 00h, VALID.
            buffer[8..12].copy_from_slice(&[0x00, 0x0a, 0x80, 0]);
            buffer[12..20].copy_from_slice(&information.to_be_bytes());
            length += 12;
        }
        if let Some(specific) = specific {
            // Sense key specific descriptor: type 02h.
            let at = usize::from(length);
            buffer[at..at + 2].copy_from_slice(&[0x02, 0x06]);
            buffer[at + 4..at + 7].copy_from_slice(&specific);
            length += 8;
        }
        buffer[7] = length - 8;
        SenseData { buffer, length }
    }
}

impl SenseKeySpecific {
    /// The three bytes with SKSV set, if the field has this meaning under `key`.
    fn bytes(self, key: SenseKey) -> Option<[u8; 3]> {
        match (self, key) {
            (Self::Field(field), SenseKey::IllegalRequest) => {
                let [high, low] = field.byte.to_be_bytes();
                let in_cdb = if field.in_cdb { 0x40 } else { 0 };
                let bit = field.bit.map_or(0, |bit| 0x08 | (bit & 0x07));
                Some([0x80 | in_cdb | bit, high, low])
            }
            (Self::Progress(done), SenseKey::NotReady | SenseKey::NoSense) => {
                let [high, low] = done.to_be_bytes();
                Some([0x80, high, low])
            }
            _ => None,
        }
    }
}
