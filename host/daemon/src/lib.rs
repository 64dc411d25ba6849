//! `lunboxd`: finds TCM-User devices, has them served by handlers, and answers the kernel.
//!
//! ```text
//!   kernel ══ netlink ══▶ control ── jobs ──▶ open ──▶ lunbox_device (one thread per LUN)
//!                            ▲                  │ configfs, cfgstring, files
//!                            └──── mailbox ◀────┴──── notices
//! ```
//!
//! * [`control`] is the one thread that talks to the kernel. It never waits for a device.
//! * [`job`] is what may wait, on threads of its own; [`open`] is how a device is started for real, from
//!   configfs, its cfgstring ([`lunbox_grant`]) and a handler ([`lunbox_engine::Catalogue`]).
//! * [`service`] is the border between the two, so that the control plane is tested without kernel and sandbox.
//! * [`lock`] and [`module`] come before everything else; [`cli`] is the command line.

pub mod cli;
pub mod control;
pub mod job;
pub mod lock;
pub mod mailbox;
pub mod module;
pub mod open;
pub mod registry;
pub mod service;
