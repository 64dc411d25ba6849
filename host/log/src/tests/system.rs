//! LOG-3, LOG-6: the journal and syslog.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::{logged, options};
use crate::journal::Journal;
use crate::output::SystemLog;
use crate::syslog::Syslog;
use crate::{Level, crit};

/// All that has come.
fn received(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut packets = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        packets.push(buffer[..length].to_vec());
    }
    packets
}

fn everything() {
    crit!("Starting...");
    tracing::error!(device = "tcm-user/0/disk/file/a", errno = 5, "gone\nand more");
    tracing::warn!("w");
    tracing::info!("i");
    tracing::debug!("d");
    tracing::trace!(device = "tcm-user/0/disk/file/a", "28 0 0 0");
}

#[test]
fn log_3_log_6_syslog_gets_levels_0_to_4_without_time_pid_and_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let syslog = Syslog::new(&path, "lunboxd").unwrap();
    let handle = logged(options(Level::TRACE), SystemLog::Syslog(syslog), |_| everything());
    let seen: Vec<String> =
        received(&socket).into_iter().map(|packet| String::from_utf8(packet).unwrap()).collect();
    // Facility "user" is 1: 8 and the priority.
    let expected =
        [(10, "Starting..."), (11, "file/disk: gone\\nand more errno=5"), (12, "w"), (14, "i"), (15, "d")];
    assert_eq!(seen.len(), expected.len(), "{seen:?}");
    for (packet, (priority, text)) in seen.iter().zip(expected) {
        assert!(packet.starts_with(&format!("<{priority}>")), "{packet}");
        let (head, rest) = packet.split_once(&format!(" lunboxd[{}]: system:", std::process::id())).unwrap();
        let stamp = head.split_once('>').unwrap().1;
        let form: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        // `Nov 23 00:10:25`, and a day below ten has a space before it (RFC 3164 4.1.2).
        assert_eq!(stamp.len(), 15, "{packet}");
        assert!(form.ends_with(" 00:00:00"), "{packet}");
        assert!(rest.ends_with(text), "{packet}");
    }
    assert_eq!(handle.lost(), 0);
}

/// Fields of an entry of the journal.
fn fields(mut packet: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(end) = packet.iter().position(|&byte| byte == b'\n') {
        let name = String::from_utf8(packet[..end].to_vec()).unwrap();
        let (length, rest) = packet[end + 1..].split_at(8);
        let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
        fields.push((name, String::from_utf8(rest[..length].to_vec()).unwrap()));
        assert_eq!(rest[length], b'\n');
        packet = &rest[length + 1..];
    }
    assert!(packet.is_empty());
    fields
}

#[test]
fn the_journal_gets_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let journal = Journal::new(&path, "lunboxd").unwrap();
    logged(options(Level::TRACE), SystemLog::Journal(journal), |_| everything());
    let entries: Vec<_> = received(&socket).iter().map(|packet| fields(packet)).collect();
    assert_eq!(entries.len(), 5, "no dumps of commands");
    let value = |entry: usize, name: &str| {
        let mut found = entries[entry].iter().filter(|(field, _)| field == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert!(found.next().is_none(), "{name} stands there once");
        value
    };
    let priorities: Vec<_> = (0..5).map(|entry| value(entry, "PRIORITY").unwrap()).collect();
    assert_eq!(priorities, ["2", "3", "4", "6", "7"]);
    assert!(value(0, "MESSAGE").unwrap().ends_with(": Starting..."));
    assert_eq!(value(0, "SYSLOG_IDENTIFIER").unwrap(), "lunboxd");
    assert_eq!(value(0, "CODE_FUNC").unwrap(), "system");
    assert_eq!(value(0, "LUNBOX_DEVICE"), None);
    assert!(value(1, "MESSAGE").unwrap().ends_with(" file/disk: gone\\nand more errno=5"));
    assert_eq!(value(1, "LUNBOX_DEVICE").unwrap(), "tcm-user/0/disk/file/a");
    assert_eq!(value(1, "LUNBOX_DEVICE_NAME").unwrap(), "disk");
    assert_eq!(value(1, "LUNBOX_SUBTYPE").unwrap(), "file");
    assert_eq!(value(1, "LUNBOX_ERRNO").unwrap(), "5");
    assert_eq!(value(1, "LUNBOX_LEVEL").unwrap(), "ERROR");
}

#[test]
fn a_system_log_that_does_not_read_or_is_not_there_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let journal = Journal::new(&path, "lunboxd").unwrap();
    let handle = logged(options(Level::INFO), SystemLog::Journal(journal), |handle| {
        // net.unix.max_dgram_qlen is 10 to a few hundred, and no buffer holds as much as this.
        for number in 0..2000 {
            tracing::info!("{number} {}", "x".repeat(1000));
        }
        assert!(handle.flush(super::SOON));
        assert!(handle.lost() > 0);
        let first = received(&socket).len();
        assert!(first > 0);
        tracing::info!("again");
        assert!(handle.flush(super::SOON));
        let entries = received(&socket);
        let said = fields(&entries[0]).iter().any(|(_, value)| value.ends_with("lines of the log were lost"));
        assert!(said, "{entries:?}");
        assert_eq!(entries.len(), 2);
        assert_eq!(u64::try_from(first).unwrap() + handle.lost(), 2000);
    });
    let missing = Syslog::new(Path::new("/nonexistent/log"), "lunboxd").unwrap();
    let before = handle.lost();
    assert!(before > 0);
    let handle = logged(options(Level::INFO), SystemLog::Syslog(missing), |_| tracing::info!("x"));
    assert_eq!(handle.lost(), 1);
}
