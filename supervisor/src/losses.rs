//! Workers that were lost, of all pools. One now and then is mended and forgotten; several within a minute have one cause, which
//! is a person's business: somebody kills them, or the machine has no memory left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a loss is remembered.
const WINDOW: Duration = Duration::from_secs(60);

/// The losses of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    recent: VecDeque<Instant>,
    many: bool,
}

impl Losses {
    /// One more was lost. How many that makes, where it is not the only one.
    pub(crate) fn add(&mut self, now: Instant) -> Option<usize> {
        self.forget(now);
        self.recent.push_back(now);
        let is_one_of_many = self.recent.len() > 1;
        self.many |= is_one_of_many;
        is_one_of_many.then_some(self.recent.len())
    }

    /// Whether there were many, and a minute has passed since the last one. Said once.
    pub(crate) fn are_over(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.recent.is_empty() && std::mem::take(&mut self.many)
    }

    fn forget(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|lost| now.saturating_duration_since(*lost) >= WINDOW) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_within_a_minute_are_many_until_a_minute_was_quiet() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(losses.add(start), None, "one is nothing");
        assert!(!losses.are_over(after(60)), "nothing was said");
        assert_eq!(losses.add(after(60)), None, "the first is forgotten");
        assert_eq!((losses.add(after(61)), losses.add(after(90))), (Some(2), Some(3)));
        assert!(!losses.are_over(after(149)));
        assert!(losses.are_over(after(150)) && !losses.are_over(after(151)));
    }
}
