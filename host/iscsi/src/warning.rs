//! Warnings about what others do, which they could make us repeat for ever.

use std::time::{Duration, Instant};

/// Between two warnings of the same kind.
const QUIET: Duration = Duration::from_secs(10);

/// A warning that is not repeated too often.
#[derive(Debug, Default)]
pub(crate) struct Warning {
    last: Option<Instant>,
    kept_back: u64,
}

impl Warning {
    /// Whether to warn now; if so, how many times it was not.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_and_counts_what_it_kept_back() {
        let start = Instant::now();
        let mut warning = Warning::default();
        assert_eq!(warning.due(start), Some(0));
        assert_eq!(warning.due(start + QUIET / 2), None);
        assert_eq!(warning.due(start + QUIET / 2), None);
        assert_eq!(warning.due(start + QUIET), Some(2));
    }
}
