//! Sense keys, additional sense codes and sense data (SPC-5 4.4).

mod codes;
mod encode;

use std::fmt;

pub use encode::{FieldPointer, SENSE_BUFFER_LENGTH, SenseData, SenseFormat, SenseKeySpecific};

/// Sense key (SPC-5 table 48), 0h to Fh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// 0h.
    NoSense = 0x0,
    /// 1h.
    RecoveredError = 0x1,
    /// 2h.
    NotReady = 0x2,
    /// 3h.
    MediumError = 0x3,
    /// 4h.
    HardwareError = 0x4,
    /// 5h.
    IllegalRequest = 0x5,
    /// 6h.
    UnitAttention = 0x6,
    /// 7h.
    DataProtect = 0x7,
    /// 8h.
    BlankCheck = 0x8,
    /// 9h.
    VendorSpecific = 0x9,
    /// Ah.
    CopyAborted = 0xa,
    /// Bh.
    AbortedCommand = 0xb,
    /// Dh.
    VolumeOverflow = 0xd,
    /// Eh.
    Miscompare = 0xe,
    /// Fh.
    Completed = 0xf,
}

impl SenseKey {
    /// The key as it stands in sense data, 0h to Fh.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The standard's name, for logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSense => "NO SENSE",
            Self::RecoveredError => "RECOVERED ERROR",
            Self::NotReady => "NOT READY",
            Self::MediumError => "MEDIUM ERROR",
            Self::HardwareError => "HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::BlankCheck => "BLANK CHECK",
            Self::VendorSpecific => "VENDOR SPECIFIC",
            Self::CopyAborted => "COPY ABORTED",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::VolumeOverflow => "VOLUME OVERFLOW",
            Self::Miscompare => "MISCOMPARE",
            Self::Completed => "COMPLETED",
        }
    }
}

impl TryFrom<u8> for SenseKey {
    type Error = InvalidSenseKey;

    fn try_from(code: u8) -> Result<Self, InvalidSenseKey> {
        Ok(match code {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            0xf => Self::Completed,
            other => return Err(InvalidSenseKey(other)),
        })
    }
}

/// The number that is no sense key: Ch is reserved, and above Fh there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSenseKey(pub u8);

impl fmt::Display for InvalidSenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sense key: {:X}h does not exist; use 0h to Bh or Dh to Fh", self.0)
    }
}

impl std::error::Error for InvalidSenseKey {}

/// What a CHECK CONDITION says: sense key, additional sense code and qualifier, and the INFORMATION field.
///
/// It is an error type, so that `?` carries it to where the status is made, but never the sign of a broken
/// target: it is what the initiator is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// INFORMATION: an LBA for media errors, a byte offset for a miscompare.
    pub information: Option<u64>,
}

impl Sense {
    /// Sense data without INFORMATION.
    #[must_use]
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None }
    }

    /// The same with INFORMATION: the first LBA at fault for media errors, the byte offset of the first
    /// difference for a miscompare.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }
}

/// `ILLEGAL REQUEST 5/24/00`, with ` information=…` behind it if there is some: the notation of logs.
impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:X}/{:02X}/{:02X}", self.key.name(), self.key.code(), self.asc, self.ascq)?;
        match self.information {
            Some(information) => write!(f, " information={information}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Sense {}

#[cfg(test)]
mod tests;
