//! One line: from an event to the text of each output.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::escape::push_name;
use crate::level::Level;

/// Longest line in bytes, without the mark that it was cut. tcmu-runner cut at 254 and lost the newline.
pub(crate) const LONGEST: usize = 64 * 1024;

/// What stands at the end of a line that was longer.
const CUT: &str = "… [cut]";

/// Longest name of a device in a line, in bytes. The kernel's are shorter (PATH_MAX of configfs aside).
const LONGEST_NAME: usize = 256;

/// What UIO nodes of target_core_user begin their names with.
const KERNEL_NAME: &str = "tcm-user";

/// A line that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) when: Timestamp,
    /// `func:line subtype/devname: message`, one line without its end.
    pub(crate) text: String,
    /// Fields for the journal, in its protocol; empty if there is no journal.
    pub(crate) fields: Vec<u8>,
}

impl Line {
    /// A line of this crate itself.
    pub(crate) fn own(level: Level, place: &str, message: &str) -> Self {
        Self { level, when: Timestamp::now(), text: format!("{place}: {message}"), fields: Vec::new() }
    }

    /// Bytes that it takes in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.fields.len()
    }

    /// Into the form of the file: `YYYY-MM-DD HH:MM:SS.mmm PID [LEVEL] text` and the end of the line.
    pub(crate) fn full(&self, zone: &TimeZone, pid: u32, into: &mut String) {
        let at = zone.to_datetime(self.when);
        into.clear();
        // Writing into a String can not fail.
        let _ = writeln!(
            into,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03} {pid} [{}] {}",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond(),
            self.level.token(),
            self.text
        );
    }
}

/// Where an event stands: the last part of the module's path, since Rust keeps no names of functions, and the line.
pub(crate) fn place<'a>(metadata: &tracing::Metadata<'a>) -> (&'a str, u32) {
    let path = metadata.module_path().unwrap_or("unknown");
    (path.rsplit("::").next().unwrap_or(path), metadata.line().unwrap_or(0))
}

/// Subtype and name of the backstore, of a device as the tree names it: `tcm-user/<hba>/<device>/<subtype>/<config>`.
/// Of any other name: no subtype, and the name as it is.
pub(crate) fn names(device: &str) -> (Option<&str>, &str) {
    let mut parts = device.splitn(5, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(KERNEL_NAME), Some(_), Some(name), Some(subtype)) => (Some(subtype), name),
        _ => (None, device),
    }
}

/// Appends `subtype/devname: `.
pub(crate) fn push_prefix(text: &mut String, device: &str) {
    let (subtype, name) = names(device);
    if let Some(subtype) = subtype {
        push_name(text, head(subtype));
        text.push('/');
    }
    push_name(text, head(name));
    text.push_str(": ");
}

fn head(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

/// Cuts a text that is too long, and marks that.
pub(crate) fn cut(text: &mut String) {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str(CUT);
    }
}
