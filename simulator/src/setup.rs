//! What a simulated pool is, beside its policies.

use std::time::Duration;

use muster_domain::{CapacityTier, CapacityTiers, PlacementStrategy, PoolConfig};

/// Slots of all workers together, at the most: less than a gibibyte, and far more than any pool has.
const MOST_SLOTS: u32 = 50_000_000;

/// A pool and its surroundings.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Workers at the least.
    pub min_workers: u32,
    /// Workers at the most; 0 is no bound.
    pub max_workers: u32,
    /// Tasks that a worker runs at a time, 1 to 1000.
    pub slots: u16,
    /// Which of the workers with a free slot a task gets. All tasks use as much, so `least_loaded` is `spread`.
    pub placement: PlacementStrategy,
    /// Attempts at a task: one that lost so many workers is lost itself.
    pub max_attempts: u8,
    /// Of what its workers are.
    pub tiers: CapacityTiers,
    /// How often a spot worker is taken away, in times an hour.
    pub reclaims_per_hour: f64,
    /// How long before that it is told.
    pub reclaim_notice: Duration,
    /// A task that waits for longer is late.
    pub late_after: Duration,
    /// What chance begins with, beside the load's own.
    pub seed: u64,
}

/// One pool of ten slots a worker without any bound, of workers that start in a second and cost nothing. Two of a hundred spot workers are
/// taken away each hour, two minutes after they were told, as EC2 does it; a task is late after a minute.
impl Default for Setup {
    fn default() -> Self {
        Self {
            min_workers: 0,
            max_workers: 0,
            slots: 10,
            placement: PlacementStrategy::Pack,
            max_attempts: 3,
            tiers: CapacityTiers::only_base(CapacityTier::default()),
            reclaims_per_hour: 0.02,
            reclaim_notice: Duration::from_secs(120),
            late_after: Duration::from_secs(60),
            seed: 1,
        }
    }
}

impl Setup {
    /// That of a pool as it is configured, with its tiers where it has some.
    pub fn of_pool(pool: &PoolConfig) -> Self {
        let each = pool.max_agents.saturating_mul(pool.tasks_per_agent).clamp(1, 1_000);
        let default = Self::default();
        Self {
            min_workers: pool.min_workers,
            max_workers: pool.max_workers,
            slots: each as u16,
            placement: pool.placement,
            max_attempts: pool.max_attempts.clamp(1, u32::from(u8::MAX)) as u8,
            tiers: pool.tiers.clone().unwrap_or_else(|| default.tiers.clone()),
            ..default
        }
    }

    /// The most workers that pool, tiers and the memory of this host allow.
    pub(crate) fn ceiling(&self) -> u32 {
        let pool = if self.max_workers == 0 { u32::MAX } else { self.max_workers };
        pool.min(self.tiers.most()).min(MOST_SLOTS / u32::from(self.slots.max(1)))
    }

    /// The fewest that pool and tiers allow.
    pub(crate) fn floor(&self) -> u32 {
        self.min_workers.max(self.tiers.least())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_bound_counts() {
        let tier = |max_workers| CapacityTier { min_workers: 3, max_workers, ..CapacityTier::default() };
        let of = |max_workers, base, spot: Option<u32>| {
            let tiers = CapacityTiers { base: Some(tier(base)), spot: spot.map(tier), ..CapacityTiers::default() };
            let setup = Setup { min_workers: 2, max_workers, tiers, ..Setup::default() };
            (setup.floor(), setup.ceiling())
        };
        assert_eq!(
            [of(20, 0, None), of(0, 5, None), of(20, 5, Some(7)), of(8, 5, Some(7))],
            [(3, 20), (3, 5), (6, 12), (6, 8)]
        );
        assert_eq!(of(0, 0, None), (3, 5_000_000), "ten slots each");
    }

    #[test]
    fn a_pool_has_the_slots_of_its_agents_tasks() {
        let pool = PoolConfig { max_agents: 4, tasks_per_agent: 3, ..PoolConfig::default() };
        let setup = Setup::of_pool(&pool);
        assert_eq!((setup.slots, setup.max_workers, setup.max_attempts), (12, 20, 3));
        let wide = PoolConfig { max_agents: 1_000, tasks_per_agent: 1_000, max_attempts: 1_000, ..pool };
        assert_eq!((Setup::of_pool(&wide).slots, Setup::of_pool(&wide).max_attempts), (1_000, u8::MAX));
    }
}
