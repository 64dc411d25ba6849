//! Values of text keys (RFC 7143 clause 6.1).

use std::ops::RangeInclusive;

/// A number: decimal, or hexadecimal after `0x` or `0X`. `None` for anything else, signs and blanks included, and
/// beyond 64 bits.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match hexadecimal(text) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // The standard library would take a plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number within `range`.
#[must_use]
pub fn number_in(text: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    u32::try_from(number(text)?).ok().filter(|number| range.contains(number))
}

/// `Yes` or `No`.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// How a boolean is written.
#[must_use]
pub const fn yes_or_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// The members of a list in the order of preference.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
}

/// A range of numbers, `from~to`; `None` if `from` is above `to`.
#[must_use]
pub fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (from, to) = text.split_once('~')?;
    let (from, to) = (number(from)?, number(to)?);
    (from <= to).then_some(from..=to)
}

/// A binary value of at most `limit` bytes: hexadecimal after `0x` with an even number of digits, or base64 after `0b`
/// (RFC 4648 clause 4, with its padding). `None` for anything else.
#[must_use]
pub fn binary(text: &str, limit: usize) -> Option<Vec<u8>> {
    if let Some(digits) = hexadecimal(text) {
        return hex(digits.as_bytes(), limit);
    }
    base64(text.strip_prefix("0b").or_else(|| text.strip_prefix("0B"))?.as_bytes(), limit)
}

fn hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

fn hex(digits: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.is_empty() || pairs.len() > limit {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

fn base64(digits: &[u8], limit: usize) -> Option<Vec<u8>> {
    let padding = digits.iter().rev().take_while(|&&byte| byte == b'=').count();
    if digits.is_empty() || !digits.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let length = digits.len() / 4 * 3 - padding;
    if length > limit {
        return None;
    }
    let mut bytes = Vec::with_capacity(length);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for &digit in &digits[..digits.len() - padding] {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            bytes.push(byte);
            bits &= (1 << count) - 1;
        }
    }
    // Bits that no byte takes must be zero, else two texts would mean the same bytes.
    (bits == 0).then_some(bytes)
}

/// Writes bytes as `0x…`.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_nothing_else() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("262144"), Some(262_144));
        assert_eq!(number("0x1fF"), Some(511));
        assert_eq!(number("0Xffffffffffffffff"), Some(u64::MAX));
        for bad in ["", "0x", "+1", "-1", " 1", "1 ", "1f", "0x1_0", "18446744073709551616", "0b11", "１"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!(number_in("512", &(512..=1024)), Some(512));
        assert_eq!(number_in("1025", &(512..=1024)), None);
        assert_eq!(number_in("4294967808", &(512..=1024)), None, "must not wrap to 512");
    }

    #[test]
    fn booleans_lists_and_ranges() {
        assert_eq!(
            (boolean("Yes"), boolean("No"), boolean("yes"), boolean("")),
            (Some(true), Some(false), None, None)
        );
        assert_eq!(list("CRC32C,None").collect::<Vec<_>>(), ["CRC32C", "None"]);
        assert_eq!(range("1~0x10"), Some(1..=16));
        assert_eq!((range("2~1"), range("1-2"), range("~2")), (None, None, None));
    }

    #[test]
    fn binary_values_in_both_encodings() {
        assert_eq!(binary("0x00ffAb", 3).unwrap(), [0x00, 0xff, 0xab]);
        // The vectors of RFC 4648 clause 10.
        for (text, bytes) in [
            ("0bZg==", "f"),
            ("0bZm8=", "fo"),
            ("0BZm9v", "foo"),
            ("0bZm9vYg==", "foob"),
            ("0bZm9vYmE=", "fooba"),
            ("0bZm9vYmFy", "foobar"),
        ] {
            assert_eq!(binary(text, 6).unwrap(), bytes.as_bytes(), "{text}");
        }
        assert_eq!(binary("0b+/+/", 3).unwrap(), [0xfb, 0xff, 0xbf]);
        for bad in [
            "", "0x", "0x0", "0xgg", "0b", "0bZg", "0bZg=", "0bZ===", "0bZh==", "0b====", "0b*A==", "ff",
            "17",
        ] {
            assert_eq!(binary(bad, 100), None, "{bad:?}");
        }
        assert_eq!(binary("0x0102", 1), None);
        assert_eq!(binary("0bZm9v", 2), None);
        assert_eq!(Hex(&[1, 0xff]).to_string(), "0x01ff");
    }
}
