//! What commands say: results on stdout, errors and warnings on stderr, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How a command talks to its caller.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colours: bool,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct WarningLine<'a> {
    warning: &'a str,
}

impl Output {
    /// JSON or text. Colours only for text on a terminal, unless `NO_COLOR` is set and not empty or the terminal can
    /// not show them.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { json, colours: !json && !unwanted }
    }

    /// Results are JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether colours may be written to stderr.
    #[must_use]
    pub fn colours_stderr(&self) -> bool {
        self.colours && io::stderr().is_terminal()
    }

    /// Whether colours may be written to stdout.
    #[must_use]
    pub fn colours_stdout(&self) -> bool {
        self.colours && io::stdout().is_terminal()
    }

    /// Tells what failed and what to do about it. If nobody reads stderr there is nobody to tell.
    pub fn error(&self, message: &str) {
        if self.json {
            self.json_to_stderr(&ErrorLine { error: message });
        } else if self.colours_stderr() {
            self.to_stderr(&format!("\x1b[1;31merror:\x1b[0m {message}"));
        } else {
            self.to_stderr(&format!("error: {message}"));
        }
    }

    /// Tells what is not as it should be, and that work goes on.
    pub fn warning(&self, message: &str) {
        if self.json {
            self.json_to_stderr(&WarningLine { warning: message });
        } else if self.colours_stderr() {
            self.to_stderr(&format!("\x1b[1;33mwarning:\x1b[0m {message}"));
        } else {
            self.to_stderr(&format!("warning: {message}"));
        }
    }

    /// Tells what goes on, to people only.
    pub fn note(&self, message: &str) {
        if !self.json {
            self.to_stderr(message);
        }
    }

    fn json_to_stderr(self, line: &impl Serialize) {
        // Strings can always be serialised.
        if let Ok(line) = serde_json::to_string(line) {
            self.to_stderr(&line);
        }
    }

    fn to_stderr(self, line: &str) {
        crate::logging::beside_the_status(|| {
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }
}

/// Prints a line of results at once.
///
/// # Errors
/// stdout's; see [`is_broken_pipe`].
pub fn print_line(line: &str) -> io::Result<()> {
    let mut result = Ok(());
    crate::logging::beside_the_status(|| {
        let mut out = io::stdout().lock();
        result = writeln!(out, "{line}").and_then(|()| out.flush());
    });
    result
}

/// Prints a result as one line of JSON at once.
///
/// # Errors
/// stdout's, or a value that JSON can not express.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print_line(&serde_json::to_string(value)?)?)
}

/// Whoever read our output has heard enough (`lunbox handlers | head -1`).
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Text of strangers, fit for a terminal: whatever is no plain printable character is escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let plain = character == '\\' || character == '\'' || character == '"';
            // Debug escapes what does not print, direction marks included.
            let (kept, escaped) =
                if plain { (Some(character), None) } else { (None, Some(character.escape_debug())) };
            kept.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_can_not_steer_a_terminal() {
        assert_eq!(printable("wasi:io/streams@0.2.0 \"a\\b'"), "wasi:io/streams@0.2.0 \"a\\b'");
        assert_eq!(printable("\x1b[2J\n\u{202e}ä"), "\\u{1b}[2J\\n\\u{202e}ä");
    }

    #[test]
    fn a_reader_that_has_gone_is_told_from_other_failures() {
        let gone = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&anyhow::anyhow!("something else")));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }

    #[test]
    fn errors_are_objects_in_json() {
        let line = serde_json::to_string(&ErrorLine { error: "a \"b\"\nc" }).unwrap();
        assert_eq!(line, r#"{"error":"a \"b\"\nc"}"#);
    }
}
