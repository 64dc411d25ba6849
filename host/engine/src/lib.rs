//! The sandbox of handlers: loads components, gives them limits, calls them, and ends them when they misbehave.
//!
//! * [`Engine`] loads a file and tells what is wrong with it ([`LoadError`]); compiled code is cached.
//! * [`compile_child`] compiles in a process of its own; an [`Artifact`] comes back, a [`Shelf`] keeps it, and
//!   [`Engine::load_container`] runs it elsewhere. [`Manifest`] says who it is without running it.
//! * [`check_child`] finds out in a process of its own whether a configuration would be accepted.
//! * [`Catalogue`] holds the handlers of some directories, by subtype.
//! * [`Component`] is a loaded handler. It makes one instance per device ([`HandlerFactory`]).
//! * [`Handler`] is an instance as the device loop sees it: a command goes in, an
//!   [`Outcome`](lunbox_contract::Outcome) comes out. [`Limits`] says what it may use, [`Fault`] how it ended.
//! * [`native`] has the same interface without a sandbox.
//!
//! # What a guest can not do
//!
//! Whatever a component does, the host goes on, and so do the other instances.
//!
//! * **Reach out.** It gets its command's buffers and a log. If it imports WASI 0.2, it gets time and random numbers,
//!   too, and the directories that [`WasiGrants`] name. Any other import is refused when the component is loaded.
//! * **Compute for ever.** A tick looks at the *CPU time* of a call; beyond the budget the call ends. A guest
//!   that waits for a CPU on a busy machine is not to blame and goes on.
//! * **Wait for ever.** Only one that imports WASI can wait; its calls end after a wall time, too.
//! * **Take memory.** Linear memory, tables, stack, and what one call carries across the border are bounded.
//! * **Lie.** Every answer is checked for what the contract allows. What it *asks for* (a store, a range) is
//!   checked by whoever carries it out.
//! * **Write the log.** Lines are cut, escaped, and limited in rate.
//!
//! A guest that breaks a rule loses its instance: the call and all later ones end in a [`Fault`].

mod artifact;
mod bindings;
mod catalogue;
pub mod check_child;
mod code;
pub mod compile_child;
mod component;
mod container;
mod context;
mod convert;
mod deadline;
mod description;
mod digest;
mod engine;
mod exports;
mod fault;
mod guest_log;
mod handler;
mod instance;
mod limiter;
mod limits;
mod load;
mod manifest;
pub mod native;
mod precompiled;
mod probe;
mod schema;
mod shelf;
mod source;
mod text;
mod ticker;
mod wasi;

pub use artifact::{AnswerError, Artifact, Expected};
pub use catalogue::{Catalogue, DirectoryError, Listed, handler_files};
pub use component::Component;
pub use digest::{Digest, NoDigest};
pub use engine::{Engine, EngineError, EngineOptions, engine_digest};
pub use fault::Fault;
pub use handler::{Abilities, Handler, HandlerFactory, MAX_STATE_BYTES, SharedBuffers};
pub use limits::Limits;
pub use load::LoadError;
pub use manifest::Manifest;
pub use shelf::{Shelf, ShelfError, Shelved};
pub use source::{HandlerFile, read_container};
pub use wasi::{GrantedDirectory, WasiGrants, provides as provides_wasi};
