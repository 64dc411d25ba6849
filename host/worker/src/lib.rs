//! The process that runs a tenant's device loops, and nothing else: it opens nothing and names nothing, it gets
//! descriptors from the supervisor over a [`lunbox_wire::Link`].
//!
//! * [`process`] is such a process from its start: it jails itself and then serves.
//! * [`serve`] is the control thread, for a process or (`--single-process`) a thread of the supervisor.
//!
//! A worker outlives its supervisor. When the link ends it goes on serving, and a successor finds it at its listener,
//! learns what it has ([`lunbox_wire::Request::Hello`]), and can have the descriptors
//! ([`lunbox_wire::Request::Handles`]).
//!
//! **What ends a worker**: [`lunbox_wire::Request::Leave`] when it has no device any more; having neither supervisor
//! nor device; as an orphan SIGTERM, after its devices are drained (bounded). As long as it has a supervisor it
//! ignores SIGTERM, SIGINT and SIGHUP: service managers send them to all processes of a service, and the supervisor
//! stops devices in order.
//!
//! **What was begun for a supervisor that has gone** goes on. A stop: the successor is told that the device has ended
//! ([`lunbox_wire::Notice::Ended`]), and its descriptors are kept for him; with no successor they are closed. So it is
//! with a loop whose last operations end after its stop was refused. A change of size is taken back: nobody told the
//! kernel that it was done.

mod connection;
mod control;
mod device;
mod handlers;
mod identity;
mod jobs;
mod log;
mod mailbox;
pub mod process;
mod start;
mod statistics;

pub use control::{Options, SetLevel, SetLog, WorkerError, serve};
