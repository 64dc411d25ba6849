//! Makes text of strangers fit for a line.

use std::fmt::{self, Write};

use crate::line::LONGEST;

/// Appends what is written to it, so that it stays one line and steers no terminal. Backslashes are left as they are:
/// most stand in text that was escaped before.
pub(crate) struct OneLine<'a>(pub(crate) &'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The rest would be cut off: whoever formats a text of megabytes may stop.
        if self.0.len() > LONGEST {
            return Err(fmt::Error);
        }
        push(self.0, text, |_| false);
        Ok(())
    }
}

/// Appends the name of a device, so that the prefix that it stands in ends at the first ": " of the line: spaces are
/// escaped, and backslashes, so that an escaped space is no other name's.
pub(crate) fn push_name(line: &mut String, name: &str) {
    push(line, name, |character| character.is_whitespace() || character == '\\');
}

fn push(line: &mut String, text: &str, unwanted: impl Fn(char) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.find(|character| is_harmful(character) || unwanted(character)) {
        let (clean, from) = rest.split_at(at);
        line.push_str(clean);
        let mut characters = from.chars();
        if let Some(character) = characters.next() {
            push_escaped(line, character);
        }
        rest = characters.as_str();
    }
    line.push_str(rest);
}

fn push_escaped(line: &mut String, character: char) {
    // Writing into a String can not fail.
    let _ = match character {
        ' ' => write!(line, "\\x20"),
        _ => write!(line, "{}", character.escape_default()),
    };
}

/// Control characters (Unicode Cc), separators of lines and paragraphs, marks of direction (UAX #9).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stays_one_line() {
        let mut line = String::new();
        OneLine(&mut line).write_str("a\nb\r\x1b[2J\u{9b}\u{202e}\u{2028}\0é \\n").unwrap();
        assert_eq!(line, "a\\nb\\r\\u{1b}[2J\\u{9b}\\u{202e}\\u{2028}\\u{0}é \\n");
    }

    #[test]
    fn names_have_no_spaces_and_two_names_are_never_the_same() {
        let escaped = |name: &str| {
            let mut line = String::new();
            push_name(&mut line, name);
            line
        };
        assert_eq!(escaped("a: b"), "a:\\x20b");
        assert_eq!(escaped("a:\\x20b"), "a:\\\\x20b");
        assert_eq!(escaped("a\u{a0}b\u{3000}"), "a\\u{a0}b\\u{3000}");
        assert_eq!(escaped("iqn.2003-01.org:disk"), "iqn.2003-01.org:disk");
    }
}
