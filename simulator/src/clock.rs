//! Virtual time: whole ticks since the simulation began.

use std::time::Duration;

/// A moment, or a length of time, in ticks. A `u32` holds 13 years of them.
pub type Tick = u32;

/// Ticks of a second: what happens within a tenth of a second happens together.
pub const PER_SECOND: u32 = 10;

/// So many ticks, rounded up: nothing takes less than it does.
pub fn ticks(time: Duration) -> Tick {
    let tenths = time.as_millis().div_ceil(u128::from(1_000 / PER_SECOND));
    Tick::try_from(tenths).unwrap_or(Tick::MAX)
}

/// So many seconds as ticks, rounded up; at least one.
pub fn ticks_of_seconds(seconds: f64) -> Tick {
    // A float that is too great becomes the greatest number.
    ((seconds * f64::from(PER_SECOND) - 1e-9).ceil() as Tick).max(1)
}

/// A length of time in seconds.
pub fn seconds(ticks: Tick) -> f64 {
    f64::from(ticks) / f64::from(PER_SECOND)
}

/// A length of time.
pub const fn duration(ticks: Tick) -> Duration {
    Duration::from_millis(ticks as u64 * (1_000 / PER_SECOND) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_to_ticks() {
        assert_eq!([0, 1, 100, 101].map(|millis| ticks(Duration::from_millis(millis))), [0, 1, 1, 2]);
        assert_eq!([0.0, 0.1, 0.11, 600.0].map(ticks_of_seconds), [1, 1, 2, 6_000]);
        assert_eq!((seconds(15), duration(15)), (1.5, Duration::from_millis(1_500)));
    }
}
