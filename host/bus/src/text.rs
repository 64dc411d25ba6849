//! Texts of others on their way into replies.

/// The longest message of a reply, in bytes. What is longer ends in `…`.
pub const MAX_MESSAGE: usize = 1024;

/// A message as operators see it: one line, no control characters (a NUL can not be sent at all), and an end.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE + 1).collect();
    if line.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

/// A help text: may have lines, but no NUL.
pub(crate) fn help(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_an_end() {
        assert_eq!(one_line(" no option \"x\"\nfor\0it \n"), "no option \"x\" for it");
        assert_eq!(one_line(&"x".repeat(MAX_MESSAGE)).len(), MAX_MESSAGE);
        for endless in ["x".repeat(1 << 20), "ä".repeat(1 << 20), "…".repeat(1 << 20), "𝄞".repeat(1 << 20)]
        {
            let line = one_line(&endless);
            assert!(line.len() <= MAX_MESSAGE && line.len() > MAX_MESSAGE - 8, "{}", line.len());
            assert!(line.ends_with('…'));
        }
        assert_eq!(help("a\nb\0"), "a\nb\u{fffd}");
    }
}
