//! What `lunbox serve --json` prints: one line when it serves, then a status now and then.

use serde::Deserialize;

/// The first line that the server prints.
#[derive(Clone, Debug, Deserialize)]
pub struct Started {
    /// Address and port that it listens on.
    pub address: String,
    /// Name of the target.
    pub target: String,
    /// The LUNs in order of their numbers.
    pub luns: Vec<StartedLun>,
}

/// A LUN in [`Started`].
#[derive(Clone, Debug, Deserialize)]
pub struct StartedLun {
    /// Its number.
    pub lun: u64,
    /// How clients call it.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// A line after the first one.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) status: Option<Status>,
    /// The last line; nobody needs it here.
    pub(super) totals: Option<serde::de::IgnoredAny>,
}

/// A status line: what the server has done since its start.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Connections that are open.
    pub connections: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// Logins that were refused.
    pub logins_failed: u64,
    /// The LUNs in order of their numbers.
    pub luns: Vec<LunStatus>,
}

/// A LUN in [`Status`].
#[derive(Clone, Debug, Deserialize)]
pub struct LunStatus {
    /// Commands with data-in that have ended.
    pub reads: u64,
    /// Commands with data-out that have ended.
    pub writes: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Commands that the device has and has not ended.
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_address_target_and_luns() {
        let line = r#"{"address":"127.0.0.1:44637","target":"iqn.2026-11.org.lunbox:vm","luns":[{"lun":0,
            "url":"iscsi://127.0.0.1:44637/iqn.2026-11.org.lunbox:vm/0","config":"file//tmp/a","size":268435456,
            "block_size":512,"read_only":false,"subtype":"file","handler":"File","created":false}]}"#;
        let started: Started = serde_json::from_str(line).unwrap();
        assert_eq!(started.address, "127.0.0.1:44637");
        assert_eq!((started.luns[0].size, started.luns[0].block_size), (268_435_456, 512));
    }

    #[test]
    fn later_lines_are_status_or_totals() {
        let line = r#"{"status":{"milliseconds":500,"connections":1,"sessions":1,"logins_failed":2,"luns":[{"lun":0,
            "iops":64289,"read_bytes":5,"write_bytes":0,"reads":10,"writes":20,"bytes_read":30,"bytes_written":40,
            "latency_mean_ns":1,"latency_p99_ns":2,"in_flight":13,"errors":0,"faults":0,"health":"serving"}]}}"#;
        let status = serde_json::from_str::<Line>(line).unwrap().status.unwrap();
        assert_eq!((status.connections, status.logins_failed), (1, 2));
        assert_eq!((status.luns[0].bytes_written, status.luns[0].in_flight), (40, 13));
        let line: Line = serde_json::from_str(r#"{"totals":{"milliseconds":1,"luns":[]}}"#).unwrap();
        assert!(line.status.is_none() && line.totals.is_some());
        assert!(serde_json::from_str::<Line>(r#"{"status":{"connections":1}}"#).is_err());
    }
}
