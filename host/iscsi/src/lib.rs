//! An iSCSI target (RFC 7143) for one node: discovery and normal sessions, several connections per session, CHAP,
//! digests, error recovery level 0. What LUNs do is somebody else's business ([`LogicalUnit`]); [`RingLun`] hands
//! commands to a TCM-User ring, as the kernel's target core does.
//!
//! ```text
//!  socket ─▶ pdu::frame ─▶ pdu::request ─▶ target_port ─▶ target_core ─▶ LogicalUnit ─▶ ring
//!  socket ◀─ output buffer ◀── pdu::response ◀─── target_port ◀────────── collect ◀──────────┘
//! ```
//!
//! One thread does all of it, for all connections and LUNs ([`Server`]). Everything between the sockets and the
//! LUNs is a value without I/O, so that tests can drive it. Once warm nothing is allocated, locked or logged per
//! command.
//!
//! A session that has gone is not forgotten before its commands have left the LUNs: the next login of its initiator,
//! and the answer to a logout, wait for that. Otherwise a write that was lost could land on top of a later one. A
//! session that takes the place of another one is told so: 6/29/07, I_T NEXUS LOSS OCCURRED.
//!
//! # What is not supported, and what initiators are told
//! * Error recovery levels 1 and 2: SNACK is rejected, a lost connection ends its session.
//! * PERSISTENT RESERVE and RESERVE: 5/20/00, as of a device that does not know them.
//! * 6/29/07 for a session that comes after a lost one has ended by itself: the target does not keep the names of all
//!   who were ever there.
//! * CLEAR ACA and TASK REASSIGN: their response codes say so.

#![forbid(unsafe_code)]

pub mod chap;
mod connection;
pub mod digest;
pub mod login;
pub mod lun;
pub mod pdu;
mod ring_lun;
pub mod server;
mod session;
mod slab;
mod status;
mod target_core;
mod target_port;
mod task;
pub mod text;
mod warning;

pub use lun::LogicalUnit;
pub use ring_lun::{RingCloser, RingLimits, RingLun};
pub use server::{LunConfig, Server, ServerHandle, ServerLimits, ServerOptions, StartError};
pub use status::{LATENCY_BUCKETS, LunStatus, ServerStatus};
