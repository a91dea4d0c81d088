//! How fast a queue moves: rates over the last minute, and how long the latest tasks waited and ran.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use muster_domain::pool_metrics::WorkFigures;

use crate::prometheus::TaskTotals;

/// Seconds over which rates are measured.
const SECONDS: usize = 60;
/// Samples of which percentiles are made, at the most.
const SAMPLES: usize = 2_048;
/// Older samples say nothing about now.
const OLDEST: Duration = Duration::from_secs(600);

/// All that is measured of a pool's queue.
pub(super) struct Meter {
    pub(super) rate_in: EventRate,
    pub(super) rate_out: EventRate,
    /// How long tasks waited for their first attempt.
    pub(super) waits: Samples,
    pub(super) run_times: Samples,
    /// All that was done since the keeper began.
    pub(super) work: WorkFigures,
    /// The same for Prometheus.
    pub(super) totals: TaskTotals,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rate_in: EventRate::new(now),
            rate_out: EventRate::new(now),
            waits: Samples::default(),
            run_times: Samples::default(),
            work: WorkFigures::default(),
            totals: TaskTotals::default(),
        }
    }
}

/// Events per second over the last minute.
#[derive(Clone, Debug)]
pub(crate) struct EventRate {
    since: Instant,
    counts: [u32; SECONDS],
    /// The second, since `since`, that was counted last.
    latest: u64,
}

impl EventRate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, counts: [0; SECONDS], latest: 0 }
    }

    pub(crate) fn count(&mut self, events: usize, now: Instant) {
        let second = self.move_to(now);
        let slot = &mut self.counts[second];
        *slot = slot.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
    }

    /// Events per second: over the last minute, or over the time since the start where that is shorter.
    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        let mut rate = self.clone();
        rate.move_to(now);
        let seconds = now.saturating_duration_since(self.since).as_secs_f64().clamp(1.0, SECONDS as f64);
        rate.counts.iter().map(|count| f64::from(*count)).sum::<f64>() / seconds
    }

    /// Empties the slots of the seconds that have passed, and returns that of this one.
    fn move_to(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.since).as_secs();
        let slot = |second: u64| usize::try_from(second % SECONDS as u64).unwrap_or(0);
        let passed = second.saturating_sub(self.latest).min(SECONDS as u64);
        for back in 0..passed {
            self.counts[slot(second - back)] = 0;
        }
        self.latest = self.latest.max(second);
        slot(second)
    }
}

/// Two figures of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    /// The median.
    pub(crate) p50: Duration,
    /// What 99 of 100 stay below.
    pub(crate) p99: Duration,
}

/// The latest durations of one kind.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<(Instant, Duration)>);

impl Samples {
    pub(crate) fn add(&mut self, took: Duration, now: Instant) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    pub(crate) fn percentiles(&self, now: Instant) -> Option<Percentiles> {
        let young = |at: &Instant| now.saturating_duration_since(*at) <= OLDEST;
        let mut sorted: Vec<Duration> = self.0.iter().filter(|(at, _)| young(at)).map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(Percentiles { p50: sorted[last / 2], p99: sorted[last * 99 / 100] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut rate = EventRate::new(start);
        for second in 0..120 {
            rate.count(10, at(second));
        }
        assert!((rate.per_second(at(119)) - 10.0).abs() < 0.2);
        assert!((rate.per_second(at(149)) - 5.0).abs() < 0.2, "half of the minute was quiet");
        assert_eq!(rate.per_second(at(1_000)), 0.0);
        rate.count(60, at(1_001));
        assert!((rate.per_second(at(1_001)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_young_queue_is_measured_over_its_own_time() {
        let start = Instant::now();
        let mut rate = EventRate::new(start);
        rate.count(30, start);
        assert!((rate.per_second(start + Duration::from_secs(3)) - 10.0).abs() < 0.01);
    }

    #[test]
    fn percentiles_are_of_what_is_young() {
        let start = Instant::now();
        let mut samples = Samples::default();
        assert_eq!(samples.percentiles(start), None);
        (1..=100).for_each(|n| samples.add(Duration::from_millis(n), start));
        let found = samples.percentiles(start).expect("samples");
        assert_eq!((found.p50, found.p99), (Duration::from_millis(50), Duration::from_millis(99)));
        assert_eq!(samples.percentiles(start + OLDEST + Duration::from_secs(1)), None);
    }
}
