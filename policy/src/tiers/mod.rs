//! How many workers of each tier a pool is to have for a target, and from where the next ones come.
//!
//! Every tier's `min_workers` come first. Of what is left spot gets its share and base the rest, as EC2's mixed instances policy does
//! (`OnDemandBaseCapacity`, `OnDemandPercentageAboveBaseCapacity`); what base can't hold goes to spot. Burst is for what neither holds, and
//! starts only while the queue is long or spot fails. A tier that fails (none of its sources gives workers) keeps those that it has,
//! and the others take its part.

mod surplus;

use std::time::Duration;

use muster_domain::tiers::WorkerSource;
use muster_domain::{CapacityTier, CapacityTiers, TierName, Words, counted};
use serde::{Deserialize, Serialize};

pub use surplus::Surplus;

/// So long a source that gave no worker, or took one away, is not asked again where another one has room.
pub const SOURCE_PAUSE: Duration = Duration::from_secs(300);

/// What is asked of a pool's tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityDemand<'a> {
    /// So many workers are to be there, as [`decide`](crate::scaling::decide) says.
    pub target: u32,
    /// Tasks that wait.
    pub queue: u32,
    /// Whether an agent that had a slot finds none.
    pub is_stranded: bool,
    /// Those that there are.
    pub running: TierCounts,
    /// Sources that gave no worker when they were last asked, and are not asked now.
    pub failed: &'a [FailedSource],
}

/// A source of a tier that gives no worker now. The same source may still serve another tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSource {
    /// Of which tier.
    pub tier: TierName,
    /// Which one.
    pub source: WorkerSource,
}

/// A number of workers for each tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierCounts {
    /// Of base.
    pub base: u32,
    /// Of spot.
    pub spot: u32,
    /// Of burst.
    pub burst: u32,
}

impl TierCounts {
    /// How many there are of each.
    pub fn of(workers: impl Iterator<Item = TierName>) -> Self {
        workers.fold(Self::default(), |mut counts, name| {
            *counts.get_mut(name) += 1;
            counts
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for name in TierName::all() {
            *self.get_mut(name) = self.get(name).saturating_add(other.get(name));
        }
        self
    }

    /// That of one tier.
    pub const fn get(&self, name: TierName) -> u32 {
        match name {
            TierName::Base => self.base,
            TierName::Spot => self.spot,
            TierName::Burst => self.burst,
        }
    }

    /// That of one tier, to be changed.
    pub const fn get_mut(&mut self, name: TierName) -> &mut u32 {
        match name {
            TierName::Base => &mut self.base,
            TierName::Spot => &mut self.spot,
            TierName::Burst => &mut self.burst,
        }
    }

    /// Of all tiers.
    pub const fn total(&self) -> u32 {
        self.base.saturating_add(self.spot).saturating_add(self.burst)
    }
}

/// How many workers of each tier there are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityPlan {
    /// So many of each.
    pub workers: TierCounts,
    /// Workers of the target that no tier holds.
    pub unmet: u32,
    /// Why, in words for people, with the figures.
    pub reason: String,
}

/// The tiers and sources of the next so many workers beside those that there are, in the order in which they are started; fewer where the
/// tiers hold no more. Sources that fail are asked where no other has room.
pub fn next_workers(tiers: &CapacityTiers, demand: &CapacityDemand<'_>, count: u32) -> Vec<(TierName, WorkerSource)> {
    let mut next = from_sources(tiers, demand, count);
    let lacking = count.saturating_sub(next.len() as u32);
    if lacking > 0 && !demand.failed.is_empty() {
        let running = demand.running.and(TierCounts::of(next.iter().map(|(name, _)| *name)));
        next.extend(from_sources(tiers, &CapacityDemand { running, failed: &[], ..*demand }, lacking));
    }
    next
}

fn from_sources(tiers: &CapacityTiers, demand: &CapacityDemand<'_>, count: u32) -> Vec<(TierName, WorkerSource)> {
    let target = demand.running.total().saturating_add(count);
    let planned = workers_of(tiers, &CapacityDemand { target, ..*demand });
    let lacking = TierName::all().flat_map(|name| {
        let lacking = planned.get(name).saturating_sub(demand.running.get(name));
        let source = next_source(tiers, name, demand.failed);
        source.into_iter().flat_map(move |source| std::iter::repeat_n((name, source), lacking as usize))
    });
    lacking.take(count as usize).collect()
}

/// How many workers the tiers hold now beside those that there are.
pub fn room(tiers: &CapacityTiers, demand: &CapacityDemand<'_>) -> u32 {
    let first = room_of_sources(tiers, demand);
    let running = demand.running.and(first);
    let rest = room_of_sources(tiers, &CapacityDemand { running, failed: &[], ..*demand });
    first.total().saturating_add(rest.total())
}

/// How many workers of each tier may come from sources that do not fail.
pub fn room_of_sources(tiers: &CapacityTiers, demand: &CapacityDemand<'_>) -> TierCounts {
    let mut room = workers_of(tiers, &CapacityDemand { target: u32::MAX, ..*demand });
    for name in TierName::all() {
        *room.get_mut(name) = room.get(name).saturating_sub(demand.running.get(name));
    }
    room
}

/// What a worker costs an hour in the mean of those that there are, in US dollars, and before the first what one of the first tier does;
/// none where that is nothing.
pub fn mean_price(tiers: &CapacityTiers, there: TierCounts) -> Option<f64> {
    let first = || tiers.used().next().map(|(_, tier)| tier.price_per_hour);
    let price = match there.total() {
        0 => first(),
        all => Some(cost_per_hour(tiers, there) / f64::from(all)),
    };
    price.filter(|price| *price > 0.0)
}

/// What these workers cost an hour, in US dollars.
pub fn cost_per_hour(tiers: &CapacityTiers, workers: TierCounts) -> f64 {
    tiers.used().map(|(name, tier)| f64::from(workers.get(name)) * tier.price_per_hour).sum()
}

/// The first source of a tier that does not fail: from there its next worker comes. None if all fail, or the tier is not used.
pub fn next_source(tiers: &CapacityTiers, name: TierName, failed: &[FailedSource]) -> Option<WorkerSource> {
    let fails = |source: &WorkerSource| failed.iter().any(|failed| failed.tier == name && failed.source == *source);
    tiers.get(name)?.sources().find(|source| !fails(source))
}

/// Divides a target among the tiers of a pool, and says why.
pub fn plan(tiers: &CapacityTiers, demand: &CapacityDemand<'_>) -> CapacityPlan {
    let rooms = Rooms::of(tiers, demand);
    let (workers, unmet) = rooms.divide(tiers, demand.target);
    CapacityPlan { workers, unmet, reason: reason(tiers, demand, &rooms, workers, unmet) }
}

/// The same without its words.
pub fn workers_of(tiers: &CapacityTiers, demand: &CapacityDemand<'_>) -> TierCounts {
    Rooms::of(tiers, demand).divide(tiers, demand.target).0
}

/// The most that each tier may hold now.
struct Rooms {
    most: TierCounts,
    burst: BurstGate,
    failing: Vec<TierName>,
}

/// Whether burst may start workers.
enum BurstGate {
    /// More tasks wait than its bound.
    LongQueue,
    /// No spot is to be had.
    SpotFails,
    /// An agent that had a slot finds none: what it was promised is kept.
    Stranded,
    /// It may not; those that it has stay as long as the target needs them.
    Shut,
}

impl Rooms {
    fn of(tiers: &CapacityTiers, demand: &CapacityDemand<'_>) -> Self {
        let fails = |name| tiers.get(name).is_some() && next_source(tiers, name, demand.failed).is_none();
        let failing: Vec<TierName> = TierName::all().filter(|name| fails(*name)).collect();
        let burst = match () {
            () if demand.queue > tiers.burst_queue_above => BurstGate::LongQueue,
            () if failing.contains(&TierName::Spot) => BurstGate::SpotFails,
            () if demand.is_stranded => BurstGate::Stranded,
            () => BurstGate::Shut,
        };
        let mut most = TierCounts::default();
        for name in TierName::all() {
            let ceiling = tiers.get(name).map_or(0, CapacityTier::ceiling);
            let least = tiers.get(name).map_or(0, |tier| tier.min_workers);
            let there = demand.running.get(name).min(ceiling);
            *most.get_mut(name) = match name {
                _ if failing.contains(&name) => there,
                TierName::Burst if matches!(burst, BurstGate::Shut) => there.max(least),
                _ => ceiling,
            };
        }
        Self { most, burst, failing }
    }

