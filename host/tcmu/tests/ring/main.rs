//! The ring through its public interface, against a kernel's side written for these tests alone.
#![allow(clippy::unwrap_used, reason = "in helpers of tests as in tests: a failure is a panic with its line")]

mod attach;
mod commands;
mod fuzz;
mod kernel;
mod malformed;
mod model;
mod notices;
mod race;
mod reset;
mod signals;
