//! Behaviour of a LUN on the emulated ring, seen from the initiator. One binary, so that wasmtime is linked once.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that clippy takes for tests"
)]

mod buffers;
mod caching;
mod composites;
mod data_path;
mod defects;
mod faults;
mod handover;
mod lifecycle;
mod logging;
mod model;
mod numbers;
mod panics;
mod random_commands;
mod reset;
mod sizes;
mod spc;

use lunbox_emulator::initiator::Response;

/// Bytes that no two places of a disk share.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(length)
        .collect()
}

#[track_caller]
fn good(response: &Response) {
    assert!(response.is_good(), "status {:#04x} {:?}", response.status, response.sense);
}

#[track_caller]
fn sense(response: &Response, expected: (u8, u8, u8)) {
    assert_eq!(response.sense_code(), Some(expected), "status {:#04x}", response.status);
}
