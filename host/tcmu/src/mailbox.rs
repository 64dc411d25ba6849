//! The mailbox at the start of the mapping: version, features, where the ring lies, and the arithmetic of
//! positions in it. Source: struct tcmu_mailbox, include/uapi/linux/target_core_user.h.

use lunbox_memory::Mapping;

use crate::ring_error::RingError;

const VERSION: u64 = 0;
const FLAGS: u64 = 2;
const CMDR_OFF: u64 = 4;
const CMDR_SIZE: u64 = 8;
pub(crate) const CMD_HEAD: u64 = 12;
pub(crate) const CMD_TAIL: u64 = 64;

/// Bytes of the mailbox: two cache lines, so that each side writes to its own.
const MAILBOX_SIZE: u64 = 128;
/// The smallest ring that holds one command entry.
const SMALLEST_RING: u32 = 112;
/// Entries and the ring are multiples of this.
pub(crate) const ENTRY_ALIGNMENT: u32 = 8;

/// What the kernel's side of a ring can do (flags of struct tcmu_mailbox).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Commands may be completed in any order (TCMU_MAILBOX_FLAG_CAP_OOOC). [`crate::Ring::attach`] demands it.
    pub out_of_order: bool,
    /// A response may say how many bytes of data-in are valid (TCMU_MAILBOX_FLAG_CAP_READ_LEN).
    pub read_len: bool,
    /// Task management notices may appear in the ring (TCMU_MAILBOX_FLAG_CAP_TMR).
    pub task_management: bool,
    /// A command may be completed while its buffer stays in use (TCMU_MAILBOX_FLAG_CAP_KEEP_BUF).
    pub keep_buf: bool,
}

impl Features {
    fn from_flags(flags: u16) -> Self {
        Self {
            out_of_order: flags & 1 != 0,
            read_len: flags & 2 != 0,
            task_management: flags & 4 != 0,
            keep_buf: flags & 8 != 0,
        }
    }
}

/// Where an entry begins: bytes from the start of the ring, below its size and a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) u32);

/// Where ring and data area lie. Checked once; the kernel never changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    ring: u64,
    size: u32,
    end: u64,
}

impl Geometry {
    /// Reads and checks version, features and layout.
    pub(crate) fn load(map: &Mapping) -> Result<(Self, Features), RingError> {
        let end = map.length() as u64;
        if end < MAILBOX_SIZE {
            return Err(RingError::Inconsistent {
                field: "length of the mapping",
                value: end,
                at: 0,
                expected: "at least 128 bytes (the mailbox)",
            });
        }
        let version = map.load_u16(VERSION)?;
        if version != 2 {
            return Err(RingError::Version { found: version });
        }
        let features = Features::from_flags(map.load_u16(FLAGS)?);
        let ring = u64::from(map.load_u32(CMDR_OFF)?);
        let wrong = |field, value, at, expected| Err(RingError::Inconsistent { field, value, at, expected });
        if ring < MAILBOX_SIZE || !ring.is_multiple_of(u64::from(ENTRY_ALIGNMENT)) {
            return wrong("cmdr_off", ring, CMDR_OFF, "a multiple of 8 behind the mailbox");
        }
        let size = map.load_u32(CMDR_SIZE)?;
        if size < SMALLEST_RING || !size.is_multiple_of(ENTRY_ALIGNMENT) {
            return wrong("cmdr_size", u64::from(size), CMDR_SIZE, "a multiple of 8 and at least 112");
        }
        if ring + u64::from(size) > end {
            return wrong(
                "cmdr_size",
                u64::from(size),
                CMDR_SIZE,
                "small enough for the ring to end in the mapping",
            );
        }
        Ok((Self { ring, size, end }, features))
    }

    /// Reads cmd_head or cmd_tail.
    pub(crate) fn load_position(
        &self,
        map: &Mapping,
        field: &'static str,
        at: u64,
    ) -> Result<Position, RingError> {
        let value = map.load_u32(at)?;
        self.position(value).ok_or(RingError::Inconsistent {
            field,
            value: u64::from(value),
            at,
            expected: "a multiple of 8 below cmdr_size",
        })
    }

    /// The value as a position, if it is one.
    pub(crate) fn position(&self, value: u32) -> Option<Position> {
        (value < self.size && value.is_multiple_of(ENTRY_ALIGNMENT)).then_some(Position(value))
    }

    /// Offset from the start of the mapping.
    pub(crate) fn at(&self, position: Position) -> u64 {
        self.ring + u64::from(position.0)
    }

    /// Bytes from here to the ring's end. Entries never wrap, so none is longer.
    pub(crate) fn room(&self, position: Position) -> u32 {
        self.size - position.0
    }

    /// The position behind an entry of `length` bytes, which the caller checked against [`Self::room`].
    pub(crate) fn advance(&self, position: Position, length: u32) -> Position {
        if length == self.room(position) { Position(0) } else { Position(position.0 + length) }
    }

    /// Bytes from one position forward to another, around the ring's end if need be.
    pub(crate) fn distance(&self, from: Position, to: Position) -> u32 {
        if to.0 >= from.0 { to.0 - from.0 } else { self.room(from) + to.0 }
    }

    /// First byte of the data area, which begins where the ring ends.
    pub(crate) fn data_start(&self) -> u64 {
        self.ring + u64::from(self.size)
    }

    /// Byte behind the data area: the mapping's length.
    pub(crate) fn data_end(&self) -> u64 {
        self.end
    }
}
