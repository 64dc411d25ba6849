//! What answers consist of. Fields may be added within one version of the protocol; those that a reader does not know
//! are skipped, and words that it does not know become `unknown`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Version of the program, with what tells two builds of one version apart.
    pub program: String,
    /// Version of the control protocol: [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Process id of the supervisor.
    pub pid: i32,
    /// When it was started: milliseconds since 1970.
    pub started: u64,
}

/// How the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the program, with what tells two builds of one version apart.
    pub program: String,
    /// Process id of the supervisor.
    pub pid: i32,
    /// When it was started: milliseconds since 1970.
    pub started: u64,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// What it is doing, a word: `starting`, `serving`, `stopping`.
    pub phase: String,
    /// Device loops run in the supervisor's own process.
    pub single_process: bool,
    /// The policy in force; absent if there is no such file and the defaults apply.
    pub policy: Option<String>,
    /// Parts of the jail that hold in every worker, a word for each; [`WorkerReport::jail`] tells them apart.
    pub jail: Vec<String>,
    /// Handlers that devices can have.
    pub handlers: Vec<HandlerReport>,
    /// Number of workers that run.
    pub workers: u64,
    /// Number of workers that were started again after their death.
    pub worker_restarts: u64,
    /// Number of devices.
    pub devices: u64,
    /// Number of devices that serve.
    pub devices_serving: u64,
    /// Bytes of the supervisor in memory (`VmRSS`, proc(5)); 0 if not known.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Log lines that could not be written since the start: the disk was full, or slower than they came.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// Where metrics are served; absent if they are not.
    #[serde(default)]
    pub metrics: Option<String>,
    /// The service on the system bus; absent before its start.
    #[serde(default)]
    pub bus: Option<BusReport>,
    /// The control socket's own counters, filled in by [`crate::Server`].
    #[serde(default)]
    pub control: ControlReport,
}

/// Whether targetcli finds the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusReport {
    /// The name that is wanted: `org.kernel.TCMUService1`.
    pub name: String,
    /// The daemon has it now.
    pub up: bool,
    /// Why not; absent if it is up, or was not tried to the end.
    pub trouble: Option<String>,
}

/// Counters of the control socket since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReport {
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were turned away: too many, or somebody who may not.
    pub refused: u64,
    /// Connections that were closed because their peer did not read.
    pub slow_readers: u64,
    /// Events that a follower did not get because it did not read fast enough.
    pub lost_events: u64,
}

/// A handler by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerReport {
    /// Text before the first `/` of a device's configuration.
    pub subtype: String,
    /// For people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component in hexadecimal digits.
    pub digest: String,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It has been started and has not said anything.
    Starting,
    /// It runs device loops, or could.
    Running,
    /// It has died and is started again after a pause.
    Waiting,
    /// It ends when its devices have gone to another worker.
    Leaving,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A worker process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Whose devices it runs.
    pub tenant: String,
    /// Its process id; 0 while there is no process.
    pub pid: i32,
    /// What it does.
    pub state: WorkerState,
    /// Version of its program, with what tells two builds of one version apart.
    pub build: String,
    /// User and group that it runs as: `uid:gid`.
    pub user: String,
    /// How it is confined, a word for each part in force; empty in the supervisor's own process.
    pub jail: Vec<String>,
    /// Number of its devices.
    pub devices: u64,
    /// When it was started, or adopted: milliseconds since 1970.
    pub started: u64,
    /// A supervisor before this one started it.
    pub adopted: bool,
    /// Times that the tenant's worker died and was started again.
    pub restarts: u64,
    /// Bytes of it in memory (`VmRSS`, proc(5)); 0 if not known.
    #[serde(default)]
    pub memory_bytes: u64,
}

/// Whether a device serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceHealth {
    /// Its device loop is being started.
    Starting,
    /// Commands are served.
    Serving,
    /// The handler failed and is being rebuilt.
    Recovering,
    /// Its worker has died: the kernel holds new commands back until another one serves it.
    Reviving,
    /// Nobody serves it.
    Stopped,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Its name in configfs: `user_0/disk`.
    pub name: String,
    /// Its UIO node is `/dev/uioN`.
    pub minor: u32,
    /// The kernel's number for it.
    pub id: u32,
    /// What it was configured with: `<subtype>/<config>`.
    pub config: String,
    /// Whose it is.
    pub tenant: String,
    /// Process id of the worker that serves it; absent while none does.
    pub worker: Option<i32>,
    /// Whether it serves.
    pub health: DeviceHealth,
    /// Why it does not serve, or what happened last that it should not have; one line.
    pub trouble: Option<String>,
    /// Who serves it; absent if no handler of its subtype is there.
    pub handler: Option<HandlerReport>,
    /// Size in bytes.
    pub size: u64,
    /// Logical block size in bytes.
    pub block_size: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// What its handler was given.
    pub grants: Vec<GrantReport>,
    /// Options other than grants.
    pub options: BTreeMap<String, String>,
    /// What its handler may use.
    pub limits: LimitsReport,
    /// Commands may take so many seconds before they count as timed out; 0 if they do not.
    #[serde(default)]
    pub command_timeout_s: u32,
    /// It has a write cache; absent if that is not known.
    #[serde(default)]
    pub write_cache: Option<bool>,
    /// Initiators have protected it against writes (SWP of the control mode page).
    #[serde(default)]
    pub software_write_protect: bool,
    /// The port that speaks for it, as initiators were told last; none if there are no target port groups.
    #[serde(default)]
    pub target_ports: Vec<TargetPortReport>,
    /// Its target port groups, as initiators were told last.
    #[serde(default)]
    pub target_port_groups: Vec<TargetPortGroupReport>,
    /// What it did since its device loop was started.
    pub counters: CountersReport,
    /// Times that its device loop was started again after its worker died, it ended by itself, or an operator asked.
    pub restarts: u64,
}

