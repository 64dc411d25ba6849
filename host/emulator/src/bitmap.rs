//! Which ids or blocks are in use, searched lowest first.

/// A fixed set of numbers from 0, each free or used. Searching skips 64 used ones at a time and starts at a
/// lower bound, so that a warm allocator finds its next number in a few steps.
#[derive(Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    size: u32,
    used: u32,
    /// No number below this is free.
    bound: u32,
}

impl Bitmap {
    /// All free.
    pub(crate) fn new(size: u32) -> Self {
        Self { words: vec![0; size.div_ceil(64) as usize], size, used: 0, bound: 0 }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The lowest free number in `from..to`.
    pub(crate) fn lowest_free(&self, from: u32, to: u32) -> Option<u32> {
        let to = to.min(self.size);
        let mut at = from.max(self.bound);
        while at < to {
            let free = !self.words[(at / 64) as usize] >> (at % 64);
            if free != 0 {
                let found = at + free.trailing_zeros();
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// How many numbers below `limit` are free.
    pub(crate) fn free_below(&self, limit: u32) -> u32 {
        if limit >= self.size {
            return self.size - self.used;
        }
        let whole = &self.words[..(limit / 64) as usize];
        let rest = !self.words[(limit / 64) as usize] & ((1 << (limit % 64)) - 1);
        whole.iter().map(|word| word.count_zeros()).sum::<u32>() + rest.count_ones()
    }

    /// The highest number in use.
    pub(crate) fn highest_used(&self) -> Option<u32> {
        let (index, word) = (0u32..).zip(&self.words).filter(|(_, word)| **word != 0).last()?;
        Some(index * 64 + 63 - word.leading_zeros())
    }

    pub(crate) fn is_used(&self, number: u32) -> bool {
        self.words[(number / 64) as usize] & (1 << (number % 64)) != 0
    }

    /// Marks a free number as used.
    pub(crate) fn set(&mut self, number: u32) {
        debug_assert!(!self.is_used(number), "{number} is taken twice");
        self.words[(number / 64) as usize] |= 1 << (number % 64);
        self.used += 1;
        if number == self.bound {
            self.bound += 1;
        }
    }

    /// Marks a used number as free.
    pub(crate) fn clear(&mut self, number: u32) {
        debug_assert!(self.is_used(number), "{number} is freed twice");
        self.words[(number / 64) as usize] &= !(1 << (number % 64));
        self.used -= 1;
        self.bound = self.bound.min(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_comes_first_across_word_borders() {
        let mut map = Bitmap::new(130);
        for expected in 0..130 {
            assert_eq!(map.lowest_free(0, 130), Some(expected));
            map.set(expected);
        }
        assert_eq!(map.lowest_free(0, 130), None);
        assert_eq!(map.highest_used(), Some(129));
        map.clear(100);
        map.clear(3);
        assert_eq!(map.lowest_free(0, 130), Some(3));
        assert_eq!(map.lowest_free(4, 130), Some(100));
        assert_eq!(map.lowest_free(4, 100), None);
        assert_eq!((map.free_below(3), map.free_below(4), map.free_below(128)), (0, 1, 2));
        assert_eq!(map.free_below(130), 2);
    }

    #[test]
    fn numbers_beyond_the_size_are_never_offered() {
        let mut map = Bitmap::new(3);
        (0..3).for_each(|number| map.set(number));
        assert_eq!(map.lowest_free(0, 64), None);
        assert_eq!(map.highest_used(), Some(2));
        (0..3).for_each(|number| map.clear(number));
        assert_eq!(map.highest_used(), None);
    }
}
