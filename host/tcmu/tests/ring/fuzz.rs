//! The fuzz target's harness with a fixed source of numbers: a second or two of it in every test run.

use std::time::{Duration, Instant};

#[path = "../../../../tests/fuzz/src/ring.rs"]
mod harness;

/// xorshift64*: enough for this, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn hostile_rings_do_no_harm() {
    let mut numbers = Numbers(0x1bad_5eed_0dd5_eed5);
    let end = Instant::now() + Duration::from_secs(2);
    let mut runs = 0;
    let mut taken = 0;
    // At least a thousand runs on however slow a machine; more while time is left.
    while runs < 1000 || Instant::now() < end {
        let length = 64 + numbers.next() % 2048;
        let input: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| numbers.next().to_le_bytes()).collect();
        taken += harness::drive(&input);
        runs += 1;
    }
    assert!(taken > runs, "the harness reaches the inside: {taken} commands in {runs} runs");
}
