//! libFuzzer's way into the parameter list harness.
#![no_main]

#[path = "../src/parameter_lists.rs"]
mod parameter_lists;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    parameter_lists::drive(bytes);
});
