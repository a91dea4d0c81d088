//! Carries a target out: launches workers and ends them, tier by tier.

use muster_domain::{CapacityTiers, TierName, Words};
use muster_policy::tiers::{
    CapacityDemand, FailedSource, SOURCE_PAUSE, TierCounts, mean_price, next_source, workers_of,
};

use super::fleet::{FleetCounts, WorkerRef};
use super::{DismissalCause, Occasion, World};
use crate::clock::{Tick, ticks, ticks_of_seconds};
use crate::load::shape::exponential;
use crate::scaler::{Departure, Scaler};
use crate::setup::Setup;

/// The tiers in the order in which they are emptied: the dear one first, what is always there last.
const EMPTIED: [TierName; 3] = [TierName::Burst, TierName::Spot, TierName::Base];

/// What is to be there, and what can't be had.
pub(super) struct Capacity {
    target: u32,
    failed: Vec<FailedSource>,
    /// Until when each of them is left alone.
    until: Vec<Tick>,
    rng: fastrand::Rng,
}

impl Capacity {
    pub(super) fn new(setup: &Setup) -> Self {
        let rng = fastrand::Rng::with_seed(setup.seed);
        Self { target: setup.floor(), failed: Vec::new(), until: Vec::new(), rng }
    }

    pub(super) const fn target(&self) -> u32 {
        self.target
    }

    pub(super) const fn set_target(&mut self, target: u32) {
        self.target = target;
    }

    /// Spot took a worker away: the source that it would be launched from next has none for a while.
    pub(super) fn spot_failed(&mut self, tiers: &CapacityTiers, now: Tick) {
        if let Some(source) = next_source(tiers, TierName::Spot, &self.failed) {
            self.failed.push(FailedSource { tier: TierName::Spot, source });
            self.until.push(now + ticks(SOURCE_PAUSE));
        }
    }

    /// Asks sources again whose pause is over.
    fn retry(&mut self, now: Tick) {
        while self.until.first().is_some_and(|until| *until <= now) {
            self.until.remove(0);
            self.failed.remove(0);
        }
    }

    /// What a worker costs an hour in the mean; none where that is nothing.
    pub(super) fn price(&self, tiers: &CapacityTiers, counts: &FleetCounts) -> Option<f64> {
        mean_price(tiers, counts.taking)
    }
}

impl World<'_> {
    /// Launches and ends workers until there are as many as there are to be, if that is not so already.
    pub(super) fn carry_out(&mut self, scaler: &dyn Scaler) {
        self.capacity.retry(self.now);
        let there = self.fleet.counts().taking;
        if there.total() == self.capacity.target {
            return;
        }
        let planned = self.plan(there);
        let lacking = self.capacity.target.saturating_sub(there.total());
        self.launch(there, planned, lacking);
        let excess = self.fleet.counts().taking.total().saturating_sub(self.capacity.target);
        if excess > 0 {
            self.shrink(excess, planned, scaler.departure());
        }
    }

    fn plan(&self, there: TierCounts) -> TierCounts {
        let demand = CapacityDemand {
            target: self.capacity.target,
            queue: u32::try_from(self.backlog.tasks()).unwrap_or(u32::MAX),
            is_stranded: false,
            running: there,
            failed: &self.capacity.failed,
        };
        workers_of(&self.setup.tiers, &demand)
    }

    /// Burst that stood in for another tier gives its place back, once that one gives workers again: it drains.
    pub(super) fn rebalance(&mut self) {
        let there = self.fleet.counts().taking;
        if there.burst == 0 || there.total() != self.capacity.target {
            return;
        }
        let planned = self.plan(there);
        let over = there.burst.saturating_sub(planned.burst);
        self.launch(there, planned, over);
        for worker in self.fleet.idlest_of(TierName::Burst, over) {
            self.dismiss(worker, None);
        }
    }

    /// Launches up to so many workers of the tiers that have fewer than is planned.
    fn launch(&mut self, there: TierCounts, planned: TierCounts, most: u32) {
        let mut lacking = most;
        for name in TierName::all() {
            let Some(tier) = self.setup.tiers.get(name) else { continue };
            let count = planned.get(name).saturating_sub(there.get(name)).min(lacking);
            lacking -= count;
            for _ in 0..count {
                let worker = self.fleet.launch(name, self.now);
                self.calendar.add(ticks(tier.start_time), Occasion::Ready(worker));
                if name == TierName::Spot && self.setup.reclaims_per_hour > 0.0 {
                    let hours = exponential(&mut self.capacity.rng) / self.setup.reclaims_per_hour;
                    self.calendar.add(ticks_of_seconds(hours * 3_600.0), Occasion::Reclaimed(worker));
                }
            }
            self.ledger.started_workers += u64::from(count);
        }
        let counts = self.fleet.counts();
        self.ledger.peak_workers = self.ledger.peak_workers.max(counts.starting + counts.ready + counts.leaving);
    }

    fn shrink(&mut self, excess: u32, planned: TierCounts, departure: Departure) {
        let (victims, bound) = match departure {
            Departure::After(time) => (self.fleet.newest(excess), Some((time, DismissalCause::ScaleIn))),
            Departure::WhenEmpty => (self.idlest(excess, planned), None),
        };
        for worker in victims {
            self.dismiss(worker, bound);
        }
    }

    /// Those that do nothing: first of tiers that have more than is planned, then of any; then the idlest of all.
    fn idlest(&self, excess: u32, planned: TierCounts) -> Vec<WorkerRef> {
        let there = self.fleet.counts().taking;
        let mut victims: Vec<WorkerRef> = Vec::new();
        let rest = |victims: &Vec<WorkerRef>| excess - victims.len() as u32;
        for name in EMPTIED {
            let over = there.get(name).saturating_sub(planned.get(name));
            victims.extend(self.fleet.idle(name, over.min(rest(&victims))));
        }
        if rest(&victims) == 0 {
            return victims;
        }
        let idlest = self.fleet.idlest(excess);
        let more: Vec<WorkerRef> = idlest.into_iter().filter(|worker| !victims.contains(worker)).collect();
        let room = rest(&victims) as usize;
        victims.extend(more.into_iter().take(room));
        victims
    }
}
