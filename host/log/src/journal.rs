//! systemd's journal, in its own protocol: datagrams of fields
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::line::{Line, names};

/// Where the journal listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest name of a field that the journal takes.
const LONGEST_NAME: usize = 64;

/// A way to the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    name: String,
}

/// Whether standard error is a stream to the journal, as systemd tells services (`JOURNAL_STREAM`, systemd.exec(5)).
#[must_use]
pub fn stderr_is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|found| is_stream(&told, found.dev(), found.ino()))
}

/// Whether the device and inode that were told are these.
fn is_stream(told: &str, device: u64, inode: u64) -> bool {
    let told = told.split_once(':');
    told.is_some_and(|(told_device, told_inode)| {
        told_device.parse() == Ok(device) && told_inode.parse() == Ok(inode)
    })
}

impl Journal {
    /// `name` is SYSLOG_IDENTIFIER of each entry.
    pub(crate) fn new(path: &Path, name: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), name: name.to_owned() })
    }

    /// Sends a line; false if it was not taken at once.
    pub(crate) fn write(&self, line: &Line) -> bool {
        let mut entry = Vec::with_capacity(line.text.len() + line.fields.len() + 100);
        push(&mut entry, "MESSAGE", &line.text);
        push(&mut entry, "PRIORITY", &line.level.priority().to_string());
        push(&mut entry, "SYSLOG_IDENTIFIER", &self.name);
        entry.extend_from_slice(&line.fields);
        self.socket.send_to(&entry, &self.path).is_ok()
    }
}

/// Appends the fields of a device.
pub(crate) fn push_device(entry: &mut Vec<u8>, device: &str) {
    let (subtype, name) = names(device);
    push(entry, "LUNBOX_DEVICE", device);
    push(entry, "LUNBOX_DEVICE_NAME", name);
    if let Some(subtype) = subtype {
        push(entry, "LUNBOX_SUBTYPE", subtype);
    }
}

/// Appends a field of an event as `LUNBOX_<NAME>`.
pub(crate) fn push_field(entry: &mut Vec<u8>, name: &str, value: &str) {
    let mut field = String::from("LUNBOX_");
    field.extend(name.chars().map(|character| match character.to_ascii_uppercase() {
        upper @ ('A'..='Z' | '0'..='9') => upper,
        _ => '_',
    }));
    field.truncate(LONGEST_NAME);
    push(entry, &field, value);
}

/// Appends a field. Its value may have any bytes: its length stands before it, so that it ends nowhere else.
pub(crate) fn push(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    // Lossless: no memory has more than 2^64 bytes.
    entry.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_told_by_device_and_inode() {
        assert!(is_stream("9:12345", 9, 12345));
        assert!(!is_stream("9:12346", 9, 12345));
        assert!(!is_stream("8:12345", 9, 12345));
        assert!(!is_stream("", 0, 0));
        assert!(!is_stream("9", 9, 0));
    }

    #[test]
    fn names_of_fields_are_what_the_journal_takes() {
        let mut entry = Vec::new();
        push_field(&mut entry, "path.name-é", "a\nb");
        assert_eq!(entry, b"LUNBOX_PATH_NAME__\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
