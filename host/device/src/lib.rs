//! The device loop: one thread joins a TCM-User ring, the SCSI layer, a handler and its stores for one LUN.
//!
//! The thread gets file descriptors and a control channel, never a path: whoever starts it opens, grants and
//! answers its questions ([`Event`]).
//!
//! ```text
//!  ring ─▶ decode ─┬▶ answered here: INQUIRY, VPD, MODE SENSE, capacity, TUR, REQUEST SENSE
//!                  ├▶ UNMAP, WRITE SAME, COMPARE AND WRITE, FORMAT UNIT …: steps, each of them as below
//!                  └▶ READ, WRITE, SYNCHRONIZE CACHE ─▶ handler.submit ─▶ plan ─▶ executor
//!                                                          ▲                        │
//!                                                          └──── resume ◀── all ended┤
//!  ring ◀─ complete once ◀───────────────────────────────────────── final op ended ◀┘
//! ```
//!
//! **The rule that must never break**: a ring entry is completed only when no store operation refers to its
//! buffer. A command lives in a slot of the command table; the slot counts its operations, and the one function
//! that completes commands (`finish` in `serve.rs`) is reached only at a count of zero.

mod batch;
mod cancel;
mod compose;
mod control;
mod disk;
mod ending;
mod guest;
mod measure;
mod plan;
mod port_groups;
mod ranges;
mod resize;
mod run;
mod serve;
mod settings;
mod space;
mod statistics;
mod status;
mod table;
mod trace;
mod write_cache;

pub use control::{AccessStateAnswer, DeviceHandle, Ending, Event, ResizeError, StopError, spawn};
pub use ranges::{RangeTable, Window};
pub use settings::{DeviceParts, Identity, Modes, Settings, StartError};
pub use statistics::{ClassStatistics, HISTOGRAM_BOUNDS, Histogram, Statistics};
pub use status::{Health, Status};
pub use trace::TraceRecord;
pub use write_cache::WriteCacheError;
