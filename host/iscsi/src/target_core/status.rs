//! SCSI status codes (SAM-5 5.3.1) and the opcodes that this layer treats by itself.

pub(crate) const GOOD: u8 = 0x00;
pub(crate) const CHECK_CONDITION: u8 = 0x02;
pub(crate) const BUSY: u8 = 0x08;

/// Opcodes (SPC-5 table of operation codes).
pub(crate) mod opcode {
    pub(crate) const TEST_UNIT_READY: u8 = 0x00;
    pub(crate) const REQUEST_SENSE: u8 = 0x03;
    pub(crate) const INQUIRY: u8 = 0x12;
    pub(crate) const REPORT_LUNS: u8 = 0xa0;
}
