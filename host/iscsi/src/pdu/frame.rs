//! Cutting a byte stream into PDUs (RFC 7143 clauses 11.2 and 13.1). No I/O: the owner of the socket reads into
//! [`Framer::space`] and takes out [`Frame`]s.

use super::header::{BHS_LENGTH, Bhs};
use crate::digest::{DIGEST_LENGTH, Digests, crc32c};
use thiserror::Error;

/// What a [`Framer`] takes and holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest data segment, in bytes: our MaxRecvDataSegmentLength (RFC 7143 clause 13.12).
    pub max_data_segment: u32,
    /// Bytes that one read may bring beside one maximal PDU. The buffer starts at [`FIRST_BUFFER`] bytes, grows
    /// while reads fill it, and stays below `batch` plus the longest PDU.
    pub batch: usize,
}

/// Bytes of the buffer of a new connection: enough for a login with the default segment length.
pub const FIRST_BUFFER: usize = 16 * 1024;

impl Default for FrameLimits {
    /// The default segment length of the standard and batches of 256 KiB.
    fn default() -> Self {
        Self { max_data_segment: 8192, batch: 256 * 1024 }
    }
}

/// What the data digest of a frame said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCheck {
    /// There was none: not negotiated, or no data.
    Off,
    /// It matches.
    Good,
    /// It does not match: the data must not be used (RFC 7143 clause 7.8).
    Bad,
}

/// One PDU as received. The header digest, if there is one, was right.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The basic header segment.
    pub bhs: Bhs,
    /// All additional header segments with their padding; see [`super::ahs`].
    pub ahs: &'a [u8],
    /// The data segment without padding.
    pub data: &'a [u8],
    /// What its digest said.
    pub data_digest: DigestCheck,
}

/// Why the byte stream can not be followed any further: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The lengths in the header can not be trusted (RFC 7143 clause 7.7).
    #[error("header digest does not match: the position in the byte stream is lost")]
    HeaderDigest,
    /// The sender ignores what was declared, or it is no iSCSI initiator.
    #[error("data segment of {length} bytes, but MaxRecvDataSegmentLength is {limit}")]
    TooLong {
        /// Bytes that the header announces.
        length: u32,
        /// Bytes that were declared.
        limit: u32,
    },
}

/// Cuts a byte stream into frames. Once its buffer has grown it allocates nothing, and it moves bytes only to bring
/// an incomplete PDU to the front of the buffer.
#[derive(Debug)]
pub struct Framer {
    /// Always initialised to its length, which is what it may be filled to.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limits: FrameLimits,
    digests: Digests,
    /// The header at `start` was checked already; its PDU is incomplete.
    header_checked: bool,
}

/// Offsets of the parts of a PDU from its first byte.
struct Layout {
    ahs_end: usize,
    data: usize,
    data_end: usize,
    padded_end: usize,
    end: usize,
}

impl Framer {
    /// An empty framer without digests. Memory is taken when [`space`](Self::space) is asked for first.
    #[must_use]
    pub const fn new(limits: FrameLimits) -> Self {
        let digests = Digests { header: false, data: false };
        Self { buffer: Vec::new(), start: 0, end: 0, limits, digests, header_checked: false }
    }

