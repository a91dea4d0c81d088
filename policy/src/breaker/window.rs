//! How many attempts ended of late, and how many of them failed.

use std::time::{Duration, Instant};

/// Parts of a window: what leaves it leaves in steps of one of them.
const PARTS: usize = 30;

/// Attempts that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All.
    pub(super) ended: u64,
    /// Those that failed.
    pub(super) failed: u64,
}

/// Counts over a window of time, in a ring of equal parts, so that it takes the same room however much ends.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Where part 0 began.
    begun: Instant,
    /// Length of a part.
    width: Duration,
    /// The part of the latest count, numbered from the beginning.
    latest: u128,
    parts: [Counts; PARTS],
}

impl Window {
    /// An empty window of this length that begins now.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let width = (length / PARTS as u32).max(Duration::from_nanos(1));
        Self { begun: now, width, latest: 0, parts: [Counts::default(); PARTS] }
    }

    /// Counts an attempt, and says what is within the window with it.
    pub(super) fn count(&mut self, failed: bool, now: Instant) -> Counts {
        self.move_to(now);
        let part = &mut self.parts[(self.latest % PARTS as u128) as usize];
        part.ended += 1;
        part.failed += u64::from(failed);
        self.parts.iter().fold(Counts::default(), |sum, part| Counts {
            ended: sum.ended + part.ended,
            failed: sum.failed + part.failed,
        })
    }

    /// Empties the parts that are in the window no more. A time before the latest one counts as that.
    fn move_to(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.begun).as_nanos() / self.width.as_nanos();
        let steps = at.saturating_sub(self.latest).min(PARTS as u128);
        for step in 1..=steps {
            self.parts[((self.latest + step) % PARTS as u128) as usize] = Counts::default();
        }
        self.latest = self.latest.max(at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// All of the window but its oldest part is counted, and nothing from before it.
        #[test]
        fn counts_what_is_in_the_window(attempts in prop::collection::vec((0..40_000_u64, any::<bool>()), 1..60)) {
            let start = Instant::now();
            let length = Duration::from_secs(30);
            let mut window = Window::new(length, start);
            let mut seen: Vec<(Instant, bool)> = Vec::new();
            let mut now = start;
            for (gap, failed) in attempts {
                now += Duration::from_millis(gap / 10);
                seen.push((now, failed));
                let counts = window.count(failed, now);
                let within = |age: Duration| {
                    let of = |only_failed: bool| seen.iter().filter(|(at, failed)| now - *at < age && (*failed || !only_failed)).count() as u64;
                    (of(false), of(true))
                };
                let (least, most) = (within(length - Duration::from_secs(1)), within(length));
                prop_assert!((least.0..=most.0).contains(&counts.ended), "{counts:?} {least:?} {most:?}");
                prop_assert!((least.1..=most.1).contains(&counts.failed), "{counts:?} {least:?} {most:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let start = Instant::now() + Duration::from_secs(1_000);
        let mut window = Window::new(Duration::from_secs(30), start);
        window.count(true, start + Duration::from_secs(10));
        let counts = window.count(false, start - Duration::from_secs(5));
        assert_eq!(counts, Counts { ended: 2, failed: 1 });
    }
}
