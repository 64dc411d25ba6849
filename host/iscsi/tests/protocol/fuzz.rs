//! The fuzz targets' harnesses with a fixed source of numbers: a moment of them in every test run.

#[path = "../../../../tests/fuzz/src/iscsi_pdu.rs"]
mod pdu;
#[path = "../../../../tests/fuzz/src/iscsi_text.rs"]
mod text;

/// xorshift64*: enough for this, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn input(&mut self) -> Vec<u8> {
        let length = 32 + self.next() % 512;
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}

const RUNS: usize = 3000;

#[test]
fn hostile_streams_do_no_harm() {
    let mut numbers = Numbers(0x1bad_5eed_0dd5_eed5);
    let frames: usize = (0..RUNS).map(|_| pdu::drive(&numbers.input())).sum();
    assert!(frames > RUNS, "the harness reaches the inside: {frames} frames");
}

/// Random requests hardly ever make a login, so two thirds begin with one that is right but for its options.
#[test]
fn hostile_logins_do_no_harm() {
    // No credentials; T to the full feature phase; two phrases: InitiatorName and TargetName.
    let open: &[u8] = &[0, 0x80, 2, 0, 1];
    // Credentials; names and AuthMethod; CHAP_A; the right answer with T.
    let proven: &[u8] = &[1, 0, 3, 0, 1, 5, 0, 1, 7, 0xb0, 0];
    let mut numbers = Numbers(0x5eed_1bad_0dd5_eed5);
    for beginning in [open, proven, &[]].iter().cycle().take(RUNS) {
        let mut input = numbers.input();
        input.splice(..0, beginning.iter().copied());
        assert!(text::drive(&input) || beginning.is_empty(), "the harness reaches the inside");
    }
}
