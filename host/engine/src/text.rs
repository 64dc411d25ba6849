//! Makes text of a guest fit for logs and terminals.

use std::fmt::Write as _;

/// One printable line of at most `max_bytes` bytes of `text` (cut between characters and marked with `…`) before
/// escaping. Control characters and those that change the direction or the line of what follows are escaped, so
/// that a guest can neither forge a log line nor steer a terminal.
pub(crate) fn one_line(text: &str, max_bytes: usize) -> String {
    let kept = &text[..text.floor_char_boundary(max_bytes)];
    let mut line = String::with_capacity(kept.len() + 4);
    for character in kept.chars() {
        if is_harmless(character) {
            line.push(character);
        } else {
            // Writing into a String can not fail.
            let _ = write!(line, "{}", character.escape_default());
        }
    }
    if kept.len() < text.len() {
        line.push('…');
    }
    line
}

/// Neither a control character (Unicode Cc) nor a line or paragraph separator nor a direction mark (UAX #9).
pub(crate) fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(one_line("grün", 3), "gr…");
        assert_eq!(one_line("grün", 4), "grü…");
        assert_eq!(one_line("grün", 5), "grün");
        assert_eq!(one_line("", 0), "");
    }

    #[test]
    fn no_character_forges_a_line_or_steers_a_terminal() {
        assert_eq!(
            one_line("a\nb\r\x1b[2J\u{9b}\u{202e}\u{2028}\0é", 99),
            r"a\nb\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{0}é"
        );
    }

    #[test]
    fn hex_digits() {
        assert_eq!(hex(&[0, 0x0f, 0xa5]), "000fa5");
    }
}
