//! Of which tier of the pool's capacity the next workers are, and from where they come.

use std::time::Instant;

use muster_domain::tiers::WorkerSource;
use muster_domain::time::later;
use muster_domain::{CapacityTiers, ProcessId, TierName};
use muster_policy::tiers::{
    CapacityDemand, FailedSource, SOURCE_PAUSE, TierCounts, cost_per_hour, next_workers, plan, room, room_of_sources,
    workers_of,
};
use muster_store::WorkerSpec;

use super::{Pool, PoolWorkers};

/// What decides over tiers beside the workers that there are.
#[derive(Default)]
pub(super) struct TierState {
    /// Tasks that wait, as of the last full pass.
    queue: u32,
    /// Whether an agent that had a slot finds none, as of then.
    is_stranded: bool,
    /// Sources that gave no worker or took one away, each until it is asked again.
    paused: Vec<(FailedSource, Instant)>,
}

impl TierState {
    fn failed(&self) -> Vec<FailedSource> {
        self.paused.iter().map(|(source, _)| source.clone()).collect()
    }
}

impl PoolWorkers {
    /// As they are to be ordered: the next so many workers. Fewer where the pool's tiers hold no more.
    pub(in crate::keeper) fn next_specs(&self, count: usize, pool: &Pool) -> Vec<WorkerSpec> {
        let spec = |source, tier| WorkerSpec { runtime_version: self.runtime_version(pool), source, tier };
        let config = &pool.spec.config;
        let Some(tiers) = &config.tiers else {
            let source = WorkerSource { launcher: config.launcher.clone(), instance_type: None };
            return vec![spec(source, None); count];
        };
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        let next = self.by_demand(|demand| next_workers(tiers, demand, wanted));
        next.into_iter().map(|(tier, source)| spec(source, Some(tier))).collect()
    }

    /// How many workers the pool's tiers hold beside those that there are; without tiers there is no such bound.
    pub(in crate::keeper) fn tier_room(&self, pool: &Pool) -> u32 {
        let room = |tiers: &CapacityTiers| self.by_demand(|demand| room(tiers, demand));
        pool.spec.config.tiers.as_ref().map_or(u32::MAX, room)
    }

    /// Why the pool's tiers hold no more workers now, if so.
    pub(in crate::keeper) fn tiers_full(&self, pool: &Pool) -> Option<String> {
        let tiers = pool.spec.config.tiers.as_ref().filter(|_| self.tier_room(pool) == 0)?;
        let target = self.totals.of_tiers.total().saturating_add(1);
        let planned = self.by_demand(|demand| plan(tiers, &CapacityDemand { target, ..*demand }));
        Some(format!("its tiers hold no more now ({})", planned.reason))
    }

    /// How many workers lack until each of the pool's tiers has its minimum.
    pub(in crate::keeper) fn tier_lack(&self, pool: &Pool) -> u32 {
        let taking = self.totals.taking_of_tiers;
        let lack = |tiers: &CapacityTiers| -> u32 {
            tiers.used().map(|(name, tier)| tier.min_workers.saturating_sub(taking.get(name))).sum()
        };
        pool.spec.config.tiers.as_ref().map_or(0, lack)
    }

    /// How many of each tier there are to be where the pool is to have so many.
    pub(in crate::keeper) fn planned(&self, target: u32, pool: &Pool) -> Option<TierCounts> {
        let tiers = pool.spec.config.tiers.as_ref()?;
        Some(self.by_demand(|demand| workers_of(tiers, &CapacityDemand { target, ..*demand })))
    }

    /// What the workers that there are cost an hour, in US dollars.
    pub(in crate::keeper) fn cost_per_hour(&self, pool: &Pool) -> Option<f64> {
        pool.spec.config.tiers.as_ref().map(|tiers| cost_per_hour(tiers, self.totals.of_tiers))
    }

    /// How many of each tier there are.
    pub(in crate::keeper) const fn of_tiers(&self) -> TierCounts {
        self.totals.of_tiers
    }

    /// How many of each tier take agents.
    pub(super) const fn taking_of_tiers(&self) -> TierCounts {
        self.totals.taking_of_tiers
    }

    /// How many tasks wait, and whether an agent that had a slot finds none: burst starts while that is so. Sources whose pause is over are asked again.
    pub(in crate::keeper) fn look_at_tiers(&mut self, queue: u32, is_stranded: bool, now: Instant) {
        (self.tiers.queue, self.tiers.is_stranded) = (queue, is_stranded);
        self.tiers.paused.retain(|(_, until)| *until > now);
    }

    /// The source of a worker gave none, or takes it away: it is not asked again for a while where another one has room. Says whether
    /// one has.
    pub(super) fn pause_source(&mut self, id: ProcessId, pool: &Pool, from: Instant) -> bool {
        let (Some(worker), Some(tiers)) = (self.get(&id), &pool.spec.config.tiers) else { return false };
        let Some(tier) = worker.origin.tier else { return false };
        let source = FailedSource { tier, source: worker.origin.source.clone() };
        let until = later(from, SOURCE_PAUSE);
        let known = self.tiers.paused.iter().find(|(paused, _)| *paused == source).map(|(_, until)| *until);
        self.tiers.paused.retain(|(paused, _)| *paused != source);
        self.tiers.paused.push((source, known.map_or(until, |known| known.max(until))));
        self.by_demand(|demand| room_of_sources(tiers, demand)).total() > 0
    }

    /// Spot capacity that is taken away is not asked for again for a while, where another one has room.
    pub(in crate::keeper) fn pause_interrupted(&mut self, id: ProcessId, from: Instant, pool: &Pool) {
        if self.get(&id).is_some_and(|worker| worker.origin.tier == Some(TierName::Spot)) {
            self.pause_source(id, pool, from);
        }
    }

    /// Asks the tiers.
    fn by_demand<T>(&self, ask: impl Fn(&CapacityDemand<'_>) -> T) -> T {
        ask(&self.demand(&self.tiers.failed()))
    }

    const fn demand<'a>(&self, failed: &'a [FailedSource]) -> CapacityDemand<'a> {
        CapacityDemand {
            target: 0,
            queue: self.tiers.queue,
            is_stranded: self.tiers.is_stranded,
            running: self.totals.of_tiers,
            failed,
        }
    }
}
