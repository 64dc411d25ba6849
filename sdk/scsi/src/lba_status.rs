//! GET LBA STATUS parameter data (SBC-4, GET LBA STATUS (16)).

use crate::units::{Blocks, Lba};

/// Bytes before the first descriptor.
const HEADER: usize = 8;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// Most blocks of a descriptor.
const MAX_RUN: u64 = 0xffff_ffff;

/// PROVISIONING STATUS of a run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provisioned {
    /// 0h: mapped, or it is not known.
    Mapped,
    /// 1h: deallocated.
    Deallocated,
}

/// Makes the parameter data of runs of blocks that come in ascending order, each directly behind the one before.
#[derive(Debug)]
pub struct Builder {
    data: Vec<u8>,
    /// Bytes that are wanted.
    allocation: usize,
    /// Descriptors that are wanted, at least one.
    room: usize,
    /// The run that more blocks can join; it has no descriptor yet.
    run: Option<(Lba, u64, Provisioned)>,
}

impl Builder {
    /// For an answer of at most `allocation` bytes, ALLOCATION LENGTH.
    #[must_use]
    pub fn new(allocation: u32) -> Self {
        // An allocation length that the address space can not hold limits nothing.
        let allocation = usize::try_from(allocation).unwrap_or(usize::MAX);
        let room = allocation.saturating_sub(HEADER).div_ceil(DESCRIPTOR).max(1);
        Self { data: vec![0; HEADER], allocation, room, run: None }
    }

    /// Adds blocks; none is no error. They join the run before if they are in the same state. What does not fit one
    /// descriptor takes several. False if nothing more is wanted.
    pub fn push(&mut self, first: Lba, blocks: Blocks, state: Provisioned) -> bool {
        let (mut lba, mut left) = (first.0, blocks.0);
        while left > 0 {
            match &mut self.run {
                Some((_, length, own)) if *own == state && *length < MAX_RUN => {
                    let more = left.min(MAX_RUN - *length);
                    *length += more;
                    left -= more;
                    lba = lba.saturating_add(more);
                }
                _ => {
                    self.end_run();
                    if self.is_full() {
                        return false;
                    }
                    let length = left.min(MAX_RUN);
                    self.run = Some((Lba(lba), length, state));
                    left -= length;
                    lba = lba.saturating_add(length);
                }
            }
        }
        !self.is_full()
    }

