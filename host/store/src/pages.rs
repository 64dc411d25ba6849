//! Which pages of a memory store have been written to.

/// One bit for each page. What was never written, or was given back whole, reads as zeros and takes up no space.
#[derive(Debug)]
pub(crate) struct Pages {
    words: Vec<u64>,
    /// Bytes of a page.
    page: u64,
}

/// Pages of a word.
const BITS: u64 = 64;

/// Words that one question looks at, at most: 1 GiB of small pages. What follows is another question.
const LOOK: usize = 4096;

impl Pages {
    /// For a store of `bytes`; `page` is not 0.
    pub(crate) fn new(bytes: usize, page: u64) -> Self {
        let words = (bytes as u64).div_ceil(page).div_ceil(BITS);
        // Zeroed memory is not touched before it is used.
        Self { words: vec![0; usize::try_from(words).unwrap_or(0)], page }
    }

    /// The range has been written to.
    pub(crate) fn written(&mut self, offset: u64, length: u64) {
        self.set(offset / self.page, (offset + length).div_ceil(self.page), |word, mask| *word |= mask);
    }

    /// The range has been given back: all pages that lie in it as a whole.
    pub(crate) fn given_back(&mut self, offset: u64, length: u64) {
        self.set(offset.div_ceil(self.page), (offset + length) / self.page, |word, mask| {
            // Memory that was never written to stays so.
            if *word & mask != 0 {
                *word &= !mask;
            }
        });
    }

    /// The pages that the range covers in part have been written to.
    pub(crate) fn ends_written(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        for at in [offset, end] {
            if !at.is_multiple_of(self.page) && length > 0 {
                self.written(at - at % self.page, 1);
            }
        }
    }

    fn set(&mut self, first: u64, end: u64, act: impl Fn(&mut u64, u64)) {
        let mut at = first;
        while at < end {
            let bit = at % BITS;
            let count = (BITS - bit).min(end - at);
            let Some(word) = self.word(at).and_then(|index| self.words.get_mut(index)) else { return };
            act(word, (u64::MAX >> (BITS - count)) << bit);
            at += count;
        }
    }

    fn word(&self, page: u64) -> Option<usize> {
        usize::try_from(page / BITS).ok().filter(|&index| index < self.words.len())
    }

    /// Whether byte `at` is in a page that was written to, and where that ends: at `end` at the latest, and perhaps
    /// before it really does.
    pub(crate) fn run(&self, at: u64, end: u64) -> (bool, u64) {
        let first = at / self.page;
        let bits = |page: u64| self.word(page).and_then(|index| self.words.get(index)).copied().unwrap_or(0);
        let written = bits(first) >> (first % BITS) & 1 == 1;
        let other = |page: u64| if written { !bits(page) } else { bits(page) };
        let mut page = first;
        for _ in 0..LOOK {
            if page.saturating_mul(self.page) >= end {
                break;
            }
            let rest = other(page) >> (page % BITS);
            if rest != 0 {
                page += u64::from(rest.trailing_zeros());
                break;
            }
            page = (page / BITS + 1) * BITS;
        }
        (written, page.saturating_mul(self.page).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole store as runs.
    fn runs(pages: &Pages, end: u64) -> Vec<(bool, u64)> {
        let mut runs = Vec::new();
        let mut at = 0;
        while at < end {
            let (written, until) = pages.run(at, end);
            assert!(until > at, "a run has bytes");
            runs.push((written, until));
            at = until;
        }
        runs
    }

    #[test]
    fn every_page_that_is_touched_counts_and_only_whole_ones_are_given_back() {
        let end = 1000 * 16;
        let mut pages = Pages::new(1000 * 16, 16);
        assert_eq!(runs(&pages, end), [(false, end)]);
        pages.written(17, 14);
        assert_eq!(runs(&pages, end), [(false, 16), (true, 32), (false, end)]);
        pages.written(31, 2000);
        assert_eq!(runs(&pages, end), [(false, 16), (true, 2032), (false, end)]);
        pages.given_back(47, 64 * 16 + 2);
        assert_eq!(
            runs(&pages, end),
            [(false, 16), (true, 48), (false, 48 + 64 * 16), (true, 2032), (false, end)]
        );
        pages.ends_written(16, 32);
        pages.ends_written(0, 0);
        pages.given_back(1, 14);
        pages.given_back(0, end);
        assert_eq!(runs(&pages, end), [(false, end)]);
    }

    #[test]
    fn zeroing_touches_what_it_covers_in_part() {
        let mut pages = Pages::new(4096, 16);
        pages.ends_written(40, 100);
        assert_eq!(runs(&pages, 160), [(false, 32), (true, 48), (false, 128), (true, 144), (false, 160)]);
    }

    #[test]
    fn a_run_begins_within_a_page_and_ends_where_it_is_told() {
        let mut pages = Pages::new(4096, 16);
        pages.written(0, 4096);
        assert_eq!(pages.run(5, 9), (true, 9));
        assert_eq!(pages.run(5, 4096), (true, 4096));
    }

    #[test]
    fn a_long_run_may_be_told_in_parts() {
        let bytes = (LOOK as u64 + 7) * BITS * 16;
        let pages = Pages::new(usize::try_from(bytes).unwrap(), 16);
        assert_eq!(runs(&pages, bytes), [(false, LOOK as u64 * BITS * 16), (false, bytes)]);
    }
}
