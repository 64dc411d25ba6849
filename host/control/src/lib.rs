//! The control socket of `lunboxd`: what operators ask, what they are told, and both ends of the socket.
//!
//! * [`Request`] and [`Answer`] are the words, [`Refusal`] is the answer to what can not be done. On the wire each is
//!   one line of JSON: `{"version":1,"id":7,"method":"device-list"}`, then `{"id":7,"ok":{"devices":[…]}}` or
//!   `{"id":7,"error":{"code":"…","message":"…"}}`. After `events` the connection carries one line for each event,
//!   after `trace` lines with the commands of a device.
//! * [`report`] and [`statistics`] hold what answers consist of; [`find_device`] is how devices are named.
//! * [`Server`] is the daemon's end, [`Client`] that of commands.

pub mod client;
mod device_name;
mod line;
mod message;
mod peer;
pub mod report;
pub mod server;
pub mod statistics;

pub use client::{Client, ClientError};
pub use device_name::find_device;
pub use message::{Answer, Code, PROTOCOL, Refusal, Request};
pub use report::{
    BusReport, ControlReport, CountersReport, DeviceHealth, DeviceReport, EventKind, EventReport,
    GrantReport, Greeting, HandlerReport, LimitsReport, StatusReport, TargetPortGroupReport,
    TargetPortReport, WorkerReport, WorkerState,
};
pub use server::{Server, ServerError, ServerHandle, Service, Teller, Tracing};
pub use statistics::{
    ClassReport, CommandReport, DeviceStatistics, HistogramReport, SenseReport, StatisticsReport, TraceReport,
};

/// Where `lunboxd` listens unless it is told otherwise.
pub const SOCKET: &str = "/run/lunbox/control.sock";
