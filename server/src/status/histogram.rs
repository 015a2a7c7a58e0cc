//! How long operations take: a histogram that any thread may add to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds. Behind them is one without a bound.
const BOUNDS_MICROS: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Durations, counted in buckets that are the same for all histograms.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// How many durations there are in each bucket; the last one has no upper bound.
    pub counts: [u64; BUCKETS],
    /// The sum of all durations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Adds a duration, to the first bucket whose bound it does not exceed.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| bound * 1_000 < nanos);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What it holds now. Durations that are added meanwhile may be in the counts and not in the
    /// sum yet.
    pub fn buckets(&self) -> Buckets {
        Buckets {
            counts: self.counts.each_ref().map(|count| count.load(Relaxed)),
            sum: self.nanos.load(Relaxed) as f64 / 1e9,
        }
    }
}

impl Buckets {
    /// The upper bounds of all buckets but the last, in seconds.
    pub fn bounds() -> impl Iterator<Item = f64> {
        BOUNDS_MICROS.iter().map(|&micros| micros as f64 / 1e6)
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_nanos(50_001));
        let buckets = histogram.buckets();
        assert_eq!(buckets.counts[..3], [2, 2, 0]);
        assert_eq!(buckets.counts[BUCKETS - 2..], [1, 1]);
        assert_eq!(buckets.count(), 6);
        assert!(
            (buckets.sum - 60.000_152_001).abs() < 1e-9,
            "{}",
            buckets.sum
        );
    }

    #[test]
    fn bounds_grow_and_are_of_buckets_but_the_last() {
        let bounds: Vec<_> = Buckets::bounds().collect();
        assert!(bounds.is_sorted_by(|a, b| a < b) && bounds.len() == BUCKETS - 1);
        assert_eq!((bounds[0], bounds[BUCKETS - 2]), (0.000_05, 30.0));
    }
}
