//! What an initiator gets back.

use super::ParsedSense;
use crate::abi::{SENSE_BYTES, status};
use crate::completion::{By, CompletionRef};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// SCSI status (SAM-5 5.3.1).
    pub status: u8,
    /// Sense data that came with CHECK CONDITION, parsed; none if it makes no sense.
    pub sense: Option<ParsedSense>,
    /// The same as it came; zeros without CHECK CONDITION.
    pub raw_sense: [u8; SENSE_BYTES],
    /// Data-in.
    pub data: Vec<u8>,
    /// Bytes that are missing from what was asked for, as reported by READ_LEN.
    pub residual: u32,
    /// A page of the buffer had gone; zeros stand in its place.
    pub vanished: bool,
    /// Who answered: the daemon, or the kernel for it.
    pub by: By,
}

impl From<CompletionRef<'_>> for Response {
    fn from(from: CompletionRef<'_>) -> Self {
        let failed = from.status == status::CHECK_CONDITION;
        Self {
            status: from.status,
            sense: ParsedSense::parse(from.sense).filter(|_| failed),
            raw_sense: *from.sense,
            data: from.data_in.to_vec(),
            residual: from.residual,
            vanished: from.vanished,
            by: from.by,
        }
    }
}

/// Answer to READ CAPACITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of logical blocks: the last LBA of the answer plus one.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_bytes: u32,
}

impl Response {
    pub(super) fn made_by_kernel(status: u8, sense: [u8; SENSE_BYTES]) -> Self {
        Self {
            status,
            sense: ParsedSense::parse(&sense).filter(|_| status == status::CHECK_CONDITION),
            raw_sense: sense,
            data: Vec::new(),
            residual: 0,
            vanished: false,
            by: By::Kernel,
        }
    }

    /// Status GOOD.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == status::GOOD
    }

    /// Status BUSY.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status == status::BUSY
    }

    /// Sense key, additional sense code and qualifier of a CHECK CONDITION: what most tests compare.
    #[must_use]
    pub fn sense_code(&self) -> Option<(u8, u8, u8)> {
        self.sense.map(|sense| (sense.key, sense.asc, sense.ascq))
    }

    /// The data as the answer to READ CAPACITY: 8 bytes are the 10-byte command's (SBC-3 5.15.2), 12 or more
    /// the 16-byte command's (SBC-3 5.16.2). None unless the status is GOOD.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        if !self.is_good() {
            return None;
        }
        let word = |at: usize| self.data.get(at..)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word));
        let (last, block_bytes) = if self.data.len() == 8 {
            (u64::from(word(0)?), word(4)?)
        } else {
            (u64::from(word(0)?) << 32 | u64::from(word(4)?), word(8)?)
        };
        Some(Capacity { blocks: last.checked_add(1)?, block_bytes })
    }
}
