//! Waiting longer each time.

use std::time::Duration;

/// `first` doubled `tries` times, at most `longest`.
pub fn doubled(first: Duration, tries: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(tries).unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_never_overflows() {
        let wait = |tries| doubled(Duration::from_millis(200), tries, Duration::from_secs(30)).as_millis();
        assert_eq!(
            [wait(0), wait(1), wait(2), wait(7), wait(8), wait(40), wait(u32::MAX)],
            [200, 400, 800, 25_600, 30_000, 30_000, 30_000]
        );
    }
}
