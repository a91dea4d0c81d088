//! How long to wait before the next agent is ordered for tasks, where those before it came to nothing.

use std::time::{Duration, Instant};

use muster_domain::RestartPolicy;
use muster_domain::time::later;

use crate::backoff;

/// The wait after a first start that failed, at the least, whatever the pool's policy says: each try is an agent in the lists.
const SHORTEST: Duration = Duration::from_millis(200);

/// Why no agent is ordered for a while, and how long that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderWait {
    /// The latest agents failed at their start.
    Failing(Duration),
    /// The latest order was refused, e.g. since the pool is full.
    Refused(Duration),
}

impl OrderWait {
    /// How long it is.
    pub const fn duration(self) -> Duration {
        match self {
            Self::Failing(wait) | Self::Refused(wait) => wait,
        }
    }
}

/// The orders of a pool that were refused, and the first starts of agents that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderBackoff {
    /// Nothing is ordered before.
    not_before: Option<Instant>,
    /// First starts that failed, one after the other.
    failures: u32,
}

impl OrderBackoff {
    /// The first start of an agent worked.
    pub const fn started(&mut self) {
        self.failures = 0;
    }

    /// The first start of an agent failed, e.g. since there is no such program: the next one waits, longer each time. Tasks that
    /// wait must not make agents for ever.
    pub fn failed(&mut self, policy: &RestartPolicy, now: Instant) {
        let (least, most) = (policy.backoff_min.max(SHORTEST), policy.backoff_max.max(SHORTEST));
        self.not_before = Some(later(now, backoff::doubled(least, self.failures, most)));
        self.failures = self.failures.saturating_add(1);
    }

    /// An order was refused: the same one would be, so nothing is ordered for so long.
    pub fn refused(&mut self, pause: Duration, now: Instant) {
        self.not_before = Some(later(now, pause));
    }

    /// For how long nothing is ordered; none where an order may be made now.
    pub fn wait(&self, now: Instant) -> Option<OrderWait> {
        let wait = self.not_before?.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        Some(if self.failures > 0 { OrderWait::Failing(wait) } else { OrderWait::Refused(wait) })
    }

    /// First starts that failed, one after the other.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy(backoff_min: Duration, backoff_max: Duration) -> RestartPolicy {
        RestartPolicy { backoff_min, backoff_max, ..RestartPolicy::default() }
    }

    #[test]
    fn first_starts_that_fail_are_spaced_out_as_restarts_are_and_one_that_works_ends_it() {
        let (mut backoff, now) = (OrderBackoff::default(), Instant::now());
        let mut waits = |policy: &RestartPolicy, times: usize| -> Vec<u128> {
            let mut fail = || {
                backoff.failed(policy, now);
                match backoff.wait(now) {
                    Some(OrderWait::Failing(wait)) => wait.as_millis(),
                    other => panic!("{other:?}"),
                }
            };
            let waits = (0..times).map(|_| fail()).collect();
            backoff.started();
            assert_eq!(backoff.failures(), 0);
            waits
        };
        assert_eq!(waits(&policy(500 * MS, 3_000 * MS), 5), [500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(waits(&policy(MS, 2 * MS), 3), [200, 200, 200], "however short the pool's own is");
    }

    #[test]
    fn what_was_refused_is_ordered_again_when_its_time_is_over() {
        let (mut backoff, now) = (OrderBackoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        backoff.refused(500 * MS, now);
        assert_eq!(backoff.wait(now), Some(OrderWait::Refused(500 * MS)));
        assert_eq!(backoff.wait(now + 500 * MS), None);
    }
}
