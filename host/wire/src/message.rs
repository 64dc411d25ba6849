//! What is said. Every message is one JSON object in one packet; descriptors travel beside it.

use serde::{Deserialize, Serialize};

use crate::identity::{AccessStateAnswer, Modes, Port, PortGroup};
use crate::statistics::{DeviceStatistics, TraceRecord};

/// Version of this protocol. A supervisor speaks with workers of its own version only, except for
/// [`Request::Hello`], [`Request::Handles`] and [`Request::Stop`], which every version understands: with these a
/// successor takes devices over from workers that it did not start.
pub const VERSION: u32 = 3;

/// First version of supervisors that know [`Notice::Resized`]. Others would take it for garbage.
pub const VERSION_OF_RESIZED: u32 = 2;

/// First version of supervisors that know [`Notice::AccessStateWanted`] and [`Notice::ModesChanged`].
pub const VERSION_OF_MODES: u32 = 3;

/// Number of a UIO node; names a device in messages.
pub type Minor = u32;

/// Tells answers apart. Chosen by whoever asks, never used twice on one connection.
pub type Call = u64;

/// What a device loop is started with, apart from its descriptors. A successor learns it from the worker, so it is
/// complete: with it and the descriptors the device can be started again in another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its UIO node.
    pub minor: Minor,
    /// The kernel's number for it.
    pub id: u32,
    /// Its name as in the UIO node: `tcm-user/<hba>/<device>/<subtype>/<config>`.
    pub name: String,
    /// How its ring is reached.
    #[serde(default)]
    pub ring: RingKind,
    /// Bytes of the ring's mapping.
    pub map_bytes: u64,
    /// Size of the LUN in bytes, as it was last in force.
    pub size: u64,
    /// Logical block size in bytes.
    pub block_size: u32,
    /// Longest transfer in blocks.
    pub max_transfer: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// Who serves it.
    pub handler: Handler,
    /// Its stores, in the order of their descriptors.
    pub stores: Vec<Store>,
    /// Option values other than stores.
    pub options: Vec<(String, String)>,
    /// What its handler may use.
    pub limits: Limits,
    /// Seconds after which a command is counted as late; 0: never.
    #[serde(default)]
    pub command_timeout_s: u32,
    /// Whether the LUN has a write cache. Without one each write is durable before it is answered. None: as the
    /// handler says.
    #[serde(default)]
    pub write_cache: Option<bool>,
    /// The handler found the size itself, so the kernel may know of another one ([`Notice::Resized`]).
    #[serde(default)]
    pub size_chosen: bool,
    /// Mode parameters that initiators set and that a new loop goes on with.
    #[serde(default)]
    pub modes: Modes,
}

/// Through which descriptors a ring is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RingKind {
    /// A UIO node (`/dev/uioN`): one descriptor for mapping and doorbell.
    #[default]
    Uio,
    /// Shared memory and two eventfds, as an emulated ring has them. Three descriptors: memory, what tells of work,
    /// what tells of completions.
    Emulated,
}

impl RingKind {
    /// Number of descriptors.
    #[must_use]
    pub const fn descriptors(self) -> usize {
        match self {
            Self::Uio => 1,
            Self::Emulated => 3,
        }
    }
}

/// A handler by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// Text before the first `/` of the cfgstring.
    pub subtype: String,
    /// For people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
}

/// A store that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Which option asked for it; empty for the whole text.
    pub option: String,
    /// What was asked for, for people. The worker opens nothing by it.
    pub locator: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Another device may write to it as well.
    pub shared: bool,
    /// How it is made from its descriptor.
    pub kind: StoreKind,
}

/// What a store stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StoreKind {
    /// A regular file or block device: one descriptor.
    File,
    /// Memory of the worker, gone with it: no descriptor.
    Memory {
        /// Bytes.
        bytes: u64,
    },
}

/// What one instance of a handler may use; see `lunbox_engine::Limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub table_elements: u64,
    /// CPU time of one call in microseconds.
    pub cpu_per_call_us: u64,
    /// Wall time of one call in milliseconds, for handlers that import WASI.
    pub wall_per_call_ms: u64,
    /// Bytes that one call carries across the border.
    pub hostcall_bytes: u32,
    /// Log lines per second.
    pub log_lines_per_second: u32,
}

