//! The age of the oldest task of all queues, known without looking at each of them: whoever shows a pool asks for it.

use std::collections::BTreeMap;

use muster_domain::Timestamp;

/// When the oldest task of each queue was asked for, and of how many queues each moment is.
pub(super) struct OldestTimes(BTreeMap<Timestamp, usize>);

impl OldestTimes {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A queue has changed, whose oldest task was asked for at `before` and is now one of `after`.
    pub(super) fn replace(&mut self, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(after) = after {
            *self.0.entry(after).or_default() += 1;
        }
        let Some(before) = before else { return };
        if let Some(queues) = self.0.get_mut(&before) {
            *queues -= 1;
            if *queues == 0 {
                self.0.remove(&before);
            }
        }
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_that_of_the_queues_that_are_left() {
        let (mut times, at) = (OldestTimes::new(), Timestamp::from_millis);
        times.replace(None, Some(at(5)));
        times.replace(None, Some(at(3)));
        times.replace(None, Some(at(3)));
        assert_eq!(times.first(), Some(at(3)));
        times.replace(Some(at(3)), Some(at(7)));
        assert_eq!(times.first(), Some(at(3)), "of two queues one is left");
        times.replace(Some(at(3)), None);
        assert_eq!(times.first(), Some(at(5)));
        times.replace(Some(at(5)), None);
        times.replace(Some(at(7)), None);
        assert_eq!(times.first(), None);
    }
}
