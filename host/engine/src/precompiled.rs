//! Loads machine code: the only place of this crate where a file becomes something that the CPU runs.
// Deserializing is unsafe because wasmtime does not verify machine code; there is no safe way to avoid compiling
// at each start.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

use crate::container::Intact;

/// Turns the code of a container into a component. Takes about 0.1 ms; it copies the code.
///
/// # Errors
/// wasmtime's own check of version, settings and CPU features fails.
pub(crate) fn component(engine: &Engine, code: &Intact<'_>) -> wasmtime::Result<Compiled> {
    // SAFETY: `deserialize` demands the unchanged output of `Component::serialize`.
    // - `Intact` says that the bytes are as they were when `container::wrap` was called, whose only callers pass
    //   what `Component::serialize` gave them, and that the engine's version and settings are the same.
    // - Nobody can forge a container that would gain by it: cached files are read from a directory and files that
    //   only our own user can write (`shelf.rs`), precompiled files only if root or our own user alone can
    //   (`source.rs`). A container that a supervisor passes to a worker was made from the same component by a
    //   jailed compiler, and is run in a process that is jailed as tightly (`Engine::load_container`).
    // - The bytes are in memory of ours, so the file can not change under wasmtime's hands.
    unsafe { Compiled::deserialize(engine, code.code()) }
}
