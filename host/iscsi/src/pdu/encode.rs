//! What all PDUs of a target have in common on their way to bytes.

use super::codes::TargetOpcode;
use super::header::{BHS_LENGTH, Lun};
use super::response::SequenceNumbers;
use crate::digest::{Digests, crc32c};

/// A basic header segment being filled in.
pub(super) struct Header([u8; BHS_LENGTH]);

impl Header {
    /// Opcode and byte 1; everything else is zero.
    pub(super) const fn new(opcode: TargetOpcode, flags: u8) -> Self {
        let mut bytes = [0; BHS_LENGTH];
        bytes[0] = opcode.code();
        bytes[1] = flags;
        Self(bytes)
    }

    pub(super) const fn byte(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    pub(super) fn half(mut self, at: usize, value: u16) -> Self {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn word(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn lun(mut self, lun: Lun) -> Self {
        self.0[8..16].copy_from_slice(&lun.0);
        self
    }

    pub(super) fn isid(mut self, isid: [u8; 6]) -> Self {
        self.0[8..14].copy_from_slice(&isid);
        self
    }

    pub(super) fn task_tag(self, tag: u32) -> Self {
        self.word(16, tag)
    }

    /// StatSN, ExpCmdSN and MaxCmdSN.
    pub(super) fn numbers(self, numbers: SequenceNumbers) -> Self {
        self.word(24, numbers.stat_sn).word(28, numbers.exp_cmd_sn).word(32, numbers.max_cmd_sn)
    }

    /// Appends the header, its digest, the data segment made of `parts`, its padding and its digest.
    pub(super) fn append(mut self, parts: &[&[u8]], digests: Digests, out: &mut Vec<u8>) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length < 1 << 24, "a data segment has a length of 24 bits");
        let [.., high, middle, low] = length.to_be_bytes();
        self.0[5..8].copy_from_slice(&[high, middle, low]);
        out.reserve(BHS_LENGTH + length + 12);
        out.extend_from_slice(&self.0);
        if digests.header {
            out.extend_from_slice(&crc32c(&self.0));
        }
        if length == 0 {
            return;
        }
        let start = out.len();
        for part in parts {
            out.extend_from_slice(part);
        }
        out.resize(start + length.next_multiple_of(4), 0);
        if digests.data {
            let digest = crc32c(&out[start..]);
            out.extend_from_slice(&digest);
        }
    }
}
