//! What is counted while a simulation goes on.

use muster_domain::{DurationHistogram, TierName};

use crate::clock::{Tick, duration};
use crate::report::TimelinePoint;

/// Counts.
#[derive(Default)]
pub(super) struct WorldLedger {
    /// Tasks that started at once: most of them, and so not looked up in the histogram.
    at_once: u64,
    waits: DurationHistogram,
    pub(super) late: u64,
    pub(super) finished: u64,
    /// Worker ticks of each tier: base, spot, burst.
    worker_ticks: [u64; 3],
    pub(super) started_workers: u64,
    pub(super) peak_workers: u32,
    pub(super) peak_running: u32,
    /// Ticks in which slots were busy: the sum over the slots.
    pub(super) busy_ticks: u64,
    pub(super) killed: u64,
    pub(super) lost: u64,
    /// Spot workers that were taken away, and those of them that cost a task.
    pub(super) reclaimed: u64,
    pub(super) not_survived: u64,
    pub(super) requeued: u64,
    pub(super) timeline: Vec<TimelinePoint>,
}

impl WorldLedger {
    /// A task has waited for so long.
    pub(super) fn waited(&mut self, wait: Tick, count: u64, late_after: Tick) {
        if wait == 0 {
            self.at_once += count;
        } else {
            self.waits.add_many(duration(wait), count);
        }
        self.late += if wait > late_after { count } else { 0 };
    }

    /// A worker of a tier was there for so long.
    pub(super) fn used(&mut self, tier: TierName, time: Tick) {
        self.worker_ticks[tier as usize] += u64::from(time);
    }

    /// How long workers of a tier were there, in hours.
    pub(super) fn worker_hours(&self, tier: TierName) -> f64 {
        self.worker_ticks[tier as usize] as f64 / (3_600.0 * f64::from(crate::clock::PER_SECOND))
    }

    /// All waits.
    pub(super) fn waits(&self) -> DurationHistogram {
        let mut waits = self.waits.clone();
        waits.add_many(std::time::Duration::ZERO, self.at_once);
        waits
    }
}
