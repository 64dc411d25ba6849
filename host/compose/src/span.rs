//! Ranges of the medium in bytes, and in what portions they are worked on.

use lunbox_contract::Status;
use lunbox_scsi::{Blocks, Lba, Sense};

use crate::{Ask, Facts, Failure, Io, MAX_WORK, Verb, Verdict, Where};

/// Most steps that a composite asks for at a time.
pub const MAX_ASKS: u64 = 4;

/// A range of bytes on the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Span {
    /// First byte behind it; saturates.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.length == 0
    }

    /// At most `length` bytes of it, from its byte `from` on.
    pub(crate) fn part(self, from: u64, length: u64) -> Self {
        let from = from.min(self.length);
        Self { offset: self.offset + from, length: length.min(self.length - from) }
    }
}

impl Facts {
    /// The bytes of `blocks` from `lba` on.
    ///
    /// # Errors
    /// 5/21/00 if they do not lie on the medium; no blocks directly behind the last one do.
    pub fn span(&self, lba: Lba, blocks: Blocks) -> Result<Span, Sense> {
        let size = u64::from(self.block_size);
        let offset = lba.0.checked_mul(size).ok_or(Sense::LBA_OUT_OF_RANGE)?;
        let length = blocks.0.checked_mul(size).ok_or(Sense::LBA_OUT_OF_RANGE)?;
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(Span { offset, length }),
            _ => Err(Sense::LBA_OUT_OF_RANGE),
        }
    }

    /// A block fits into the work buffer and into one transfer. Where it does not, commands that need a work buffer
    /// end with 4/44/00 and should not be offered.
    #[must_use]
    pub fn can_compose(&self) -> bool {
        let block = u64::from(self.block_size);
        block != 0 && block <= MAX_WORK && self.max_transfer >= block
    }

    /// Longest single transfer in bytes: whole blocks, at least one.
    pub(crate) fn piece(&self) -> u64 {
        whole(self.max_transfer, u64::from(self.block_size))
    }

    /// Bytes that are transferred at a time through the work buffer: whole blocks, at least one.
    pub(crate) fn wave(&self) -> u64 {
        whole(self.burst().min(MAX_WORK), u64::from(self.block_size))
    }

    /// Bytes that are transferred at a time without the work buffer.
    pub(crate) fn burst(&self) -> u64 {
        self.piece().saturating_mul(MAX_ASKS)
    }
}

/// `length` cut to a multiple of `unit`, but never to nothing.
pub(crate) const fn whole(length: u64, unit: u64) -> u64 {
    let unit = if unit == 0 { 1 } else { unit };
    let cut = length - length % unit;
    if cut == 0 { unit } else { cut }
}

/// Whether a command may begin that was made with `made`. It may have waited in between, for commands that it overlaps
/// or for a work buffer.
pub(crate) fn check_start(io: &dyn Io, made: &Facts, span: Span, needs_work: bool) -> Result<(), Verdict> {
    let now = io.facts();
    if span.end() > now.size {
        return Err(Verdict::Check(Sense::LBA_OUT_OF_RANGE, None));
    }
    // Size and write cache are looked at anew. If anything else is not as it was, the initiator repeats the command.
    if (Facts { size: now.size, write_through: now.write_through, ..*made }) != now {
        return Err(Verdict::Failed(Failure::Status(Status::Busy)));
    }
    if needs_work && !now.can_compose() {
        return Err(Verdict::Check(Sense::INTERNAL_TARGET_FAILURE, None));
    }
    Ok(())
}

/// Asks for one verb over all of `span`, in pieces that the handler takes, with the bytes from `buffer` on.
pub(crate) fn ask_all(io: &mut dyn Io, verb: Verb, span: Span, buffer: Where, fua: bool) {
    let piece = io.facts().piece();
    let mut done = 0;
    while done < span.length {
        let Span { offset, length } = span.part(done, piece);
        io.ask(Ask { verb, offset, length, fua, buffer: buffer.further(done) });
        done += length;
    }
}

impl Where {
    /// `bytes` further on.
    pub(crate) const fn further(self, bytes: u64) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Data(at) => Self::Data(at.saturating_add(bytes)),
            Self::Work(at) => Self::Work(at.saturating_add(bytes)),
        }
    }
}
