//! How a range is cut for a handler that unmaps.

use lunbox_contract::UnmapLimits;

use crate::span::{Span, whole};

/// The unit on which unmapping works and blocks begin, too: the least common multiple. `None` beyond 64 bits.
fn grid(limits: UnmapLimits, block: u64) -> Option<u64> {
    match limits.granularity {
        0 => Some(block),
        granularity => {
            let (mut a, mut b) = (granularity, block);
            while b != 0 {
                (a, b) = (b, a % b);
            }
            granularity.checked_mul(block / a)
        }
    }
}

/// Bytes of `rest` that are unmapped in one step: up to the handler's limit, ended on its granularity where that is
/// possible. Not 0 unless `rest` is empty.
pub(crate) fn piece(limits: UnmapLimits, block: u64, rest: Span) -> u64 {
    let longest = if limits.max_length == 0 { u64::MAX } else { whole(limits.max_length, block) };
    if rest.length <= longest {
        return rest.length;
    }
    let end = rest.offset.saturating_add(longest);
    let aligned = grid(limits, block).map_or(end, |grid| end - end % grid);
    if aligned > rest.offset { aligned - rest.offset } else { longest }
}

/// The part of `span` that consists of whole units of the handler's granularity. Empty, at the end of `span`, if
/// there is none.
pub(crate) fn inside(limits: UnmapLimits, block: u64, span: Span) -> Span {
    let nothing = Span { offset: span.end(), length: 0 };
    let Some(grid) = grid(limits, block) else { return nothing };
    if limits.max_length != 0 && whole(limits.max_length, block) < grid {
        // No unit would ever be unmapped as a whole.
        return nothing;
    }
    let Some(start) = span.offset.checked_next_multiple_of(grid) else { return nothing };
    let end = span.end() - span.end() % grid;
    if start < end { Span { offset: start, length: end - start } } else { nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limits(max_length: u64, granularity: u64) -> UnmapLimits {
        UnmapLimits { max_length, granularity, reads_zeroes: true }
    }

    fn cut(limits: UnmapLimits, block: u64, mut rest: Span) -> Vec<u64> {
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let length = piece(limits, block, rest);
            pieces.push(length);
            rest = rest.part(length, u64::MAX);
            assert!(length > 0 && pieces.len() < 100, "{pieces:?}");
        }
        pieces
    }

    /// tcmu-runner masked with granularity − 1, and divided by an alignment of 0 (#702).
    #[test]
    fn a_granularity_of_zero_neither_divides_nor_gives_empty_pieces() {
        assert_eq!(cut(limits(0, 0), 512, Span { offset: 512, length: 1 << 40 }), [1 << 40]);
        assert_eq!(cut(limits(4096, 0), 512, Span { offset: 512, length: 10_240 }), [4096, 4096, 2048]);
        assert_eq!(
            inside(limits(0, 0), 512, Span { offset: 512, length: 512 }),
            Span { offset: 512, length: 512 }
        );
    }

    #[test]
    fn pieces_end_on_the_granularity() {
        let span = Span { offset: 512, length: 40 * 512 };
        assert_eq!(cut(limits(8192, 4096), 512, span), [7680, 8192, 4608]);
        // One that begins exactly there.
        assert_eq!(cut(limits(4096, 4096), 512, Span { offset: 4096, length: 8192 }), [4096, 4096]);
    }

    #[test]
    fn limits_below_a_block_or_off_the_grid_still_move_on() {
        assert_eq!(cut(limits(100, 300), 512, Span { offset: 0, length: 1536 }), [512, 512, 512]);
        assert_eq!(cut(limits(1000, 1), 512, Span { offset: 0, length: 1024 }), [512, 512]);
        assert_eq!(cut(limits(1024, u64::MAX), 512, Span { offset: 0, length: 2048 }), [1024, 1024]);
    }

    #[test]
    fn the_inside_is_made_of_whole_units() {
        let span = Span { offset: 512, length: 12 * 1024 };
        assert_eq!(inside(limits(0, 4096), 512, span), Span { offset: 4096, length: 8192 });
        assert!(inside(limits(0, 4096), 512, Span { offset: 512, length: 4096 }).is_empty());
        assert!(inside(limits(0, u64::MAX), 512, span).is_empty());
        assert!(inside(limits(2048, 4096), 512, span).is_empty(), "no unit fits into a request");
        assert_eq!(inside(limits(4096, 4096), 512, span).length, 8192);
    }
}
