//! WASI as `wit/world.wit` has it; generated.

// The canonical ABI passes addresses: generated code can not do without.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]
#![allow(clippy::all, clippy::pedantic, clippy::restriction)]

wit_bindgen::generate!({
    world: "misuse",
    path: "wit",
    generate_all,
});
