//! Ranges of a LUN that only one command may touch.
//!
//! A command that was aborted while its store operations could not be stopped holds its range until they have
//! ended: a command that starts later on the same blocks must not meet them. COMPARE AND WRITE and the like use
//! the same table to keep overlapping commands away. Plain commands test one flag ([`RangeTable::is_idle`])
//! while nothing is held.
//!
//! Exclusive commands queue by ticket, a number that grows with arrival: one claims its range when it arrives, which
//! keeps later ones away but not earlier ones, and has it for itself when no earlier claim overlaps. So a stream of
//! overlapping plain commands does not keep it waiting for ever, and two of them never wait for each other.

/// A half-open range of bytes on a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: u64,
    end: u64,
}

impl Window {
    /// The `length` bytes from `start`; cut at the end of the 64-bit space.
    #[must_use]
    pub const fn new(start: u64, length: u64) -> Self {
        Self { start, end: start.saturating_add(length) }
    }

    /// Both ranges have a byte in common. Empty ranges overlap nothing.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end && self.start < self.end && other.start < other.end
    }
}

/// The exclusive ranges of one LUN. Holders are named by a number of the caller's choice.
#[derive(Debug, Default)]
pub struct RangeTable {
    held: Vec<Hold>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    holder: usize,
    window: Window,
    /// Commands with smaller tickets may pass; 0: nobody may.
    since: u64,
}

impl RangeTable {
    /// Nothing is held: no need to look further.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Keeps others away from `window` until [`RangeTable::release`]. What already runs there is the caller's
    /// affair.
    pub fn hold(&mut self, holder: usize, window: Window) {
        self.held.push(Hold { holder, window, since: 0 });
    }

    /// Queues for `window`: keeps those away whose tickets are greater than `ticket`, until [`RangeTable::release`].
    pub fn claim(&mut self, holder: usize, window: Window, ticket: u64) {
        self.held.push(Hold { holder, window, since: ticket });
    }

    /// Has what `holder` claimed for itself from now on. The caller has made sure that nobody with a smaller ticket
    /// is there ([`RangeTable::blocks`]).
    pub fn seize(&mut self, holder: usize) {
        for hold in self.held.iter_mut().filter(|hold| hold.holder == holder) {
            hold.since = 0;
        }
    }

    /// A command with this ticket must not touch `window`: it is held or was claimed earlier, by others than
    /// `holder`.
    #[must_use]
    pub fn blocks(&self, window: Window, ticket: u64, holder: usize) -> bool {
        self.held
            .iter()
            .any(|hold| hold.since < ticket && hold.holder != holder && hold.window.overlaps(window))
    }

    /// Gives back all ranges of `holder`. Returns whether there were any: commands that wait should be tried
    /// again then.
    pub fn release(&mut self, holder: usize) -> bool {
        let before = self.held.len();
        self.held.retain(|hold| hold.holder != holder);
        self.held.len() != before
    }

    /// Somebody holds or has claimed a part of `window`.
    #[must_use]
    pub fn conflicts(&self, window: Window) -> bool {
        self.held.iter().any(|hold| hold.window.overlaps(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_held_range_keeps_overlapping_windows_away_until_released() {
        let mut table = RangeTable::default();
        assert!(table.is_idle());
        table.hold(7, Window::new(4096, 4096));
        assert!(table.conflicts(Window::new(8191, 1)));
        assert!(!table.conflicts(Window::new(8192, 4096)));
        assert!(!table.conflicts(Window::new(0, 4096)));
        assert!(!table.release(8));
        assert!(table.release(7));
        assert!(table.is_idle());
    }

    #[test]
    fn a_window_at_the_end_of_the_address_space_does_not_wrap() {
        let last = Window::new(u64::MAX - 1, 512);
        assert!(last.overlaps(Window::new(u64::MAX - 1, 1)));
        assert!(!last.overlaps(Window::new(0, 512)));
    }

    #[test]
    fn claims_are_served_in_order_of_their_tickets() {
        let mut table = RangeTable::default();
        let whole = Window::new(0, 100);
        table.claim(1, Window::new(0, 50), 10);
        table.claim(2, Window::new(40, 60), 20);
        assert!(!table.blocks(whole, 9, 9), "an earlier command passes claims");
        assert!(table.blocks(Window::new(0, 1), 11, 9));
        assert!(
            !table.blocks(Window::new(60, 1), 15, 9),
            "later than the first claim, which it does not touch"
        );
        assert!(!table.blocks(Window::new(0, 50), 10, 1), "the first is first");
        assert!(table.blocks(Window::new(40, 60), 20, 2), "the second waits for it");
        table.seize(1);
        assert!(table.blocks(Window::new(0, 1), 5, 9), "what is seized nobody passes");
        assert!(!table.blocks(Window::new(45, 1), 10, 1), "but its own steps");
        table.release(1);
        assert!(!table.blocks(Window::new(40, 60), 20, 2));
        table.hold(2, Window::new(0, 1));
        assert!(table.blocks(whole, 1, 9), "the range of an aborted command is closed to everybody");
    }

    proptest! {
        #[test]
        fn conflicts_agree_with_a_byte_map(
            held in prop::collection::vec((0usize..4, 0u64..40, 0u64..12), 0..6),
            released in 0usize..4,
            probe in (0u64..40, 0u64..12),
        ) {
            let mut table = RangeTable::default();
            let mut model = std::collections::HashMap::<u64, Vec<usize>>::new();
            for &(holder, start, length) in &held {
                table.hold(holder, Window::new(start, length));
                for byte in start..start + length {
                    model.entry(byte).or_default().push(holder);
                }
            }
            prop_assert_eq!(table.release(released), held.iter().any(|h| h.0 == released));
            let expected = (probe.0..probe.0 + probe.1)
                .any(|byte| model.get(&byte).is_some_and(|holders| holders.iter().any(|h| *h != released)));
            prop_assert_eq!(table.conflicts(Window::new(probe.0, probe.1)), expected);
        }
    }
}
