//! How many workers there are of each sort, kept as they change: a turn looks at none of them to know.

use muster_domain::{TierName, Words};
use muster_policy::tiers::TierCounts;

use super::worker::PoolWorker;

/// Workers that are open, and which of these are so or so. Those that are interrupted count to themselves only, and to those that nobody
/// can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerTotals {
    pub(super) open: u32,
    /// Those that start programs by an older definition of the runtime.
    pub(super) outdated: u32,
    /// Those that may be dead, and that nobody can ask or kill.
    pub(super) unreachable: u32,
    /// Those that take agents, or will when they are ready.
    pub(super) taking: u32,
    /// Those that are not ready yet.
    pub(super) starting: u32,
    /// Those that are to end when they are empty.
    pub(super) leaving: u32,
    /// Those under which the capacity will be taken away.
    pub(super) interrupted: u32,
    /// Of these, those in whose place another one is to be started.
    pub(super) replacing: u32,
    /// Those that are open, by the tier of their capacity.
    pub(super) of_tiers: TierCounts,
}

impl WorkerTotals {
    fn of(worker: &PoolWorker) -> Self {
        let (is_open, stays) = (worker.is_open(), !worker.is_interrupted());
        let mut of_tiers = TierCounts::default();
        if let Some(tier) = worker.origin.tier.filter(|_| is_open && stays) {
            *of_tiers.get_mut(tier) = 1;
        }
        Self {
            of_tiers,
            open: (is_open && stays).into(),
            outdated: (is_open && stays && worker.origin.outdated).into(),
            unreachable: (is_open && worker.is_unreachable()).into(),
            taking: worker.is_wanted().into(),
            starting: (stays && worker.status.is_starting()).into(),
            leaving: (stays && worker.status.takes_agents() && worker.leaves).into(),
            interrupted: (is_open && !stays).into(),
            replacing: worker.is_unreplaced().into(),
        }
    }

    pub(super) fn add(&mut self, worker: &PoolWorker) {
        self.each(Self::of(worker), u32::saturating_add);
    }

    pub(super) fn remove(&mut self, worker: &PoolWorker) {
        self.each(Self::of(worker), u32::saturating_sub);
    }

    fn each(&mut self, other: Self, change: impl Fn(u32, u32) -> u32) {
        let Self { open, outdated, unreachable, taking, starting, leaving, interrupted, replacing, of_tiers } = other;
        self.open = change(self.open, open);
        self.outdated = change(self.outdated, outdated);
        self.unreachable = change(self.unreachable, unreachable);
        self.taking = change(self.taking, taking);
        self.starting = change(self.starting, starting);
        self.leaving = change(self.leaving, leaving);
        self.interrupted = change(self.interrupted, interrupted);
        self.replacing = change(self.replacing, replacing);
        for tier in TierName::all() {
            let known = self.of_tiers.get_mut(tier);
            *known = change(*known, of_tiers.get(tier));
        }
    }

    /// As a look at all of them counts.
    pub(super) fn of_all<'a>(workers: impl Iterator<Item = &'a PoolWorker>) -> Self {
        workers.fold(Self::default(), |mut all, worker| {
            all.add(worker);
            all
        })
    }
}