    /// So many workers among the tiers, and how many of them none holds.
    fn divide(&self, tiers: &CapacityTiers, target: u32) -> (TierCounts, u32) {
        let mut workers = TierCounts::default();
        for name in TierName::all() {
            let least = tiers.get(name).map_or(0, |tier| tier.min_workers);
            *workers.get_mut(name) = least.min(self.most.get(name));
        }
        let rest = target.saturating_sub(workers.total());
        // A little more for what floats leave over.
        let spot_part = (f64::from(rest) * tiers.spot_share + 1e-6).floor() as u32;
        let mut left = rest;
        let mut give = |name: TierName, wanted: u32| {
            let given = wanted.min(left).min(self.most.get(name) - workers.get(name));
            *workers.get_mut(name) += given;
            left -= given;
            given
        };
        let spot = give(TierName::Spot, spot_part);
        give(TierName::Base, rest - spot);
        give(TierName::Spot, rest);
        give(TierName::Burst, rest);
        (workers, left)
    }
}

fn reason(
    tiers: &CapacityTiers,
    demand: &CapacityDemand<'_>,
    rooms: &Rooms,
    workers: TierCounts,
    unmet: u32,
) -> String {
    let shares: Vec<String> =
        tiers.used().map(|(name, _)| format!("{} {}", workers.get(name), name.as_str())).collect();
    let mut words = format!("{}: {}", counted(workers.total().into(), "worker"), shares.join(", "));
    for name in &rooms.failing {
        words.push_str(&format!("; no {} worker is to be had now", name.as_str()));
    }
    if tiers.burst.is_some() {
        let (queue, bound) = (demand.queue, tiers.burst_queue_above);
        words.push_str(&match rooms.burst {
            BurstGate::LongQueue => format!("; burst is open: queue {queue} is above {bound}"),
            BurstGate::SpotFails => "; burst is open: spot fails".to_owned(),
            BurstGate::Stranded => "; burst is open: an agent that had a slot finds none".to_owned(),
            BurstGate::Shut => format!("; burst is shut: queue {queue} is not above {bound}"),
        });
    }
    if unmet > 0 {
        words.push_str(&format!("; no tier holds {unmet} of the {} wanted", demand.target));
    }
    words
}

#[cfg(test)]
mod tests;
