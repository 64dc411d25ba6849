//! From the handler's operations to requests for the executor.

use lunbox_contract::{BufferId, EXTENT_SCRATCH_BYTES, ExtentRecord, Op, OpError, OpKind};
use lunbox_memory::Extent;
use lunbox_store::{Kind, RegionId, Request, StoreError, StoreIndex, Target, Token};

use crate::table::{Direction, Slot, SlotIndex};

/// Operations of one command are numbered below this in a token.
const OPS_PER_COMMAND: u64 = 64;

/// Names one operation of one command towards the executor. A slot is not given back while operations refer to
/// it, so slot and position are unique.
pub(crate) fn token(slot: SlotIndex, op: usize) -> Token {
    Token(slot as u64 * OPS_PER_COMMAND + op as u64)
}

/// The slot and the position of the operation.
pub(crate) fn from_token(token: Token) -> (usize, usize) {
    let part = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    (part(token.0 / OPS_PER_COMMAND), part(token.0 % OPS_PER_COMMAND))
}

/// The shortest list of extents in bytes.
const EXTENT_BYTES: u64 = ExtentRecord::BYTES as u64;

/// What an operation needs besides its slot.
pub(crate) enum Source {
    /// The data area of the ring.
    Data,
    /// A scratch buffer that the operation owns while it runs.
    Scratch(Vec<u8>),
    /// No bytes.
    None,
}

/// Checks an operation and takes its scratch buffer. `Err` is the handler's fault, in words.
pub(crate) fn prepare(slot: &mut Slot, room: &mut usize, op: &Op) -> Result<Source, String> {
    if op.kind == OpKind::Flush {
        return Ok(Source::None);
    }
    if op.length == 0 {
        return Err("an operation of length 0".to_owned());
    }
    if op.store_offset.checked_add(op.length).is_none() {
        return Err("a range of the store that wraps around 64 bits".to_owned());
    }
    if matches!(op.kind, OpKind::Discard | OpKind::WriteZeroes) {
        return Ok(Source::None);
    }
    // A list of extents takes what room there is.
    let (fills, length) = match op.kind {
        OpKind::Extents if op.buffer == BufferId::DATA => (true, EXTENT_BYTES),
        OpKind::Extents => (true, EXTENT_SCRATCH_BYTES.into()),
        kind => (kind == OpKind::Read, op.length),
    };
    let end = u64::from(op.buffer_offset).checked_add(length).ok_or("buffer range wraps")?;
    if op.buffer == BufferId::DATA {
        let wanted = if fills { Direction::ToInitiator } else { Direction::FromInitiator };
        if slot.direction != wanted {
            return Err(format!(
                "{:?} on the data buffer of a command that moves data the other way",
                op.kind
            ));
        }
        if end > slot.data_length {
            return Err(format!("bytes up to {end} of a data buffer of {}", slot.data_length));
        }
        return Ok(Source::Data);
    }
    slot.lend_scratch(op.buffer, end, fills, room).map(Source::Scratch).ok_or_else(|| {
        format!(
            "scratch buffer {} is missing, too short, too long or in use, or no scratch memory is left",
            op.buffer.0
        )
    })
}

/// The request for the executor.
pub(crate) fn request<'a>(
    op: &Op,
    source: Source,
    extents: &'a [Extent],
    region: RegionId,
    store: StoreIndex,
) -> Request<'a> {
    let durable = op.flags.durable;
    let kind = match op.kind {
        OpKind::Read => Kind::Read { zero_at_eof: op.flags.zero_at_eof },
        OpKind::Write => Kind::Write { durable },
        OpKind::Flush => Kind::Flush,
        OpKind::Discard => Kind::Discard { durable },
        OpKind::WriteZeroes => Kind::WriteZeroes { durable, may_unmap: op.flags.may_unmap },
        OpKind::Extents => Kind::Extents,
    };
    let target = match source {
        Source::None => Target::Nothing,
        Source::Data => Target::Region { region, extents, skip: u64::from(op.buffer_offset) },
        Source::Scratch(buffer) => Target::Owned { buffer, skip: op.buffer_offset as usize },
    };
    Request { store, kind, offset: op.store_offset, length: op.length, target }
}

/// The contract's word for a store's error.
pub(crate) const fn op_error(error: StoreError) -> OpError {
    match error {
        StoreError::Io => OpError::Io,
        StoreError::NoSpace => OpError::NoSpace,
        StoreError::ReadOnly => OpError::ReadOnly,
        StoreError::EndOfStore => OpError::EndOfStore,
        StoreError::TimedOut => OpError::TimedOut,
        StoreError::Cancelled => OpError::Cancelled,
        StoreError::Unsupported => OpError::Unsupported,
        StoreError::Invalid => OpError::Invalid,
        StoreError::BufferLost => OpError::BufferLost,
    }
}
