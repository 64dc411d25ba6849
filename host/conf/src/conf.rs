//! The keys, their types and what they may be.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::warning::shown;

/// The most that `log_level` can be: every SCSI command is logged.
pub const MAX_LOG_LEVEL: u8 = 5;

/// Bytes of a path: PATH_MAX of Linux, less what the log file's name takes.
pub const MAX_PATH: usize = 4096 - 32 - 1;

/// The settings that a file made. What it does not set is none: defaults are the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// Key `log_level`, 0 (only what is critical) to [`MAX_LOG_LEVEL`].
    pub log_level: Option<u8>,
    /// Key `log_dir`: where the log file is. Absolute, without NUL, at most [`MAX_PATH`] bytes.
    pub log_dir: Option<PathBuf>,
    /// Key `foreign_subtypes`.
    pub foreign_subtypes: Option<ForeignSubtypes>,
    /// Key `metrics`: address of the metrics endpoint, as it stands in the file. Not empty.
    pub metrics: Option<String>,
}

/// What becomes of devices whose subtype no handler of ours serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignSubtypes {
    /// The kernel is answered that there is no such thing, as tcmu-runner does.
    #[default]
    Answer,
    /// Nobody is answered: another daemon of this machine does that.
    Leave,
}

impl ForeignSubtypes {
    /// The word that stands for it in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Leave => "leave",
        }
    }
}

/// What stands after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing, not even `=`: the key is true.
    Bare,
    /// The rest of the line, without blanks around it, quotes included.
    Text(&'a [u8]),
}

/// What is wrong with a value, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong. The key's name is not in it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What to do about text behind a value.
const COMMENT: &str = "a comment has a line of its own, which begins with #";

/// All keys, for the message about one that is not among them.
const KEYS: [&str; 4] = ["log_level", "log_dir", "foreign_subtypes", "metrics"];

impl Conf {
    /// Sets `key`. A value that can not be used leaves what was set before; one that is out of range is set to the
    /// nearest that is not, and is a fault all the same.
    pub(crate) fn set(&mut self, key: &[u8], value: Value<'_>) -> Result<(), Fault> {
        let (value, rest) = quoted(value);
        self.set_alone(key, value)?;
        rest.map_or(Ok(()), |rest| {
            let what = format!("{} after the closing quote is ignored", shown(rest));
            Err(Fault::new(what, COMMENT))
        })
    }

    fn set_alone(&mut self, key: &[u8], value: Value<'_>) -> Result<(), Fault> {
        match key {
            b"log_level" => {
                let (level, fault) = level(value)?;
                self.log_level = Some(level);
                return fault.map_or(Ok(()), Err);
            }
            b"log_dir" => self.log_dir = Some(directory(value)?),
            b"foreign_subtypes" => self.foreign_subtypes = Some(foreign(value)?),
            b"metrics" => self.metrics = Some(address(value)?),
            _ => {
                let known = KEYS.join(", ");
                return Err(Fault::new("no such key", format!("there are {known}; remove the line")));
            }
        }
        Ok(())
    }
}

/// The level, and what is wrong with it although it can be used.
fn level(value: Value<'_>) -> Result<(u8, Option<Fault>), Fault> {
    let remedy = format!("write a number from 0 to {MAX_LOG_LEVEL}");
    let Value::Text(text) = value else {
        return Err(Fault::new("it has no value", remedy));
    };
    let text = unquoted(text);
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    if digits.is_empty() {
        return Err(Fault::new(format!("{} is not a number", shown(text)), remedy));
    }
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    if negative && number > 0 {
        return Ok((0, Some(Fault::new(format!("{} is too small and taken as 0", shown(text)), remedy))));
    }
    let Some(level) = u8::try_from(number).ok().filter(|&level| level <= MAX_LOG_LEVEL) else {
        let what = format!("{} is too large and taken as {MAX_LOG_LEVEL}", shown(text));
        return Ok((MAX_LOG_LEVEL, Some(Fault::new(what, remedy))));
    };
    // The original takes the first number of a line, too.
    let fault = (!rest.is_empty()).then(|| {
        let what = format!("{} after the number is ignored", shown(rest));
        Fault::new(what, COMMENT)
    });
    Ok((level, fault))
}

fn directory(value: Value<'_>) -> Result<PathBuf, Fault> {
    let remedy = "write the absolute path of a directory, as in log_dir = \"/var/log\"";
    let text = text(value, remedy)?;
    let path = Path::new(OsStr::from_bytes(text));
    if !path.is_absolute() {
        return Err(Fault::new(format!("{} is not an absolute path", shown(text)), remedy));
    }
    if text.contains(&0) {
        return Err(Fault::new(format!("{} contains a NUL byte", shown(text)), remedy));
    }
    if text.len() > MAX_PATH {
        let what = format!("the path has {} bytes; {MAX_PATH} are the most", text.len());
        return Err(Fault::new(what, remedy));
    }
    Ok(path.to_owned())
}

fn foreign(value: Value<'_>) -> Result<ForeignSubtypes, Fault> {
    let remedy = "write `answer` or `leave`";
    let text = text(value, remedy)?;
    let both = [ForeignSubtypes::Answer, ForeignSubtypes::Leave];
    let found = both.into_iter().find(|choice| choice.word().as_bytes() == text);
    found.ok_or_else(|| Fault::new(format!("{} is none of its words", shown(text)), remedy))
}

fn address(value: Value<'_>) -> Result<String, Fault> {
    let remedy = "write `unix:/path/of/a/socket` or an address of this machine, as in 127.0.0.1:9842";
    let text = text(value, remedy)?;
    match std::str::from_utf8(text) {
        Ok(address) if text.len() <= MAX_PATH && !text.contains(&0) => Ok(address.to_owned()),
        _ => Err(Fault::new(format!("{} is not an address", shown(text)), remedy)),
    }
}

fn text<'a>(value: Value<'a>, remedy: &str) -> Result<&'a [u8], Fault> {
    match value {
        Value::Text(text) if !unquoted(text).is_empty() => Ok(unquoted(text)),
        _ => Err(Fault::new("it has no value", remedy)),
    }
}

/// A value in quotes, and what follows it. The original takes both for the value, and makes a directory of that name.
fn quoted(value: Value<'_>) -> (Value<'_>, Option<&[u8]>) {
    let Value::Text(text @ [quote @ (b'"' | b'\''), inner @ ..]) = value else { return (value, None) };
    let Some(length) = inner.iter().position(|byte| byte == quote) else { return (value, None) };
    // Both quotes are of the value.
    let (text, rest) = text.split_at(length + 2);
    let is_comment = rest.trim_ascii_start().first() == Some(&b'#');
    let ends_quoted = matches!(rest, [] | [.., b'"' | b'\'']);
    if ends_quoted && !is_comment {
        return (value, None);
    }
    (Value::Text(text), Some(rest.trim_ascii_start()))
}

/// One quote at the front and one at the back are not of the value, of either kind, also if there is only one of them.
fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").or_else(|| text.strip_prefix(b"'")).unwrap_or(text);
    text.strip_suffix(b"\"").or_else(|| text.strip_suffix(b"'")).unwrap_or(text)
}
