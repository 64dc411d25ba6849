//! A figure with its spread.

use serde_json::{Value, json};

/// Median, lowest and highest of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// The middle value; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Band {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median, low, high })
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({"median": self.median, "low": self.low, "high": self.high})
    }
}

impl std::fmt::Display for Band {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.2} [{:.2}..{:.2}]", self.median, self.low, self.high))
    }
}

#[cfg(test)]
mod tests {
    use super::Band;

    #[test]
    fn ends_and_middle() {
        assert_eq!(Band::of([3.0, 1.0, 2.0]), Some(Band { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Band::of([4.0, 1.0, 3.0, 2.0]).map(|band| band.median), Some(2.5));
        assert_eq!(Band::of([]), None);
        assert_eq!(format!("{:>20}|", Band::of([1.0]).unwrap()), "   1.00 [1.00..1.00]|");
    }
}
