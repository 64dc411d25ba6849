//! libFuzzer's way into the cfgstring harness.
#![no_main]

#[path = "../src/cfgstring.rs"]
mod cfgstring;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cfgstring::drive(bytes);
});
