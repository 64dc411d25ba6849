//! What is wrong with a line.

use std::fmt;

/// How much of a line is shown. Lines can be megabytes of anything.
const SHOWN: usize = 60;

/// A line that was not used, or not as it stands. Everything in it can be printed: foreign bytes are escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line, counted from 1; none if it is about the file.
    pub line: Option<usize>,
    /// What is wrong, with the key's name if there is one.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Warning {
    pub(crate) fn of_line(line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn of_file(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: None, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(out, "line {line}: ")?;
        }
        write!(out, "{}; {}", self.what, self.remedy)
    }
}

/// The beginning of `bytes`, quoted, so that it can stand in a line of a log.
pub fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SHOWN)];
    let mut text = format!("`{}", start.escape_ascii());
    text.push_str(if start.len() < bytes.len() { "…`" } else { "`" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_escaped_and_cut() {
        assert_eq!(shown(b"a\n\x1b[31m\xff"), "`a\\n\\x1b[31m\\xff`");
        assert_eq!(shown(&[b'x'; 61]), format!("`{}…`", "x".repeat(60)));
        assert_eq!(shown(&[b'x'; 60]), format!("`{}`", "x".repeat(60)));
    }

    #[test]
    fn a_warning_names_its_line_and_the_remedy() {
        assert_eq!(Warning::of_line(7, "no", "do").to_string(), "line 7: no; do");
        assert_eq!(Warning::of_file("no", "do").to_string(), "no; do");
    }
}