/// From supervisor to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// First on every connection. Answer: [`Report::Hello`].
    Hello {
        /// The supervisor's [`VERSION`].
        version: u32,
    },
    /// Start a device loop. Descriptors: the ring's ([`RingKind`]), the compiled handler (a container of
    /// `lunbox_engine`), then one for each store of [`StoreKind::File`]. Answer: [`Report::Done`] or [`Report::Refused`].
    Start {
        /// For the answer.
        call: Call,
        /// What to start.
        device: Box<Device>,
    },
    /// Answers [`Notice::IdentityWanted`]. No answer.
    Serial {
        /// The device.
        minor: Minor,
        /// Its serial number, perhaps empty.
        serial: String,
        /// The target port that speaks for the unit, or none. At most one.
        #[serde(default)]
        ports: Vec<Port>,
        /// Its target port groups. At most [`crate::MAX_GROUPS`].
        #[serde(default)]
        groups: Vec<PortGroup>,
    },
    /// Answers [`Notice::AccessStateWanted`]. No answer.
    AccessState {
        /// The device.
        minor: Minor,
        /// Which wish.
        wish: u64,
        /// What came of it.
        answer: AccessStateAnswer,
    },
    /// Change a size. Answer: [`Report::Done`] or [`Report::Refused`].
    Resize {
        /// For the answer.
        call: Call,
        /// The device.
        minor: Minor,
        /// Bytes.
        bytes: u64,
        /// How long commands in progress may take.
        patience_ms: u64,
    },
    /// End a device loop and close its descriptors. Answer: [`Report::Done`] or [`Report::Refused`].
    Stop {
        /// For the answer.
        call: Call,
        /// The device.
        minor: Minor,
        /// What becomes of commands that wait in the ring.
        how: Ending,
        /// How long commands in progress may take.
        patience_ms: u64,
    },
    /// Answer: [`Report::Status`].
    Status {
        /// For the answer.
        call: Call,
    },
    /// Counters by class of command, and how long commands took. Answer: [`Report::Statistics`].
    Statistics {
        /// For the answer.
        call: Call,
    },
    /// Begins or ends to tell of each command that a device completes ([`Report::Trace`]). It ends by itself with
    /// the connection and with the device. Answer: [`Report::Done`] or [`Report::Refused`].
    Trace {
        /// For the answer.
        call: Call,
        /// The device.
        minor: Minor,
        /// Begin or end.
        on: bool,
    },
    /// Switch a LUN's write cache. What was written before it is switched off is flushed first. Answer:
    /// [`Report::Done`] or [`Report::Refused`].
    WriteCache {
        /// For the answer.
        call: Call,
        /// The device.
        minor: Minor,
        /// With a write cache.
        on: bool,
        /// How long the flush may take.
        patience_ms: u64,
    },
    /// Copies of a device's descriptors, in the order of [`Request::Start`]. Answer: [`Report::Handles`] with
    /// descriptors, or [`Report::Refused`].
    Handles {
        /// For the answer.
        call: Call,
        /// The device.
        minor: Minor,
    },
    /// Log at another level.
    Level {
        /// `crit`, `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
    },
    /// Append the log to a file as well, instead of the one before. One descriptor, open for appending; none: to no
    /// file. Only for workers of the supervisor's own build: others do not know it. No answer.
    Log {},
    /// End the process when no device is left.
    Leave,
}

/// What becomes of a ring when its loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything in the ring is served first.
    Drain,
    /// Nothing more is taken: what was taken is finished, what waits is left to the next loop on this ring.
    HandOver,
    /// What was taken is cancelled.
    Cancel,
}

