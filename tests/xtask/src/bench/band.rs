//! A figure with its spread.

use serde::{Deserialize, Serialize};

/// Median, lowest and highest of a figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
pub struct Band {
    /// The middle value; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Band {
    /// `None` without values, or if one of them is no number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }

    /// Of the ratios `a / b`, paired round by round: what changes from round to round hits both.
    pub fn ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| a / b))
    }

    /// Whether `value` lies within the spread.
    pub fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        let band = Band::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((band.median, band.low, band.high), (2.0, 1.0, 3.0));
        assert_eq!(Band::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Band::of([7.0]).unwrap(), Band { median: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(Band::of([]), None);
    }

    #[test]
    fn ratios_are_paired() {
        // Each round is ten times as fast as the one before: medians alone would say 1 or 10.
        let ratio = Band::ratio(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]).unwrap();
        assert_eq!(ratio, Band { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn nothing_is_made_of_a_division_by_zero() {
        assert_eq!(Band::ratio(&[1.0], &[0.0]), None);
        assert_eq!(Band::ratio(&[0.0], &[0.0]), None);
    }

    #[test]
    fn spread_covers_its_ends() {
        let band = Band::of([0.9, 1.1, 1.0]).unwrap();
        assert!(band.covers(0.9) && band.covers(1.1) && !band.covers(1.2));
    }
}
