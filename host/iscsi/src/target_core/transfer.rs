//! How much data a command moves: what its CDB asks for against what the initiator is prepared for
//! (RFC 7143 11.4.5; SAM-5 5.4.3).

use std::cmp::Ordering;

use lunbox_scsi::{BlockSize, Command, Data, Sense, decode};

use super::sense::TOO_LITTLE_OFFERED;
use crate::pdu::response::Residual;

/// Room for parameter data when the initiator is prepared for less: so that the residual tells how much there
/// would have been. No answer of a disk is longer.
const PARAMETER_ROOM: u64 = 64 * 1024;

/// What the initiator said about a command's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// R: it expects data.
    pub(crate) read: bool,
    /// W: it has data.
    pub(crate) write: bool,
    /// Expected Data Transfer Length in bytes.
    pub(crate) length: u32,
}

/// What is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Nothing.
    None,
    /// To the initiator: the device gets a buffer of so many bytes. How many of them are sent, and what the
    /// residual is, turns out at the end.
    In(u32),
    /// From the initiator: so many bytes, never more than were offered.
    Out(u32),
}

/// The difference between the bytes that were expected and those that the command is about (RFC 7143 11.4.5.1).
pub(crate) fn residual(expected: u32, actual: u64) -> Residual {
    let count = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
    match actual.cmp(&u64::from(expected)) {
        Ordering::Equal => Residual::None,
        Ordering::Less => Residual::Underflow(count(u64::from(expected) - actual)),
        Ordering::Greater => Residual::Overflow(count(actual - u64::from(expected))),
    }
}

/// A command that is refused before the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What is said.
    pub(crate) sense: Sense,
    /// And what is said about its data.
    pub(crate) residual: Residual,
}

impl Refused {
    pub(crate) fn new(sense: Sense, expected: u32, actual: u64) -> Self {
        Self { sense, residual: residual(expected, actual) }
    }
}

/// Decides what a command moves.
///
/// # Errors
/// [`Refused`]: the initiator wants to read with a CDB that writes (5/24/00) or offers less than a WRITE writes
/// (5/0E/03, as the kernel's target core), or the device can not carry that much (5/24/00). An initiator that
/// offers data for a CDB that reads has no room for what it reads: the command is done and nothing is moved.
pub(crate) fn plan(cdb: &[u8], offer: Offer, block_size: BlockSize, max: u32) -> Result<Transfer, Refused> {
    let refuse = |sense| Err(Refused::new(sense, offer.length, 0));
    let carry = |length: u64| u32::try_from(length).ok().filter(|&length| length <= max);
    let Ok(command) = decode(cdb) else {
        // The device knows what to say. It gets what the initiator brought, so that nothing hangs.
        let length = offer.length.min(max);
        return match offer {
            Offer { length: 0, .. } | Offer { read: false, write: false, .. } => Ok(Transfer::None),
            Offer { write: true, .. } if length < offer.length => refuse(Sense::INVALID_FIELD_IN_CDB),
            Offer { write: true, .. } => Ok(Transfer::Out(length)),
            Offer { read: true, .. } => Ok(Transfer::In(length)),
        };
    };
    match command.direction(block_size) {
        Data::None => Ok(Transfer::None),
        Data::In(bytes) => {
            let room = match command {
                Command::Read { .. } => bytes.0,
                // An allocation length is an upper limit, which may be absurd.
                _ => bytes.0.min(u64::from(offer.length).max(PARAMETER_ROOM)).min(u64::from(max)),
            };
            match carry(room) {
                Some(room) => Ok(Transfer::In(room)),
                None => Err(Refused::new(Sense::INVALID_FIELD_IN_CDB, offer.length, 0)),
            }
        }
        Data::Out(_) if offer.read && offer.length > 0 => refuse(Sense::INVALID_FIELD_IN_CDB),
        Data::Out(bytes) if goes_as_it_came(&command, bytes.0, offer) => match carry(offer.length.into()) {
            Some(0) => Ok(Transfer::None),
            Some(length) => Ok(Transfer::Out(length)),
            None => refuse(Sense::INVALID_FIELD_IN_CDB),
        },
        Data::Out(bytes) if bytes.0 > u64::from(offer.length) => {
            Err(Refused::new(TOO_LITTLE_OFFERED, offer.length, bytes.0))
        }
        Data::Out(bytes) => match carry(bytes.0) {
            Some(length) => Ok(Transfer::Out(length)),
            None => refuse(Sense::INVALID_FIELD_IN_CDB),
        },
    }
}

/// Whether the device gets the data of a command as it came, although its CDB is about `asked` bytes. Of reads and
/// writes alone the front knows all that can be wrong; of others the device finds out first whether they may be done at
/// all, and tells then that there is too little data, or too much.
fn goes_as_it_came(command: &Command, asked: u64, offer: Offer) -> bool {
    match command {
        Command::Write { .. } => false,
        // A CDB of FORMAT UNIT does not tell how long its parameter list is, only how long at least.
        Command::FormatUnit { .. } | Command::WriteSame { .. } | Command::CompareAndWrite { .. } => true,
        _ => asked > u64::from(offer.length),
    }
}

#[cfg(test)]
mod tests;
