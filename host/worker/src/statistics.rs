//! A device's numbers in the words of the link.

use lunbox_device::{ClassStatistics, Histogram, Statistics};
use lunbox_wire::DeviceStatistics;

/// As the supervisor is told.
pub(crate) fn told(statistics: &Statistics) -> DeviceStatistics {
    DeviceStatistics {
        read: class(&statistics.read),
        write: class(&statistics.write),
        flush: class(&statistics.flush),
        other: class(&statistics.other),
        in_flight_max: statistics.in_flight_max,
        sampled_every: statistics.sampled_every,
    }
}

fn class(class: &ClassStatistics) -> lunbox_wire::ClassStatistics {
    lunbox_wire::ClassStatistics {
        commands: class.commands,
        errors: class.errors,
        bytes: class.bytes,
        queue: histogram(&class.queue),
        service: histogram(&class.service),
    }
}

/// Most buckets are empty, above all the last ones.
fn histogram(histogram: &Histogram) -> lunbox_wire::Histogram {
    let used = histogram.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    lunbox_wire::Histogram { sum_ns: histogram.sum_ns, buckets: histogram.counts[..used].to_vec() }
}

/// Both sides mean the same bucket.
const _: () = assert!(lunbox_device::HISTOGRAM_BOUNDS == lunbox_wire::HISTOGRAM_BOUNDS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_buckets_at_the_end_are_left_out_and_others_keep_their_place() {
        let mut counts = [0; lunbox_device::HISTOGRAM_BOUNDS + 1];
        assert!(histogram(&Histogram { sum_ns: 0, counts }).buckets.is_empty());
        counts[3] = 7;
        let told = histogram(&Histogram { sum_ns: 42, counts });
        assert_eq!((told.sum_ns, told.buckets), (42, vec![0, 0, 0, 7]));
    }
}
