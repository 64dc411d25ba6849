//! Additional header segments (RFC 7143 clause 11.2.2).

use thiserror::Error;

/// Type of the segment that carries the CDB's bytes beyond 16 (RFC 7143 clause 11.2.2.3).
pub const EXTENDED_CDB: u8 = 1;

/// Type of the segment that carries the read length of a bidirectional command (RFC 7143 clause 11.2.2.4).
pub const BIDI_READ_LENGTH: u8 = 2;

/// One additional header segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahs<'a> {
    /// AHSType: [`EXTENDED_CDB`], [`BIDI_READ_LENGTH`] or a type that nobody here knows.
    pub kind: u8,
    /// The byte after the type; reserved in both known types.
    pub specific: u8,
    /// What follows it, without padding: AHSLength - 1 bytes.
    pub bytes: &'a [u8],
}

/// Why additional header segments can not be read. The sender made a mistake; the byte stream is not lost, because
/// the length of all segments together stands in the basic header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AhsError {
    /// AHSLength counts the byte after the type, so it is at least 1.
    #[error("an additional header segment has AHSLength 0; it must be at least 1")]
    Empty,
    /// The segment is longer than what TotalAHSLength leaves.
    #[error("an additional header segment is longer than TotalAHSLength allows")]
    TooLong,
}

/// Reads the segments one after the other. `bytes` are all segments of a PDU with their padding.
///
/// The iterator ends after its first error.
#[must_use]
pub const fn segments(bytes: &[u8]) -> Segments<'_> {
    Segments { rest: bytes }
}

/// The iterator that [`segments`] gives.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Ahs<'a>, AhsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let [high, low, kind, specific, tail @ ..] = rest else { return Some(Err(AhsError::TooLong)) };
        // AHSLength counts neither itself nor the type, but it counts the specific byte.
        let Some(length) = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(1) else {
            return Some(Err(AhsError::Empty));
        };
        let Some(bytes) = tail.get(..length) else { return Some(Err(AhsError::TooLong)) };
        // The whole segment, whose fixed part is one word, is padded to a multiple of four.
        self.rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Ahs { kind: *kind, specific: *specific, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_cut_at_their_padded_ends() {
        // Extended CDB with five more bytes (padded to eight), then a bidirectional read length of 512.
        let bytes = [0, 6, 1, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 5, 2, 0, 0, 0, 2, 0];
        let all: Vec<_> = segments(&bytes).collect();
        assert_eq!(
            all,
            [
                Ok(Ahs { kind: EXTENDED_CDB, specific: 0, bytes: &[1, 2, 3, 4, 5] }),
                Ok(Ahs { kind: BIDI_READ_LENGTH, specific: 0, bytes: &[0, 0, 2, 0] }),
            ]
        );
        assert_eq!(segments(&[]).count(), 0);
    }

    #[test]
    fn impossible_lengths_are_errors_and_end_the_list() {
        let all = |bytes| segments(bytes).collect::<Vec<_>>();
        assert_eq!(all(&[0, 0, 1, 0, 9, 9, 9, 9]), [Err(AhsError::Empty)]);
        assert_eq!(all(&[0, 6, 1, 0, 1, 2, 3, 4]), [Err(AhsError::TooLong)]);
        assert_eq!(all(&[0xff, 0xff, 1, 0]), [Err(AhsError::TooLong)]);
        assert_eq!(all(&[0, 1, 9]), [Err(AhsError::TooLong)]);
        let good = Ok(Ahs { kind: 7, specific: 3, bytes: &[] as &[u8] });
        assert_eq!(all(&[0, 1, 7, 3, 0, 0, 0, 0]), [good, Err(AhsError::Empty)]);
    }
}