/// From worker to supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// First on every connection, followed by [`Hello::devices`] times [`Report::Device`].
    Hello(Hello),
    /// A device that the worker has; only behind [`Report::Hello`], and complete before anything else is said.
    Device(Box<Device>),
    /// It was done.
    Done {
        /// Which request.
        call: Call,
    },
    /// It was not done, and nothing is left of the attempt.
    Refused {
        /// Which request.
        call: Call,
        /// For callers that answer to the kernel.
        kind: Refusal,
        /// One line for the operator.
        reason: String,
    },
    /// How the devices are. With many devices there are several of these for one request.
    Status {
        /// Which request.
        call: Call,
        /// One for each.
        devices: Vec<(Minor, DeviceStatus)>,
        /// Another one follows.
        more: bool,
    },
    /// How devices have done. With many devices there are several of these for one request.
    Statistics {
        /// Which request.
        call: Call,
        /// One for each device that has started.
        devices: Vec<(Minor, DeviceStatistics)>,
        /// Another one follows.
        more: bool,
    },
    /// Commands that a device has completed, in this order; at least ten times a second if there are any.
    Trace {
        /// The device.
        minor: Minor,
        /// At most [`crate::TRACE_CHUNK`].
        records: Vec<TraceRecord>,
        /// Commands before these and after the last report that are not told, because they came too quickly.
        lost: u64,
    },
    /// Descriptors beside it.
    Handles {
        /// Which request.
        call: Call,
    },
    /// A device has something to say.
    Notice {
        /// The device.
        minor: Minor,
        /// What.
        notice: Notice,
    },
}

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The worker's [`VERSION`].
    pub version: u32,
    /// Version of the program, and what tells two builds of one version apart.
    pub build: String,
    /// Whose devices it runs.
    pub tenant: String,
    /// Process id in the worker's own eyes.
    pub pid: i32,
    /// How it is confined, a word for each part that is in force; empty in the supervisor's own process.
    pub jail: Vec<String>,
    /// How many [`Report::Device`] follow: one for each device that it has the descriptors of, running or ended.
    pub devices: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The value makes no sense.
    Invalid,
    /// The handler can not or will not.
    Unsupported,
    /// There is no such device, or it has ended.
    Gone,
    /// Commands did not end in time; later it may work.
    TimedOut,
    /// Store operations have not ended and can not be cancelled: their buffers stay in use.
    StoreBusy,
    /// Anything else.
    Failed,
}

/// What a device tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// An INQUIRY, or another command, waits for the serial number and the target port groups.
    IdentityWanted,
    /// An initiator wants a target port group in another state (SET TARGET PORT GROUPS) and waits for
    /// [`Request::AccessState`]. Told to each supervisor that comes.
    AccessStateWanted {
        /// For the answer; never used twice by one loop.
        wish: u64,
        /// TARGET PORT GROUP.
        group: u16,
        /// ASYMMETRIC ACCESS STATE.
        state: u8,
    },
    /// An initiator has set mode parameters; they are in force. The last word counts.
    ModesChanged {
        /// The LUN has a write cache.
        write_cache: bool,
        /// The others.
        modes: Modes,
    },
    /// The handler failed and is being rebuilt.
    Trouble(String),
    /// The handler serves again.
    Recovered,
    /// The LUN has this size, since its handler found that. Told to each supervisor that comes, and again behind a
    /// [`Request::Resize`] that was done meanwhile: the last word counts.
    Resized {
        /// Bytes.
        bytes: u64,
    },
    /// The device serves no more.
    Ended(String),
}

/// Counters since the start of the device loop; see `lunbox_device::Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// State of the handler.
    pub health: Health,
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
    /// Commands that took longer than [`Device::command_timeout_s`]; each counts once, when the time is over.
    #[serde(default)]
    pub timeouts: u64,
    /// Logical unit resets that initiators asked for.
    #[serde(default)]
    pub lun_resets: u64,
    /// Commands that were aborted, or lost to a reset, and wait for their operations on a store to end.
    #[serde(default)]
    pub aborting: u64,
    /// Commands that were taken from the ring and are not completed.
    #[serde(default)]
    pub in_flight: u64,
    /// The LUN has a write cache.
    #[serde(default)]
    pub write_cache: bool,
}

/// Whether a device serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Commands are served.
    Serving,
    /// The handler is being rebuilt.
    Recovering,
    /// The loop has ended.
    #[default]
    Stopped,
}
