//! What of a range is allocated, as a list of bytes in a buffer.

/// Bytes that a scratch buffer has at least for the list of [`OpKind::Extents`](crate::OpKind::Extents): 170 records.
pub const EXTENT_SCRATCH_BYTES: u32 = 170 * 24;

/// One piece of a list (`op-kind.extents` and `block-lba-status` in the WIT): 24 bytes, little-endian: offset, length
/// (u64 each), state (u32: 0 allocated, 1 not), 0 (u32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentRecord {
    /// First byte: of the store in an operation's list, of the device in `block-lba-status`.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Whether it takes up space. What does not reads as zeros, or as the store's discarded ranges do.
    pub allocated: bool,
}

impl ExtentRecord {
    /// Bytes of a record in a buffer.
    pub const BYTES: usize = 24;

    /// As it stands in a buffer.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::from(!self.allocated).to_le_bytes());
        bytes
    }

    /// From a buffer. Every state but 1 counts as allocated: nobody loses data by that.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        debug_assert!(rest.is_empty(), "24 bytes are three words");
        Self {
            offset: u64::from_le_bytes(words[0]),
            length: u64::from_le_bytes(words[1]),
            allocated: u64::from_le_bytes(words[2]) & u64::from(u32::MAX) != 1,
        }
    }

    /// The records of a list: up to one of length 0, or as many whole ones as there are bytes.
    #[must_use]
    pub const fn list(bytes: &[u8]) -> Extents<'_> {
        Extents { bytes }
    }
}

/// Goes through a list; see [`ExtentRecord::list`].
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    bytes: &'a [u8],
}

impl Iterator for Extents<'_> {
    type Item = ExtentRecord;

    fn next(&mut self) -> Option<ExtentRecord> {
        let (record, rest) = self.bytes.split_first_chunk::<{ ExtentRecord::BYTES }>()?;
        let record = ExtentRecord::from_bytes(record);
        self.bytes = if record.length == 0 { &[] } else { rest };
        (record.length != 0).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: ExtentRecord = ExtentRecord { offset: 0x0102_0304_0506_0708, length: 4096, allocated: true };
    const HOLE: ExtentRecord = ExtentRecord { offset: 4096, length: u64::MAX, allocated: false };

    #[test]
    fn a_record_is_24_little_endian_bytes() {
        let bytes = DATA.to_bytes();
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[8..], [0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(HOLE.to_bytes()[16..], [1, 0, 0, 0, 0, 0, 0, 0]);
        for record in [DATA, HOLE] {
            assert_eq!(ExtentRecord::from_bytes(&record.to_bytes()), record);
        }
    }

    #[test]
    fn a_list_ends_with_a_record_of_no_bytes_or_with_the_buffer() {
        let both = [DATA.to_bytes(), HOLE.to_bytes()].concat();
        let list = |bytes: &[u8]| ExtentRecord::list(bytes).collect::<Vec<_>>();
        assert_eq!(list(&both), [DATA, HOLE]);
        assert_eq!(list(&both[..47]), [DATA], "half a record is none");
        let ended = [DATA.to_bytes(), [0; 24], HOLE.to_bytes()].concat();
        assert_eq!(list(&ended), [DATA], "what stands behind the end is old");
        let mut ended = ExtentRecord::list(&ended);
        assert_eq!((ended.next(), ended.next(), ended.next()), (Some(DATA), None, None));
        assert_eq!(list(&[]), []);
    }

    #[test]
    fn an_unknown_state_is_allocated() {
        let mut bytes = HOLE.to_bytes();
        bytes[16] = 7;
        assert!(ExtentRecord::from_bytes(&bytes).allocated);
        bytes[16] = 1;
        bytes[20] = 9;
        assert!(!ExtentRecord::from_bytes(&bytes).allocated, "the reserved bytes mean nothing");
    }
}
