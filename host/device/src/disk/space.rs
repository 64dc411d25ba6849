//! Room that the stores of a thin unit have left: when it is asked for, and when initiators are warned.

use lunbox_scsi::{Bytes, ThinSpace};

/// Bytes that are written to a thin unit before its stores are asked for their room again.
const INTERVAL: u64 = 64 << 20;
/// Initiators are warned when less than this is left, unless the unit is small.
const MOST_THRESHOLD: u64 = 16 << 30;
/// For small units, this part of their size.
const PART: u64 = 16;

/// Counts what is written.
#[derive(Debug)]
pub(super) struct SpaceWatch {
    /// Bytes until it is time to ask.
    left: u64,
    /// Nobody can say; it is never time.
    unknown: bool,
    /// Less than the threshold was left when it was last asked: that was told.
    is_low: bool,
}

impl SpaceWatch {
    pub(super) const fn new() -> Self {
        Self { left: 0, unknown: false, is_low: false }
    }

    /// Counts bytes that were written. True: it is time to ask.
    pub(super) const fn written(&mut self, bytes: u64) -> bool {
        self.left = self.left.saturating_sub(bytes);
        if self.left > 0 {
            return false;
        }
        self.left = if self.unknown { u64::MAX } else { INTERVAL };
        !self.unknown
    }

    /// Asking is of no use.
    pub(super) const fn give_up(&mut self) {
        self.unknown = true;
        self.left = u64::MAX;
    }

    /// What the unit says of its room, and whether this is the moment to warn: once each time that it becomes less
    /// than the threshold.
    pub(super) fn learn(&mut self, size: Bytes, used: u64, available: u64) -> (ThinSpace, bool) {
        let threshold = (size.0 / PART).min(MOST_THRESHOLD);
        let space = ThinSpace {
            available: Bytes(available),
            used: Bytes(used),
            // A unit that has all its blocks needs no more room.
            threshold: (used < size.0).then_some(Bytes(threshold)),
        };
        let was_low = std::mem::replace(&mut self.is_low, space.threshold_reached());
        (space, self.is_low && !was_low)
    }
}
