//! Confinement of the calling process: what is left to a worker that serves a tenant's devices, and to the child
//! that compiles a handler, after either has been taken over by whoever it was fed by.
//!
//! [`enter`] is called once, by a process that has just been executed and has one thread. Afterwards the process
//! lives on the descriptors that it holds and is given; it can open nothing by name. Several parts each hold on
//! their own ([`Part`]), so that a kernel that lacks one, or a bug in one, does not open the door.
//!
//! # What a jailed process can still do
//!
//! Use its descriptors, compute, allocate up to its limits, start threads, and use the system calls listed in
//! [`policy`]. io_uring is among them, and its operations do not pass the system-call filter: an attacker who
//! rules the process can ask io_uring to open files and make sockets. What these reach is bounded by the other
//! parts: the root directory is empty, the network has no interface, Landlock grants no file and no port, and no
//! capability is left. Tests try this way, too.
#![deny(unsafe_code)]

mod confinement;
mod descriptors;
mod error;
mod filter;
mod landlock_rules;
mod limits;
mod namespaces;
mod part;
pub mod policy;
mod privileges;
mod program;

use std::process::Command;

pub use confinement::{Confinement, Profile, enter};
#[doc(hidden)]
pub use confinement::{Weakened, enter_weakened};
pub use descriptors::close_inherited;
pub use error::JailError;
pub use limits::{ProcessLimits, offer_to_oom_killer};
pub use part::Part;

/// Prepares a child that will confine itself: no environment, and `/` as its working directory, so that it
/// inherits neither secrets nor a directory. Descriptors are the caller's business; those that Rust opened are
/// closed on exec.
pub fn scrub(command: &mut Command) {
    command.env_clear().current_dir("/");
}
