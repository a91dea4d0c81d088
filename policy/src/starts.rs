//! How long to wait before the next worker of a pool is started, where those before it came to nothing.
//!
//! A start has failed where there is no process, where it dies before it is ready, and where it dies soon after that: a worker
//! that crashes right after it is ready must not be started again as fast as that.

use std::time::{Duration, Instant};

use muster_domain::time::later;

use crate::backoff;

/// The wait after the first failed start; it doubles up to the longest.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// A worker that has ended and was not told to.
#[derive(Clone, Copy, Debug)]
pub struct EarlyEnd {
    /// When it was started.
    pub begun: Instant,
    /// Whether it was ever ready.
    pub ready: bool,
}

/// The failed starts of a pool that still count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Starts {
    failures: u32,
    latest: Option<FailedStart>,
}

#[derive(Clone, Copy, Debug)]
struct FailedStart {
    at: Instant,
    not_before: Instant,
}

impl Starts {
    /// Judges a loss: when the next worker may be started. A worker that was ready for `steady` or longer was no failed start,
    /// and after as long without one all are forgotten.
    pub fn lost(&mut self, loss: EarlyEnd, steady: Duration, now: Instant) -> Instant {
        let may_start = self.latest.map_or(now, |latest| latest.not_before);
        let is_old = loss.ready && now >= later(loss.begun, steady);
        // Of workers that die together only the first counts: the others were started before, and say nothing new.
        let is_known = self.latest.is_some_and(|latest| loss.begun < latest.at);
        if is_old || is_known {
            return may_start;
        }
        if now >= later(may_start, steady) {
            self.failures = 0;
        }
        let wait = match (loss.ready, self.failures) {
            // One that was ready may have been killed; its agents move without a wait.
            (true, 0) => Duration::ZERO,
            (true, before) => backoff::doubled(FIRST, before - 1, LONGEST),
            (false, before) => backoff::doubled(FIRST, before, LONGEST),
        };
        self.failures = self.failures.saturating_add(1);
        let not_before = now + wait;
        self.latest = Some(FailedStart { at: now, not_before });
        not_before
    }

    /// When a worker may be started; `None` where no start has failed.
    pub fn not_before(&self) -> Option<Instant> {
        self.latest.map(|latest| latest.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Duration = Duration::from_secs(60);
    const MS: Duration = Duration::from_millis(1);

    /// Starts as soon as it may, and loses the worker after `life`; returns the waits.
    fn waits(starts: &mut Starts, from: Instant, ready: bool, life: Duration, times: usize) -> Vec<u128> {
        let mut begun = from;
        let mut waits = Vec::new();
        for _ in 0..times {
            let now = begun + life;
            let next = starts.lost(EarlyEnd { begun, ready }, STEADY, now);
            waits.push((next - now).as_millis());
            begun = next;
        }
        waits
    }

    #[test]
    fn starts_that_fail_are_spaced_out() {
        let failed = waits(&mut Starts::default(), Instant::now(), false, 5 * MS, 10);
        assert_eq!(failed, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn one_that_dies_soon_after_it_was_ready_is_replaced_at_once_and_the_next_ones_are_not() {
        let failed = waits(&mut Starts::default(), Instant::now(), true, 5 * MS, 5);
        assert_eq!(failed, [0, 200, 400, 800, 1_600]);
    }

    #[test]
    fn workers_that_die_together_are_one_failure() {
        let (mut starts, begun) = (Starts::default(), Instant::now());
        let now = begun + Duration::from_secs(5);
        for _ in 0..20 {
            assert_eq!(starts.lost(EarlyEnd { begun, ready: true }, STEADY, now), now);
        }
        let begun = now + MS;
        let now = begun + Duration::from_secs(1);
        for _ in 0..20 {
            assert_eq!(starts.lost(EarlyEnd { begun, ready: true }, STEADY, now), now + 200 * MS);
        }
    }

    #[test]
    fn a_steady_worker_is_no_failed_start_and_time_forgets() {
        let (mut starts, begun) = (Starts::default(), Instant::now());
        waits(&mut starts, begun, true, 5 * MS, 4);
        let known = starts.not_before().expect("a failure");
        let old = EarlyEnd { begun: known + MS, ready: true };
        assert_eq!(starts.lost(old, STEADY, known + MS + STEADY), known, "it changes nothing");
        let young = EarlyEnd { begun: known + 2 * STEADY, ready: true };
        let now = young.begun + MS;
        assert_eq!(starts.lost(young, STEADY, now), now, "the first one again");
    }
}
