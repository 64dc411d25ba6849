//! Arguments for the daemon inside of a cfgstring: they stand behind a semicolon, and the handler must not see them.
//!
//! tcmu-runner has one, the time after which a command counts as late. It is written in three places: at the beginning
//! (`rbd/;tcmur_cmd_time_out=20;pool/image`), at the end (gluster-block), and between two options of the handler.

use std::num::NonZeroU32;

/// How the time-out is written: as tcmu-runner reads it, and as its documentation spells it.
const TIMEOUTS: [&str; 2] = ["tcmur_cmd_time_out=", "tcmur_cmd_timeout="];

/// A cfgstring (what follows `<subtype>/`) taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cfgstring {
    /// What the handler's grants are made from. Byte for byte what was written, but for the daemon's arguments.
    pub text: String,
    /// Seconds after which a command counts as late; absent if it is off.
    pub command_timeout: Option<NonZeroU32>,
    /// One line each for the operator: what was not understood, and what is done instead.
    pub warnings: Vec<String>,
}

impl Cfgstring {
    /// Cuts the daemon's arguments out. Both semicolons of one go at the beginning and at the end of the text, and one
    /// of the two stays between other arguments: there tcmu-runner glued the neighbours together. What is not the
    /// daemon's stays as it is, unknown `tcmur_` names included. Where an argument is there twice the last one counts.
    ///
    /// The text is that of a `dev_config` after its first `/`; never fails.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let (mut kept, mut at_beginning, mut given) = (Vec::new(), false, None);
        let last = text.matches(';').count();
        let mut parts = text.split(';').enumerate().peekable();
        while let Some((index, part)) = parts.next() {
            // The first part stands behind no semicolon.
            let value = TIMEOUTS.iter().find_map(|name| part.strip_prefix(name)).filter(|_| index > 0);
            let Some(value) = value else {
                kept.push(part);
                continue;
            };
            at_beginning |= index == 1 && kept.first() == Some(&"");
            if given.replace(value).is_some() {
                found.warnings.push(format!("{part}: the command time-out is given twice; this one counts"));
            }
            // The semicolon at the end of the text was the argument's own.
            if parts.peek() == Some(&(last, "")) {
                break;
            }
        }
        if at_beginning && kept.len() > 1 {
            kept.remove(0);
        }
        found.text = kept.join(";");
        if let Some(value) = given {
            let (timeout, warning) = seconds(value);
            found.command_timeout = timeout;
            found.warnings.extend(warning.map(|problem| format!("command time-out {value:?}: {problem}")));
        }
        found
    }
}

/// A number as C's `atoi` reads it, but nothing negative and nothing that wraps.
fn seconds(value: &str) -> (Option<NonZeroU32>, Option<String>) {
    let number = value.trim_start();
    let (negative, digits) = match number.strip_prefix(['-', '+']) {
        Some(digits) => (number.starts_with('-'), digits),
        None => (false, number),
    };
    let end = digits.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() {
        return (None, Some("not a number of seconds; it is off".to_owned()));
    }
    let most = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
    let read = digits.parse::<u32>().unwrap_or(most).min(most);
    if negative && read > 0 {
        return (None, Some("negative; it is off, which is written 0".to_owned()));
    }
    let shortened = !rest.trim().is_empty() || digits.parse() != Ok(read);
    (NonZeroU32::new(read), shortened.then(|| format!("read as {read} seconds")))
}

#[cfg(test)]
mod tests;
