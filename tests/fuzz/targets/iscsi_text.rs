//! libFuzzer's way into the iSCSI login and text harness.
#![no_main]

#[path = "../src/iscsi_text.rs"]
mod iscsi_text;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    iscsi_text::drive(bytes);
});
