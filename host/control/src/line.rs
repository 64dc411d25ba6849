//! Lines of bounded length.

use std::io::{self, BufRead, Read};

/// Longest line that a client may send, in bytes.
pub(crate) const REQUEST_BYTES: usize = 64 << 10;

/// Longest line that a server may send, in bytes: a thousand devices with all that is known of them, many times over.
pub(crate) const ANSWER_BYTES: usize = 64 << 20;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line; its end is not part of the buffer.
    Whole,
    /// More bytes than allowed before the line ended.
    TooLong,
    /// The peer has gone. What it may have begun to say is not worth reading.
    End,
}

/// Reads a line into `buffer`, whose former contents are gone.
///
/// # Errors
/// The reader's.
pub(crate) fn read(reader: &mut impl BufRead, buffer: &mut Vec<u8>, most: usize) -> io::Result<Line> {
    buffer.clear();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.by_ref().take(bound).read_until(b'\n', buffer)?;
    if buffer.pop_if(|last| *last == b'\n').is_some() {
        Ok(Line::Whole)
    } else if buffer.len() > most {
        Ok(Line::TooLong)
    } else {
        Ok(Line::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_from_ends_and_floods() {
        let mut reader = io::Cursor::new(b"abc\n\n12345678\n123456789\n");
        let mut buffer = Vec::new();
        let mut next = || (read(&mut reader, &mut buffer, 8).unwrap(), buffer.clone());
        assert_eq!(next(), (Line::Whole, b"abc".to_vec()));
        assert_eq!(next(), (Line::Whole, Vec::new()));
        assert_eq!(next(), (Line::Whole, b"12345678".to_vec()));
        assert_eq!(next().0, Line::TooLong);
        let mut reader = io::Cursor::new(b"half");
        assert_eq!(read(&mut reader, &mut Vec::new(), 8).unwrap(), Line::End);
        assert_eq!(read(&mut reader, &mut Vec::new(), 8).unwrap(), Line::End);
    }
}
