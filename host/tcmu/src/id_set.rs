//! The set of outstanding command ids.

const WORDS: usize = 65536 / 64;

/// A set of u16, 8 KiB, constant time.
#[derive(Debug)]
pub(crate) struct IdSet(Box<[u64; WORDS]>);

impl IdSet {
    pub(crate) fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Adds `id`; false if it was there.
    pub(crate) fn insert(&mut self, id: u16) -> bool {
        let (word, bit) = self.slot(id);
        let absent = *word & bit == 0;
        *word |= bit;
        absent
    }

    /// Takes `id` out; false if it was not there.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        let (word, bit) = self.slot(id);
        let present = *word & bit != 0;
        *word &= !bit;
        present
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    fn slot(&mut self, id: u16) -> (&mut u64, u64) {
        (&mut self.0[usize::from(id / 64)], 1 << (id % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_in_it_once() {
        let mut set = IdSet::new();
        for id in [0, 1, 63, 64, u16::MAX] {
            assert!(!set.remove(id));
            assert!(set.insert(id));
            assert!(!set.insert(id));
        }
        assert!(set.remove(64) && !set.remove(64));
        assert!(!set.insert(63), "neighbours stay");
        set.clear();
        assert!(set.insert(63));
    }
}
