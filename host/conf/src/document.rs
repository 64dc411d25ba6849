//! The grammar: one key in a line.

use crate::conf::{Conf, Value};
use crate::warning::{Warning, shown};

/// Bytes of a file that are looked at. It has four keys; the rest is a mistake, and is said to be one.
pub const MAX_BYTES: usize = 2 << 20;

/// Warnings that are kept of one file. How many more there were is the last one.
pub const MAX_WARNINGS: usize = 50;

/// A file's text.
///
/// ```text
/// line   = blanks ( comment | key [ blanks "=" value ] ) blanks ( "\n" | "\r" )
/// comment = "#" anything            key = letter, then anything but blanks and "="
/// value  = anything; one quote (' or ") at its front and one at its back are dropped
/// ```
///
/// The same as tcmu-runner's, except that no line makes it stop, that a later line can not change the type of a key, and
/// that what follows a value in quotes (`"/a" # b`) is told and not taken for a part of it.
/// Of two lines with one key the later counts.
#[derive(Debug, Clone, Copy)]
pub struct Document;

impl Document {
    /// Reads whatever it is given. What can not be used is left out and told. Takes time in proportion to the bytes,
    /// of which it looks at [`MAX_BYTES`].
    ///
    /// ```
    /// let (conf, warnings) = lunbox_conf::Document::parse(b"# mine\nlog_level = 4\nlog_dri = /tmp\n");
    /// assert_eq!((conf.log_level, conf.log_dir), (Some(4), None));
    /// assert_eq!(warnings[0].line, Some(3));
    /// ```
    #[must_use]
    pub fn parse(bytes: &[u8]) -> (Conf, Vec<Warning>) {
        let mut conf = Conf::default();
        let mut warnings = Warnings::default();
        let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let text = match text.get(..MAX_BYTES) {
            Some(start) if start.len() < text.len() => {
                let what = format!("the file is larger than {MAX_BYTES} bytes, the rest is ignored");
                warnings.add(Warning::of_file(what, "is it the right file? it needs a few lines"));
                // Half a line can mean anything.
                let end = start.iter().rposition(|&byte| ends_line(byte));
                &start[..end.map_or(0, |end| end + 1)]
            }
            _ => text,
        };
        for (number, line) in Lines::new(text) {
            if let Some(warning) = parse_line(&mut conf, number, line) {
                warnings.add(warning);
            }
        }
        (conf, warnings.all())
    }
}

fn parse_line(conf: &mut Conf, number: usize, line: &[u8]) -> Option<Warning> {
    let line = line.trim_ascii();
    let first = *line.first()?;
    if first == b'#' {
        return None;
    }
    if !first.is_ascii_alphabetic() {
        let what = format!("{} does not begin with a letter and is ignored", shown(line));
        return Some(Warning::of_line(number, what, "write `key = value`, or # before a comment"));
    }
    let end = line.iter().position(|&byte| byte == b'=' || byte.is_ascii_whitespace());
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let value = match rest.trim_ascii_start() {
        [] => Value::Bare,
        [b'=', value @ ..] => Value::Text(value.trim_ascii()),
        other => {
            let what = format!("{} stands where `=` should, and the line is ignored", shown(other));
            return Some(Warning::of_line(number, what, format!("write `{} = value`", inner(key))));
        }
    };
    let fault = conf.set(key, value).err()?;
    Some(Warning::of_line(number, format!("{}: {}", inner(key), fault.what), fault.remedy))
}

/// A key without the quotes of [`shown`].
fn inner(key: &[u8]) -> String {
    shown(key).trim_matches('`').to_owned()
}

const fn ends_line(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Lines with their numbers. "\r\n" is one end, as an editor counts.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|&byte| ends_line(byte)).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = match rest {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => &[],
        };
        self.number += 1;
        Some((self.number, line))
    }
}

/// A bounded list.
#[derive(Default)]
struct Warnings {
    kept: Vec<Warning>,
    more: usize,
}

impl Warnings {
    fn add(&mut self, warning: Warning) {
        if self.kept.len() < MAX_WARNINGS {
            self.kept.push(warning);
        } else {
            self.more += 1;
        }
    }

    fn all(mut self) -> Vec<Warning> {
        if self.more > 0 {
            let what = format!("{} more lines are wrong", self.more);
            self.kept.push(Warning::of_file(what, "is it the right file? correct those above first"));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests;
