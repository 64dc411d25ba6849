//! Sizes on the command line.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, not 0, that a file offset can hold. Written as bytes or with one of the binary suffixes
/// K, M, G and T (2¹⁰, 2²⁰, 2³⁰, 2⁴⁰), which may be spelt out (`KiB` …).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a whole number with a suffix that is known.
    #[error("write a whole number of bytes, or one with K, M, G or T (512M, 1G, 1536M instead of 1.5G)")]
    Malformed,
    /// KB, MB …: some mean 1000 and some 1024.
    #[error("{0} may mean 1000s or 1024s; write K, M, G or T, which are binary here, or plain bytes")]
    Ambiguous(String),
    /// Nothing fits into it.
    #[error("nothing fits into 0 bytes; give at least one block")]
    Zero,
    /// Beyond what a file offset can hold.
    #[error("larger than any file can be; the largest size is 8388607T")]
    TooLarge,
}

/// The suffixes and their exponents of two.
const SUFFIXES: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl Size {
    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// A size of so many bytes, if it is one.
    ///
    /// # Errors
    /// [`SizeError::Zero`], [`SizeError::TooLarge`].
    pub fn new(bytes: u64) -> Result<Self, SizeError> {
        match i64::try_from(bytes) {
            Ok(0) => Err(SizeError::Zero),
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(SizeError::TooLarge),
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::Malformed);
        }
        let mut letters = suffix.chars();
        let shift = match letters.next() {
            None => 0,
            Some(letter) => {
                let known = SUFFIXES
                    .iter()
                    .find(|(suffix, _)| *suffix == letter.to_ascii_uppercase())
                    .map(|found| found.1);
                match (known, letters.as_str()) {
                    (Some(shift), "" | "iB") => shift,
                    (Some(_), "B" | "b") => return Err(SizeError::Ambiguous(suffix.to_owned())),
                    _ => return Err(SizeError::Malformed),
                }
            }
        };
        // Only digits: what does not parse is too large.
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        Self::new(number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)?)
    }
}

/// The shortest text that is exactly this size.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SUFFIXES.iter().find(|(_, shift)| self.0.is_multiple_of(1 << shift)) {
            Some((suffix, shift)) => write!(f, "{}{suffix}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar() {
        let good = [
            ("1", 1),
            ("512", 512),
            ("1K", 1024),
            ("4k", 4096),
            ("1M", 1 << 20),
            ("1G", 1 << 30),
            ("2GiB", 2 << 30),
            ("3T", 3 << 40),
            ("0512", 512),
            ("8388607T", 8_388_607 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(text.parse::<Size>().map(Size::bytes), Ok(bytes), "{text}");
        }
        for text in
            ["", "G", "1.5G", "-1", "+1", " 1", "1 G", "1X", "1Gi", "1GIB", "0x10", "1e3", "١", "1_000"]
        {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Malformed), "{text}");
        }
        for text in ["0", "0G", "000"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Zero), "{text}");
        }
        for text in ["9223372036854775808", "8388608T", "99999999999999999999999", "18446744073709551615K"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::TooLarge), "{text}");
        }
        assert!(matches!("1GB".parse::<Size>(), Err(SizeError::Ambiguous(suffix)) if suffix == "GB"));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(bytes in 1..=i64::MAX.unsigned_abs()) {
            let size = Size::new(bytes).unwrap();
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
        }

        #[test]
        fn what_is_read_is_shown_the_same(number in 1u64..8_388_607, suffix in "[KMGT]?") {
            let size: Size = format!("{number}{suffix}").parse().unwrap();
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
            let shift = SUFFIXES.iter().find(|(letter, _)| suffix.starts_with(*letter)).map_or(0, |found| found.1);
            prop_assert_eq!(size.bytes(), number << shift);
        }

        #[test]
        fn any_text_is_judged(text in ".*") {
            if let Ok(size) = text.parse::<Size>() {
                prop_assert!(size.bytes() > 0);
            }
        }
    }
}