    /// The parameter data, cut to the allocation length. PARAMETER DATA LENGTH counts the descriptors that were made,
    /// also those that are cut off.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.end_run();
        // 2³² bytes of descriptors do not fit the largest allocation length.
        let length = u32::try_from(self.data.len() - 4).unwrap_or(u32::MAX);
        self.data[..4].copy_from_slice(&length.to_be_bytes());
        // RTP=0 and COMPLETION CONDITION 000b: nothing is said of why there are no more.
        self.data.truncate(self.allocation);
        self.data
    }

    fn is_full(&self) -> bool {
        (self.data.len() - HEADER) / DESCRIPTOR >= self.room
    }

    fn end_run(&mut self) {
        let Some((lba, length, state)) = self.run.take() else { return };
        if self.is_full() {
            return;
        }
        self.data.extend_from_slice(&lba.0.to_be_bytes());
        self.data.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        let state = match state {
            Provisioned::Mapped => 0x0,
            Provisioned::Deallocated => 0x1,
        };
        self.data.extend_from_slice(&[state, 0, 0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPPED: Provisioned = Provisioned::Mapped;
    const DEALLOCATED: Provisioned = Provisioned::Deallocated;

    fn descriptor(lba: u64, blocks: u32, state: u8) -> Vec<u8> {
        let mut bytes = lba.to_be_bytes().to_vec();
        bytes.extend_from_slice(&blocks.to_be_bytes());
        bytes.extend_from_slice(&[state, 0, 0, 0]);
        bytes
    }

    #[test]
    fn runs_of_one_state_are_one_descriptor() {
        let mut builder = Builder::new(1000);
        assert!(builder.push(Lba(8), Blocks(8), MAPPED));
        assert!(builder.push(Lba(16), Blocks(0), DEALLOCATED));
        assert!(builder.push(Lba(16), Blocks(4), MAPPED));
        assert!(builder.push(Lba(20), Blocks(1), DEALLOCATED));
        assert!(builder.push(Lba(21), Blocks(3), MAPPED));
        let data = builder.finish();
        assert_eq!(data[..8], [0, 0, 0, 52, 0, 0, 0, 0]);
        assert_eq!(data[8..24], descriptor(8, 12, 0));
        assert_eq!(data[24..40], descriptor(20, 1, 1));
        assert_eq!(data[40..], descriptor(21, 3, 0));
    }

    #[test]
    fn runs_that_are_too_long_take_several_descriptors() {
        let mut builder = Builder::new(1000);
        assert!(builder.push(Lba(1), Blocks(2 * MAX_RUN), DEALLOCATED));
        assert!(builder.push(Lba(1 + 2 * MAX_RUN), Blocks(5), DEALLOCATED));
        let data = builder.finish();
        assert_eq!(data[..4], [0, 0, 0, 52]);
        assert_eq!(data[8..24], descriptor(1, u32::MAX, 1));
        assert_eq!(data[24..40], descriptor(1 + MAX_RUN, u32::MAX, 1));
        assert_eq!(data[40..], descriptor(1 + 2 * MAX_RUN, 5, 1));
    }

    #[test]
    fn it_is_full_when_the_allocation_length_is() {
        // One descriptor and a byte of the second: both are made, the second is cut.
        let mut builder = Builder::new(8 + 16 + 1);
        assert!(builder.push(Lba(0), Blocks(1), MAPPED));
        assert!(builder.push(Lba(1), Blocks(1), DEALLOCATED));
        // The third would be the one that ends the second.
        assert!(!builder.push(Lba(2), Blocks(1), MAPPED));
        assert!(!builder.push(Lba(3), Blocks(1), DEALLOCATED));
        let data = builder.finish();
        assert_eq!(data[..8], [0, 0, 0, 36, 0, 0, 0, 0]);
        assert_eq!(data[8..], [descriptor(0, 1, 0), vec![0]].concat());

        for allocation in 0..8 {
            let mut builder = Builder::new(allocation);
            builder.push(Lba(0), Blocks(1), MAPPED);
            let data = builder.finish();
            assert_eq!(data, [0, 0, 0, 20, 0, 0, 0, 0][..usize::try_from(allocation).unwrap()]);
        }
    }

    proptest! {
        /// The descriptors cover what was pushed, without gap or overlap, and neighbours of one state are joined.
        #[test]
        fn descriptors_cover_what_was_pushed(
            start in 0..1_u64 << 40,
            runs in prop::collection::vec((0..1_u64 << 34, any::<bool>()), 1..20),
        ) {
            let mut builder = Builder::new(u32::MAX);
            let mut end = start;
            for &(blocks, mapped) in &runs {
                let state = if mapped { MAPPED } else { DEALLOCATED };
                prop_assert!(builder.push(Lba(end), Blocks(blocks), state));
                end += blocks;
            }
            let data = builder.finish();
            let length = u32::from_be_bytes(data[..4].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap(), data.len() - 4);
            let mut at = start;
            let mut last = None;
            for bytes in data[8..].chunks(16) {
                let lba = u64::from_be_bytes(bytes[..8].try_into().unwrap());
                let blocks = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
                prop_assert_eq!(lba, at);
                prop_assert!(blocks > 0);
                prop_assert!(last != Some((bytes[12], false)), "neighbours of one state");
                last = Some((bytes[12], blocks == u32::MAX));
                let mut from = start;
                for &(length, mapped) in &runs {
                    if length > 0 && from < at + u64::from(blocks) && at < from + length {
                        prop_assert_eq!(bytes[12], u8::from(!mapped));
                    }
                    from += length;
                }
                at += u64::from(blocks);
            }
            prop_assert_eq!(at, end);
        }
    }
}
