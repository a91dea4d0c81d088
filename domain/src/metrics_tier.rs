//! For how long metrics are kept, and how fine: each tier is the sum of rows of the one before.

use std::time::Duration;

use crate::Timestamp;

crate::words! {
    /// How fine metrics are kept.
    pub enum MetricsTier {
        /// As they were measured, one row an interval; for a day.
        Raw = "raw",
        /// One row for five minutes; for a week.
        FiveMinutes = "5m",
        /// One row an hour; for ninety days.
        Hour = "1h",
    }
}

impl MetricsTier {
    /// The time that a row sums up; none of rows as they were measured.
    pub const fn step(self) -> Option<Duration> {
        match self {
            Self::Raw => None,
            Self::FiveMinutes => Some(Duration::from_mins(5)),
            Self::Hour => Some(Duration::from_hours(1)),
        }
    }

    /// For how long rows are kept.
    pub const fn kept(self) -> Duration {
        match self {
            Self::Raw => Duration::from_hours(24),
            Self::FiveMinutes => Duration::from_hours(7 * 24),
            Self::Hour => Duration::from_hours(90 * 24),
        }
    }

    /// The tier whose rows it sums up.
    pub const fn finer(self) -> Option<Self> {
        match self {
            Self::Raw => None,
            Self::FiveMinutes => Some(Self::Raw),
            Self::Hour => Some(Self::FiveMinutes),
        }
    }
}

/// The end of the step in which this moment is: the first multiple of the step since 1970 that is not before it. A row belongs to the step
/// in which its own end is.
pub fn end_of_step(at: Timestamp, step: Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    let at = at.as_millis();
    let into = at.rem_euclid(step);
    Timestamp::from_millis(if into == 0 { at } else { at.saturating_add(step - into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_belongs_to_the_step_that_ends_with_it_or_after_it() {
        let step = Duration::from_mins(5);
        for (at, end) in [(0, 0), (1, 300_000), (300_000, 300_000), (300_001, 600_000), (-1, 0)] {
            assert_eq!(end_of_step(Timestamp::from_millis(at), step), Timestamp::from_millis(end), "{at}");
        }
    }

    #[test]
    fn each_tier_is_kept_until_the_next_has_summed_it_up() {
        for tier in MetricsTier::ALL {
            if let (Some(finer), Some(step)) = (tier.finer(), tier.step()) {
                assert!(finer.kept() > step * 10, "{tier:?}");
                assert!(finer.kept() < tier.kept(), "{tier:?}");
            }
        }
    }
}