    /// Digests of all PDUs that were not taken out yet: called when a login ends.
    pub const fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
        self.header_checked = false;
    }

    /// The longest data segment, in bytes, of all PDUs that were not taken out yet: called when a login ends.
    pub const fn set_max_data_segment(&mut self, bytes: u32) {
        self.limits.max_data_segment = bytes;
    }

    /// A PDU has begun and is not complete. Meaningful when [`next_frame`](Self::next_frame) has just returned `None`.
    #[must_use]
    pub const fn is_mid_pdu(&self) -> bool {
        self.start < self.end
    }

    /// Bytes that are held in memory, used or not.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Where the next read goes; never empty when [`next_frame`](Self::next_frame) has just returned `None`. While
    /// frames wait to be taken out it may be empty, because the buffer does not grow without end.
    ///
    /// May move an incomplete PDU to the front of the buffer or enlarge the buffer; `FrameLimits::batch` bounds it.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let wanted = self.wanted();
        // Half a buffer of room is worth no move; less is, and a PDU that would not fit must be moved.
        if self.start > 0 && (self.buffer.len() - self.end < wanted.max(self.buffer.len() / 2)) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = (self.end + wanted).min(self.longest()).max(FIRST_BUFFER);
        if self.buffer.len() < needed {
            // Doubling keeps the cost of zeroing and moving in proportion to what was received.
            let doubled = (self.buffer.len() * 2).min(self.longest());
            self.buffer.resize(needed.max(doubled), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Says how many bytes a read has put into [`space`](Self::space).
    ///
    /// When they filled it, the buffer is enlarged for the next read.
    ///
    /// # Panics
    /// If `bytes` is more than the length of that space: the owner of the socket has lost count.
    pub fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.end, "a read can not bring more than it had room for");
        self.end += bytes;
        if self.end == self.buffer.len() && self.start == 0 {
            let larger = (self.buffer.len() * 2).min(self.longest()).max(self.buffer.len());
            self.buffer.resize(larger, 0);
        }
    }

    /// The next whole PDU; `None` until more bytes are there.
    ///
    /// # Errors
    /// When the stream can not be followed any further. Every later call gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((bhs, layout)) = self.layout()? else { return Ok(None) };
        let start = self.start;
        if self.end - start < layout.end {
            return Ok(None);
        }
        self.start += layout.end;
        self.header_checked = false;
        let pdu = &self.buffer[start..start + layout.end];
        let data_digest = if layout.end == layout.padded_end {
            DigestCheck::Off
        } else if crc32c(&pdu[layout.data..layout.padded_end]) == pdu[layout.padded_end..] {
            DigestCheck::Good
        } else {
            DigestCheck::Bad
        };
        let ahs = &pdu[BHS_LENGTH..layout.ahs_end];
        Ok(Some(Frame { bhs, ahs, data: &pdu[layout.data..layout.data_end], data_digest }))
    }

    /// Where the parts of the PDU at `start` are, once its header is there and proven.
    fn layout(&mut self) -> Result<Option<(Bhs, Layout)>, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        let Some(bhs) = bytes.first_chunk::<BHS_LENGTH>().copied().map(Bhs::new) else { return Ok(None) };
        let ahs_end = BHS_LENGTH + bhs.total_ahs_length();
        let mut data = ahs_end;
        if self.digests.header {
            data += DIGEST_LENGTH;
            let Some(header) = bytes.get(..data) else { return Ok(None) };
            let (header, digest) = header.split_at(ahs_end);
            if !self.header_checked && crc32c(header) != *digest {
                return Err(FrameError::HeaderDigest);
            }
            self.header_checked = true;
        }
        let length = bhs.data_segment_length();
        let limit = self.limits.max_data_segment;
        // 24 bits always fit.
        let (true, Ok(data_length)) = (length <= limit, usize::try_from(length)) else {
            return Err(FrameError::TooLong { length, limit });
        };
        let data_end = data + data_length;
        let padded_end = data + data_length.next_multiple_of(4);
        let digest = if self.digests.data && data_length > 0 { DIGEST_LENGTH } else { 0 };
        Ok(Some((bhs, Layout { ahs_end, data, data_end, padded_end, end: padded_end + digest })))
    }

    /// Bytes that the PDU at `start` still lacks, as far as that is known; at least 1.
    fn wanted(&mut self) -> usize {
        let have = self.end - self.start;
        let whole = match self.layout() {
            Ok(Some((_, layout))) => layout.end,
            // Longest header with its digest.
            Ok(None) => BHS_LENGTH + 1020 + DIGEST_LENGTH,
            Err(_) => 0,
        };
        whole.saturating_sub(have).max(1)
    }

    /// What the buffer may grow to.
    fn longest(&self) -> usize {
        let data = usize::try_from(self.limits.max_data_segment).unwrap_or(usize::MAX / 2);
        BHS_LENGTH + 1020 + data.next_multiple_of(4) + 2 * DIGEST_LENGTH + self.limits.batch
    }
}
