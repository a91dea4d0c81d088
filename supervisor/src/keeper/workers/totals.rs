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
    /// Those that may be dead, and that nobody can ask or kill, without those that are interrupted.
    pub(super) unreachable_staying: u32,
    /// Those that are open, by the tier of their capacity.
    pub(super) of_tiers: TierCounts,
    /// Those that take agents, by the tier of their capacity.
    pub(super) taking_of_tiers: TierCounts,
}

impl WorkerTotals {
    fn of(worker: &PoolWorker) -> Self {
        let (is_open, stays) = (worker.is_open(), !worker.is_interrupted());
        let of_tier = |is: bool| TierCounts::of(worker.origin.tier.filter(|_| is).into_iter());
        Self {
            of_tiers: of_tier(is_open && stays),
            taking_of_tiers: of_tier(worker.is_wanted()),
            unreachable_staying: (is_open && stays && worker.is_unreachable()).into(),
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
        self.open = change(self.open, other.open);
        self.outdated = change(self.outdated, other.outdated);
        self.unreachable = change(self.unreachable, other.unreachable);
        self.unreachable_staying = change(self.unreachable_staying, other.unreachable_staying);
        self.taking = change(self.taking, other.taking);
        self.starting = change(self.starting, other.starting);
        self.leaving = change(self.leaving, other.leaving);
        self.interrupted = change(self.interrupted, other.interrupted);
        self.replacing = change(self.replacing, other.replacing);
        for tier in TierName::all() {
            *self.of_tiers.get_mut(tier) = change(self.of_tiers.get(tier), other.of_tiers.get(tier));
            let taking = other.taking_of_tiers.get(tier);
            *self.taking_of_tiers.get_mut(tier) = change(self.taking_of_tiers.get(tier), taking);
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
