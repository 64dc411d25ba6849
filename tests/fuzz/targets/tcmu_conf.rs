//! libFuzzer's way into the tcmu.conf harness.
#![no_main]

#[path = "../src/tcmu_conf.rs"]
mod tcmu_conf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tcmu_conf::drive(bytes);
});
