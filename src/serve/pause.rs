//! The pause between two lives as the leader.

use std::time::Duration;

use muster_policy::backoff::doubled;

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause: a cause that is gone is noticed within it.
const LONGEST: Duration = Duration::from_secs(15);
/// A life that lasted this long was a healthy one, after which the pauses begin again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Doubles from 250 ms to 15 s while lives are short, so that a cause that stays (a store that answers nothing but its
/// opening, a fault that ends a keeper at once) does not become a busy loop of workers adopted and let go.
#[derive(Default)]
pub(super) struct Pauses {
    short_lives: u32,
}

impl Pauses {
    /// How long to wait after a life that lasted `lived`.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY {
            self.short_lives = 0;
        }
        let pause = doubled(FIRST, self.short_lives, LONGEST);
        self.short_lives = self.short_lives.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lives_are_followed_by_ever_longer_pauses() {
        let mut pauses = Pauses::default();
        let waits: Vec<u128> = (0..8).map(|_| pauses.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!(pauses.after(HEALTHY), FIRST, "a healthy life forgives");
        assert_eq!(pauses.after(Duration::ZERO), FIRST * 2);
    }
}
