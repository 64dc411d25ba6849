//! What supervisor and worker say to each other, and the descriptors that travel with it.
//!
//! * [`Request`] and [`Report`] are the words, [`Link`] is the way: a `SOCK_SEQPACKET` socket of the Unix domain,
//!   one JSON object in each packet, descriptors beside it (`SCM_RIGHTS`, unix(7)).
//! * [`listener`] is the door at which a successor knocks, [`peer`] tells who is at the other end.
//!
//! Neither side trusts the other: whatever arrives is bounded, and what does not fit is an error.

mod identity;
mod link;
pub mod listener;
mod message;
pub mod peer;
mod statistics;

pub use identity::{AccessStateAnswer, Identity, MAX_GROUPS, MAX_PORTS, Modes, Port, PortGroup};
pub use link::{Link, LinkError, MAX_DESCRIPTORS, MAX_MESSAGE, Packet};
pub use message::{
    Call, Device, DeviceStatus, Ending, Handler, Health, Hello, Limits, Minor, Notice, Refusal, Report,
    Request, RingKind, Store, StoreKind, VERSION, VERSION_OF_MODES, VERSION_OF_RESIZED,
};
pub use statistics::{
    ClassStatistics, DeviceStatistics, HISTOGRAM_BOUNDS, Histogram, STATISTICS_CHUNK, TRACE_CHUNK,
    TraceRecord,
};
