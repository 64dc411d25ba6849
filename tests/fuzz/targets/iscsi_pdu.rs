//! libFuzzer's way into the iSCSI PDU harness.
#![no_main]

#[path = "../src/iscsi_pdu.rs"]
mod iscsi_pdu;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    iscsi_pdu::drive(bytes);
});