/// A target port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPortReport {
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_id: u16,
    /// SCSI name string of the port.
    pub name: String,
    /// Number of its group.
    pub group: u16,
}

/// A target port group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPortGroupReport {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// Its access state: `active/optimized`, `active/non-optimized`, `standby`, `unavailable`, `offline`,
    /// `transitioning`.
    pub state: String,
    /// Initiators are asked to prefer it.
    pub preferred: bool,
    /// RELATIVE TARGET PORT IDENTIFIERs of its ports.
    pub ports: Vec<u16>,
}

/// Something outside of the sandbox that a handler was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantReport {
    /// Which option asked for it; empty if the whole text did.
    pub option: String,
    /// What was granted: a path, `memory` …
    pub locator: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Another device may write to it as well.
    pub shared: bool,
    /// Nobody else can write to it: a lock is held. `false` where the file system has no locks.
    pub locked: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// What a handler may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub table_elements: u64,
    /// CPU time of one call in microseconds.
    pub cpu_per_call_us: u64,
    /// Wall time of one call in milliseconds, for handlers that import WASI.
    pub wall_per_call_ms: u64,
    /// Bytes that one call carries across the border.
    pub hostcall_bytes: u64,
    /// Log lines per second.
    pub log_lines_per_second: u64,
}

/// What a device did since its device loop was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersReport {
    /// Commands completed.
    pub commands: u64,
    /// Commands that ended with something other than GOOD.
    pub failures: u64,
    /// Commands answered BUSY because the handler was down.
    pub busy: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Times the handler failed.
    pub faults: u64,
    /// Instances of the handler.
    pub instances: u64,
    /// Resets of the ring under the loop.
    pub resets: u64,
    /// Commands that an initiator aborted.
    pub aborts: u64,
    /// CPU time of the device's thread in nanoseconds.
    pub cpu_ns: u64,
    /// Commands that took longer than [`DeviceReport::command_timeout_s`].
    #[serde(default)]
    pub timeouts: u64,
    /// Logical unit resets that initiators asked for.
    #[serde(default)]
    pub lun_resets: u64,
    /// Commands that were aborted and wait for their operations on a store to end.
    #[serde(default)]
    pub aborting: u64,
    /// Commands that were taken and are not completed.
    #[serde(default)]
    pub in_flight: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The supervisor does something else now: [`StatusReport::phase`].
    PhaseChanged,
    /// A worker was started.
    WorkerStarted,
    /// A worker of a supervisor before this one was taken over.
    WorkerAdopted,
    /// A worker died.
    WorkerLost,
    /// A worker ended because it was told to.
    WorkerLeft,
    /// A device was announced, or found at the start, and is served.
    DeviceAdded,
    /// A device could not be served.
    DeviceRefused,
    /// A device was removed.
    DeviceRemoved,
    /// A device has another size or other settings.
    DeviceChanged,
    /// A device serves no more, without having been told to end.
    DeviceEnded,
    /// New commands are held back until the storage's last operations have ended.
    DeviceBlocked,
    /// A device serves again.
    DeviceRevived,
    /// A device went from one worker to another without a pause that initiators are told of.
    DeviceHandedOver,
    /// A device is reset because an operator asked.
    DeviceReset,
    /// A handler failed and is being rebuilt.
    HandlerTrouble,
    /// A handler serves again.
    HandlerRecovered,
    /// A handler can not be used.
    HandlerRefused,
    /// The supervisor leaves, its workers go on.
    Handover,
    /// Something else that an operator should know.
    Warning,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// When: milliseconds since 1970.
    pub at: u64,
    /// Which device, by its name in configfs.
    pub device: Option<String>,
    /// Which worker, by its tenant.
    pub worker: Option<String>,
    /// What.
    pub kind: EventKind,
    /// The same for people, one line.
    pub text: String,
}

/// The word that stands in JSON.
fn word(value: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => f.pad(&word),
        _ => f.pad("unknown"),
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(self, f)
    }
}

impl fmt::Display for DeviceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(self, f)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_they_are_written() {
        assert_eq!(DeviceHealth::Recovering.to_string(), "recovering");
        assert_eq!(WorkerState::Leaving.to_string(), "leaving");
        assert_eq!(format!("{:<20}|", EventKind::DeviceHandedOver), "device_handed_over  |");
        assert_eq!(serde_json::to_string(&EventKind::WorkerLost).unwrap(), "\"worker_lost\"");
    }

    #[test]
    fn what_a_newer_daemon_adds_does_not_confuse() {
        assert_eq!(serde_json::from_str::<DeviceHealth>("\"hibernating\"").unwrap(), DeviceHealth::Unknown);
        let event: EventReport =
            serde_json::from_str(r#"{"at":1,"device":null,"kind":"new_thing","text":"x","colour":"red"}"#)
                .unwrap();
        assert_eq!((event.at, event.kind, event.worker), (1, EventKind::Unknown, None));
    }
}
