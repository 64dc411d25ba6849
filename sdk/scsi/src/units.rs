//! Units of measure, and the only arithmetic between them that makes sense. Everything is checked: an overflow
//! is an answer (`None`), never a wrapped number.

use std::fmt;

/// Logical block address: the number of a block, counted from 0 (SBC-4 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

/// A count of logical blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blocks(pub u64);

/// A count of bytes, or a byte offset on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Length of a logical block in bytes: a power of two from 512 to 8 MiB.
///
/// The upper bound is the largest power of two that the LOGICAL BLOCK LENGTH field of a short mode block
/// descriptor can carry (three bytes; SBC-4, mode parameter block descriptors). 512 and 4096 are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u32);

impl Lba {
    /// The address `count` blocks further on; `None` beyond 64 bits.
    #[must_use]
    pub const fn checked_add(self, count: Blocks) -> Option<Self> {
        match self.0.checked_add(count.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How many blocks lie between `start` and this address; `None` if `start` lies behind it.
    #[must_use]
    pub const fn blocks_since(self, start: Self) -> Option<Blocks> {
        match self.0.checked_sub(start.0) {
            Some(count) => Some(Blocks(count)),
            None => None,
        }
    }
}

impl Blocks {
    /// Both counts together; `None` beyond 64 bits.
    #[must_use]
    pub const fn checked_add(self, more: Self) -> Option<Self> {
        match self.0.checked_add(more.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl Bytes {
    /// Both counts together; `None` beyond 64 bits.
    #[must_use]
    pub const fn checked_add(self, more: Self) -> Option<Self> {
        match self.0.checked_add(more.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl BlockSize {
    /// 512 bytes.
    pub const B512: Self = Self(512);
    /// 4096 bytes.
    pub const B4096: Self = Self(4096);

    const MIN: u32 = 512;
    const MAX: u32 = 1 << 23;

    /// Checks a block size in bytes.
    ///
    /// # Errors
    /// [`InvalidBlockSize`] if it is not a power of two from 512 to 8 MiB.
    pub const fn new(bytes: u32) -> Result<Self, InvalidBlockSize> {
        if bytes.is_power_of_two() && bytes >= Self::MIN && bytes <= Self::MAX {
            Ok(Self(bytes))
        } else {
            Err(InvalidBlockSize(bytes))
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What `count` blocks weigh; `None` beyond 64 bits.
    #[must_use]
    pub fn bytes(self, count: Blocks) -> Option<Bytes> {
        count.0.checked_mul(u64::from(self.0)).map(Bytes)
    }

    /// The byte offset at which block `lba` starts; `None` beyond 64 bits.
    #[must_use]
    pub fn offset(self, lba: Lba) -> Option<Bytes> {
        lba.0.checked_mul(u64::from(self.0)).map(Bytes)
    }

    /// How many blocks `length` makes; `None` if it is not a whole number of them.
    #[must_use]
    pub fn blocks(self, length: Bytes) -> Option<Blocks> {
        let size = u64::from(self.0);
        length.0.is_multiple_of(size).then(|| Blocks(length.0 / size))
    }

    /// The block that starts at byte `offset`; `None` in the middle of a block.
    #[must_use]
    pub fn lba(self, offset: Bytes) -> Option<Lba> {
        self.blocks(offset).map(|count| Lba(count.0))
    }
}

/// The number that is no block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBlockSize(pub u32);

impl fmt::Display for InvalidBlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block size: {} bytes is not possible; use a power of two from {} to {}, usually 512 or 4096",
            self.0,
            BlockSize::MIN,
            BlockSize::MAX
        )
    }
}

impl std::error::Error for InvalidBlockSize {}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
