//! The pattern in data blocks that nobody uses, and what is known about each block.

use crate::BLOCK_BYTES;
use crate::kernel::CommandId;
use crate::violation::LastUser;

pub(crate) const BLOCK: usize = BLOCK_BYTES as usize;

/// First half of each 16 bytes of the pattern; the second half names the block and how often it was poisoned.
const MARK: u64 = 0x5eed_dead_b10c_f4ee;
/// Keeps the second half free of runs of zeros, which late writes are full of.
const BLUR: u64 = 0x9d3b_57c9_e163_8ba5;
/// Fewer bytes of the pattern than this prove nothing.
const SHORTEST: usize = 4;

/// Names one poisoning of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) block: u32,
    pub(crate) generation: u32,
}

impl Stamp {
    fn word(self) -> u64 {
        (u64::from(self.block) << 32 | u64::from(self.generation)) ^ BLUR
    }

    fn from_word(word: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = (u64::from_ne_bytes(word) ^ BLUR).to_be_bytes();
        Self { block: u32::from_be_bytes([a, b, c, d]), generation: u32::from_be_bytes([e, f, g, h]) }
    }

    fn unit(self) -> [u8; 16] {
        let mut unit = [0; 16];
        unit[..8].copy_from_slice(&MARK.to_ne_bytes());
        unit[8..].copy_from_slice(&self.word().to_ne_bytes());
        unit
    }

    /// Writes the pattern of this stamp.
    pub(crate) fn fill(self, block: &mut [u8]) {
        let unit = self.unit();
        for part in block.chunks_mut(unit.len()) {
            part.copy_from_slice(&unit[..part.len()]);
        }
    }

    /// Where `bytes`, which start at byte `from` of the block, first differ from the pattern.
    pub(crate) fn first_change(self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut unit = self.unit();
        unit.rotate_left(from % 16);
        // Whole units first: nearly always all of them are as they should be.
        let intact = bytes.chunks(16).take_while(|part| unit.starts_with(part)).count() * 16;
        let changed = bytes.get(intact..)?.iter().zip(unit).position(|(&byte, expected)| byte != expected)?;
        Some(from + intact + changed)
    }
}

/// Looks for the pattern of any block in data that starts at a multiple of 16 of some buffer. At the end of the
/// data a beginning of the pattern counts as well; `expected` then says whose it may be.
pub(crate) fn find(data: &[u8], mut expected: impl FnMut(usize) -> Stamp) -> Option<(usize, Stamp)> {
    let (units, rest) = data.as_chunks::<16>();
    for (index, [mark @ .., a, b, c, d, e, f, g, h]) in units.iter().enumerate() {
        if *mark == MARK.to_ne_bytes() {
            return Some((index * 16, Stamp::from_word([*a, *b, *c, *d, *e, *f, *g, *h])));
        }
    }
    let at = units.len() * 16;
    if rest.len() < SHORTEST {
        return None;
    }
    let stamp = expected(at);
    (stamp.unit()[..rest.len()] == *rest).then_some((at, stamp))
}

/// What is known about a data block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) generation: u32,
    /// The pattern was written when the block became free (or was taken) and should still be there, except for
    /// what its present owner has a right to write.
    pub(crate) poisoned: bool,
    /// A ring reset took the block from a command that the daemon may still have been working on. Nobody can
    /// blame the daemon for what it writes there before it notices, so the next use is not judged.
    pub(crate) doubtful: bool,
    pub(crate) last_user: LastUser,
}

impl Default for Mark {
    fn default() -> Self {
        let last_user = LastUser { id: CommandId(0), opcode: 0 };
        Self { generation: 0, poisoned: false, doubtful: false, last_user }
    }
}

/// Marks of all blocks, and room for one block's pattern.
#[derive(Debug)]
pub(crate) struct Poison {
    pub(crate) marks: Vec<Mark>,
    pub(crate) buffer: Box<[u8; BLOCK]>,
}

impl Poison {
    pub(crate) fn new(blocks: u32) -> Self {
        Self { marks: vec![Mark::default(); blocks as usize], buffer: Box::new([0; BLOCK]) }
    }

    pub(crate) fn stamp(&self, block: u32) -> Stamp {
        Stamp { block, generation: self.marks[block as usize].generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { block: 7, generation: 3 };

    #[test]
    fn a_single_changed_byte_is_found_anywhere() {
        let mut block = [0; BLOCK];
        STAMP.fill(&mut block);
        assert_eq!(STAMP.first_change(&block, 0), None);
        assert_eq!(STAMP.first_change(&block[1001..], 1001), None);
        for at in [0, 1, 7, 8, 15, 16, 2049, BLOCK - 1] {
            let mut changed = block;
            changed[at] ^= 1;
            assert_eq!(STAMP.first_change(&changed, 0), Some(at));
        }
        assert_eq!(Stamp { generation: 4, ..STAMP }.first_change(&block, 0), Some(8));
    }

    #[test]
    fn the_pattern_is_recognised_inside_of_data_and_at_its_end() {
        let mut data = vec![0x11; 100];
        assert_eq!(find(&data, |_| STAMP), None);
        STAMP.fill(&mut data[48..64]);
        assert_eq!(find(&data, |_| Stamp { block: 0, generation: 0 }), Some((48, STAMP)));
        let mut short = vec![0x11; 36];
        STAMP.fill(&mut short[32..]);
        assert_eq!(find(&short, |_| STAMP), Some((32, STAMP)));
        assert_eq!(find(&short[..35], |_| STAMP), None);
    }
}
