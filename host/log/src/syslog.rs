//! The system log where there is no journal: RFC 3164 datagrams, as the C library's syslog(3) sends them.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::line::Line;

/// Where syslog listens.
pub(crate) const SOCKET: &str = "/dev/log";

/// Facility "user" (RFC 3164 4.1.1), which syslog(3) uses if none was named, times 8.
const FACILITY: u8 = 8;

/// Most bytes of one message: what syslog daemons take by default is 1 to 8 KiB.
const LONGEST: usize = 8000;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A way to syslog.
#[derive(Debug)]
pub(crate) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    name: String,
}

/// Whether somebody may listen there.
pub(crate) fn is_there(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

impl Syslog {
    /// `name` stands before each message.
    pub(crate) fn new(path: &Path, name: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), name: name.to_owned() })
    }

    /// Sends a line; false if it was not taken at once. The name is looked up each time: syslog may be started again.
    pub(crate) fn write(&self, line: &Line, zone: &TimeZone, pid: u32) -> bool {
        let at = zone.to_datetime(line.when);
        let month =
            usize::try_from(at.month() - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
        let text = &line.text[..line.text.floor_char_boundary(LONGEST)];
        let message = format!(
            "<{}>{month} {:2} {:02}:{:02}:{:02} {}[{pid}]: {text}",
            FACILITY + line.level.priority(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.name,
        );
        self.socket.send_to(message.as_bytes(), &self.path).is_ok()
    }
}
