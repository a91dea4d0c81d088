//! How long many things took, counted in classes, so that the counts of several times add up.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Classes between a duration and its double, as a power of two: eight, so that what is read is within 7% of what was counted.
const BITS: u32 = 3;

/// Durations counted in classes, each a sixteenth to an eighth wider than the one below it, from a microsecond on. What was counted in
/// several times adds up, and percentiles can be read of the sum, which those of the parts do not give.
///
/// Written as `CLASS:COUNT` with blanks between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurationHistogram(BTreeMap<u16, u64>);

impl DurationHistogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        self.add_many(took, 1);
    }

    /// Counts so many that took the same time.
    pub fn add_many(&mut self, took: Duration, count: u64) {
        if count > 0 {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let sum = self.0.entry(class_of(micros)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in &other.0 {
            let sum = self.0.entry(*class).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// What was counted since these were read of the same counter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let rest = |(class, count): (&u16, &u64)| {
            let rest = count.saturating_sub(earlier.0.get(class).copied().unwrap_or_default());
            (rest > 0).then_some((*class, rest))
        };
        Self(self.0.iter().filter_map(rest).collect())
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What this share of them, 0 to 1, did not exceed: the middle of the class in which that one is; none of nothing.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        // By the nearest rank: the first one up to which there are that many.
        let rank = ((share.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).saturating_sub(1);
        let mut below = 0_u64;
        let found = self.0.iter().find(|(_, count)| {
            below = below.saturating_add(**count);
            below > rank
        });
        found.map(|(class, _)| Duration::from_micros(middle_of(*class)))
    }
}

/// The class of a number of microseconds: where its highest bit is, and the bits after it.
fn class_of(micros: u64) -> u16 {
    // From 2^BITS on every class is a range; the numbers below are not told apart from it.
    let number = micros.saturating_add(1 << BITS);
    let top = number.ilog2();
    let low = (number >> (top - BITS)) & ((1 << BITS) - 1);
    (((top - BITS) << BITS) as u16) | low as u16
}

/// The middle of a class, in microseconds.
fn middle_of(class: u16) -> u64 {
    let (shift, low) = (u32::from(class >> BITS).min(60), u64::from(class) & ((1 << BITS) - 1));
    let start = ((1 << BITS) + low) << shift;
    let width = 1_u64 << shift;
    (start + width / 2).saturating_sub(1 << BITS)
}

impl fmt::Display for DurationHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (class, count)) in self.0.iter().enumerate() {
            write!(f, "{}{class}:{count}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Why a text is no [`DurationHistogram`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CLASS:COUNT is expected, not {0:?}")]
pub struct InvalidHistogram(String);

impl FromStr for DurationHistogram {
    type Err = InvalidHistogram;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |part: &str| {
            let (class, count) = part.split_once(':')?;
            Some((class.parse().ok()?, count.parse().ok()?))
        };
        let parts = text.split(' ').filter(|part| !part.is_empty());
        parts.map(|part| one(part).ok_or_else(|| InvalidHistogram(part.to_owned()))).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> DurationHistogram {
        let mut histogram = DurationHistogram::default();
        times.into_iter().for_each(|micros| histogram.add(Duration::from_micros(micros)));
        histogram
    }

    #[test]
    fn what_is_read_is_near_to_what_was_counted() {
        for micros in (0..62).flat_map(|bit| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, (2 << bit) - 1]) {
            let read = of([micros]).quantile(0.5).expect("one").as_micros() as f64;
            let off = (read - micros as f64).abs();
            assert!(off <= 1.0 || off / micros as f64 <= 0.07, "{micros} reads {read}");
        }
        assert!(of([0]).quantile(0.5).expect("one") <= Duration::from_micros(1));
        assert_eq!(of([u64::MAX]).count(), 1, "longer than anything is counted too");
    }

    #[test]
    fn classes_rise_with_what_they_hold() {
        let classes: Vec<u16> = (0..100_000).map(class_of).collect();
        assert!(classes.is_sorted());
        assert_eq!(class_of(0), 0);
    }

    #[test]
    fn quantiles_are_of_all_that_was_counted() {
        let histogram = of((1..=100).map(|n| n * 1_000));
        let read = |share| histogram.quantile(share).expect("some").as_secs_f64() * 1e3;
        assert!((read(0.5) - 50.0).abs() < 4.0, "{}", read(0.5));
        assert!((read(0.99) - 99.0).abs() < 7.0, "{}", read(0.99));
        assert!(read(0.0) < 1.1 && read(1.0) > 93.0);
        for (count, p50, p99) in [(1, 1, 1), (2, 1, 2), (10, 5, 10), (100, 50, 99)] {
            let few = of((1..=count).map(|n| n * 1_000_000));
            let read = |share| few.quantile(share).expect("some").as_secs_f64();
            assert!(
                (read(0.5) / p50 as f64 - 1.0).abs() < 0.07 && (read(0.99) / p99 as f64 - 1.0).abs() < 0.07,
                "{count}"
            );
        }
        assert_eq!(DurationHistogram::default().quantile(0.5), None);
    }

    #[test]
    fn many_of_one_time_are_counted_as_one_by_one() {
        let mut many = DurationHistogram::default();
        many.add_many(Duration::from_micros(30_000), 3);
        many.add_many(Duration::from_secs(1), 0);
        assert_eq!(many, of([30_000; 3]));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let (mut one, other) = (of([10, 20, 30_000]), of([10, 5_000_000]));
        one.merge(&other);
        assert_eq!(one, of([10, 10, 20, 30_000, 5_000_000]));
        assert_eq!(one.count(), 5);
        assert_eq!((one.since(&other), one.since(&one)), (of([10, 20, 30_000]), DurationHistogram::default()));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for histogram in [DurationHistogram::default(), of([5]), of([5, 5, 1_000, 86_400_000_000])] {
            assert_eq!(histogram.to_string().parse(), Ok(histogram));
        }
        assert_eq!(of([0, 0]).to_string(), "0:2");
        for bad in ["x", "1", "1:", ":1", "1:2:3", "70000:1", "1:-1"] {
            assert!(bad.parse::<DurationHistogram>().is_err(), "{bad}");
        }
    }
}
