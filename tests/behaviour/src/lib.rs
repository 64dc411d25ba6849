//! A LUN on the emulated ring, for tests of behaviour across crates: initiator, emulated kernel, device loop,
//! handler and store, without a kernel module and without root.

pub mod components;
mod lun;

pub use lun::{Lun, LunBuilder, native_file, wasm};
