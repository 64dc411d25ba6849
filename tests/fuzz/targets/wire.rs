//! libFuzzer's way into the harness of supervisor's and workers' messages.
#![no_main]

#[path = "../src/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire::drive(bytes);
});
