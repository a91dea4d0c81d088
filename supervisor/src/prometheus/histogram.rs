//! Times in fixed buckets.

use std::time::Duration;

/// The upper bounds of the buckets, in seconds: tasks take from milliseconds to a day.
pub const BOUNDS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
    7200.0, 86400.0,
];

/// How long many things took. It adds up, and only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecondsHistogram {
    /// Of each bucket alone; the last one is without a bound.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl SecondsHistogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds all of another one.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Each bound with how many took so long at the most; infinity at last, with all.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts).scan(0, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_all_that_took_no_longer() {
        let mut histogram = SecondsHistogram::default();
        for millis in [1, 2, 1_000, 1_001, 100_000_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let up_to = |bound: f64| histogram.buckets().find(|(found, _)| *found == bound).map(|(_, count)| count);
        assert_eq!([0.001, 0.005, 0.5, 1.0, 2.5, 86400.0].map(up_to), [1, 2, 2, 3, 4, 4].map(Some));
        assert_eq!(up_to(f64::INFINITY), Some(histogram.count()));
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count(), twice.sum()), (10, Duration::from_millis(2 * 100_002_004)));
    }
}
