//! Room of a thin provisioned unit, counted in threshold sets (SBC-4 4.7.3.8).

use super::Geometry;
use crate::units::{Blocks, Bytes};

/// Smallest threshold set in bytes: room is not counted more finely than this.
const SMALLEST_SET: u64 = 1 << 20;

/// How much room there is for a thin provisioned unit. As far as others fill the same store, it changes without
/// the unit's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinSpace {
    /// Room for blocks that have none yet, in bytes.
    pub available: Bytes,
    /// Room that the unit's blocks take, in bytes.
    pub used: Bytes,
    /// Initiators are warned when less than this is available, in bytes; `None` if never.
    pub threshold: Option<Bytes>,
}

impl ThinSpace {
    /// Less is available than the threshold: initiators are to be told
    /// ([`Sense::SOFT_THRESHOLD_REACHED`](crate::Sense::SOFT_THRESHOLD_REACHED)).
    #[must_use]
    pub fn threshold_reached(&self) -> bool {
        self.threshold.is_some_and(|threshold| self.available < threshold)
    }
}

impl Geometry {
    /// THRESHOLD EXPONENT: a threshold set has two to the power of this many blocks. It is the smallest one whose
    /// sets have 1 MiB or more and whose number fits 31 bits for the whole medium; never 0, which would mean that
    /// there are no thresholds. It depends on the size of the medium alone.
    #[must_use]
    pub fn threshold_exponent(&self) -> u8 {
        let mut exponent: u8 = 1;
        while exponent < 63 && !self.is_coarse_enough(exponent) {
            exponent += 1;
        }
        exponent
    }

    fn is_coarse_enough(&self, exponent: u8) -> bool {
        u64::from(self.block_size().get()) << exponent.min(40) >= SMALLEST_SET
            && self.capacity().0 >> exponent < 1 << 31
    }

    /// Whole threshold sets in so many bytes; FFFFFFFFh if there are more.
    #[must_use]
    pub fn whole_threshold_sets(&self, room: Bytes) -> u32 {
        let blocks = room.0 / u64::from(self.block_size().get());
        u32::try_from(blocks >> self.threshold_exponent()).unwrap_or(u32::MAX)
    }

    /// Threshold sets that so many bytes touch; FFFFFFFFh if there are more.
    #[must_use]
    pub fn touched_threshold_sets(&self, room: Bytes) -> u32 {
        let blocks = Blocks(room.0.div_ceil(u64::from(self.block_size().get())));
        let set = 1 << self.threshold_exponent();
        u32::try_from(blocks.0.div_ceil(set)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::BlockSize;

    fn geometry(size: u64, block_size: BlockSize) -> Geometry {
        Geometry::new(Bytes(size), block_size).unwrap()
    }

    #[test]
    fn sets_are_a_mebibyte_until_their_number_would_not_fit() {
        for (size, block_size, exponent) in [
            (512, BlockSize::B512, 11),
            (1 << 40, BlockSize::B512, 11),
            (1 << 40, BlockSize::B4096, 8),
            ((1 << 51) - 512, BlockSize::B512, 11),
            (1 << 51, BlockSize::B512, 12),
            (1 << 62, BlockSize::B4096, 20),
            (1 << 30, BlockSize::new(1 << 23).unwrap(), 1),
        ] {
            let geometry = geometry(size, block_size);
            assert_eq!(geometry.threshold_exponent(), exponent, "{size} {block_size}");
        }
    }

    #[test]
    fn room_is_rounded_against_the_unit() {
        let geometry = geometry(1 << 30, BlockSize::B512);
        let mib = 1 << 20;
        for (room, whole, touched) in
            [(0, 0, 0), (1, 0, 1), (mib, 1, 1), (mib + 1, 1, 2), (2 * mib - 1, 1, 2)]
        {
            assert_eq!(geometry.whole_threshold_sets(Bytes(room)), whole, "{room}");
            assert_eq!(geometry.touched_threshold_sets(Bytes(room)), touched, "{room}");
        }
        assert_eq!(geometry.whole_threshold_sets(Bytes(u64::MAX)), u32::MAX);
        assert_eq!(geometry.touched_threshold_sets(Bytes(u64::MAX)), u32::MAX);
    }

    #[test]
    fn the_threshold_is_reached_below_it() {
        let space =
            |available, threshold| ThinSpace { available: Bytes(available), used: Bytes(0), threshold };
        assert!(!space(10, Some(Bytes(10))).threshold_reached());
        assert!(space(9, Some(Bytes(10))).threshold_reached());
        assert!(!space(0, None).threshold_reached());
    }
}
