//! What was seen and the store refuses even without the words that came with it. It is so all the same, so it is tried again, ever
//! more rarely, and an alert says it meanwhile.

use std::time::{Duration, Instant};

use muster_domain::PoolName;

use crate::alerts::{AlertKind, Alerts};

/// Between the first two tries, and the longest that it becomes.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Things that were set aside; they are tried again together.
pub(super) struct SetAside<T> {
    items: Vec<T>,
    pause: Duration,
    again: Option<Instant>,
    /// Whether an alert says so.
    told: bool,
}

impl<T> Default for SetAside<T> {
    fn default() -> Self {
        Self { items: Vec::new(), pause: FIRST_PAUSE, again: None, told: false }
    }
}

impl<T> SetAside<T> {
    /// Sets one aside; whether it is the first of a time in which some are.
    pub(super) fn put(&mut self, item: T, now: Instant) -> bool {
        self.items.push(item);
        if self.again.is_none() {
            self.again = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        !std::mem::replace(&mut self.told, true)
    }

    /// All of them, if their time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<T> {
        if self.again.is_none_or(|again| again > now) {
            return Vec::new();
        }
        self.again = None;
        std::mem::take(&mut self.items)
    }

    /// Those that wait.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// After all that was due was tried: whether the last of them was taken by this.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.told && self.items.is_empty();
        if over {
            *self = Self::default();
        }
        over
    }
}

/// Tells that the store refuses what was seen of `whom`, for as long as nobody does something about it. `subject` is what the alert
/// is of.
pub(super) fn tell_refused(alerts: &Alerts, pool: &PoolName, subject: &str, whom: &str, why: &str, is_first: bool) {
    let message =
        format!("the store refuses what was seen of {whom}: {why}; it is tried again, at most a minute apart");
    if is_first {
        tracing::warn!(pool.name = %pool, "{message}");
    }
    alerts.raise(AlertKind::Unstorable, Some(pool), subject, message);
}

/// It has taken all of them.
pub(super) fn tell_taken(alerts: &Alerts, pool: &PoolName, subject: &str) {
    alerts.clear(AlertKind::Unstorable, Some(pool), subject);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_tried_ever_more_rarely() {
        let (mut aside, mut now) = (SetAside::default(), Instant::now());
        assert!(aside.put('a', now), "the first");
        assert!(!aside.put('b', now));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let since = now;
            while aside.take_due(now).is_empty() {
                now += Duration::from_secs(1);
            }
            pauses.push(now.duration_since(since).as_secs());
            assert!(aside.take_due(now).is_empty(), "once");
            assert!(!aside.put('a', now), "it is told already");
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        assert!(!aside.is_over());
        now += LONGEST_PAUSE;
        assert_eq!(aside.take_due(now), ['a']);
        assert!(aside.is_over() && !aside.is_over(), "once");
        assert!(aside.put('a', now), "another time");
        assert_eq!(aside.take_due(now + FIRST_PAUSE), ['a']);
    }
}
