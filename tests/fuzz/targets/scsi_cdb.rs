//! libFuzzer's way into the CDB harness.
#![no_main]

#[path = "../src/scsi_cdb.rs"]
mod scsi_cdb;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    scsi_cdb::drive(bytes);
});
