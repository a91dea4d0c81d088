//! Who goes where, by any rule but plain packing.

use std::collections::{BTreeSet, HashMap};

use muster_domain::{PlacementStrategy, ProcessId};

use super::{PlacementCandidate, PlacementRule, PoolLoads, ProjectAffinity, SlotChoice};

/// Workers that a plan starts.
#[derive(Clone, Copy)]
pub(super) struct NewWorkers {
    pub(super) count: usize,
    pub(super) capacity: u32,
}

/// How far a worker is; the first ones are preferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Ready,
    Starting,
    New,
}

/// A worker as the plan has filled it so far.
struct PlannedWorker {
    slot: SlotChoice,
    stage: Stage,
    free: u32,
    taken: u32,
    load: u64,
}

impl PlannedWorker {
    fn of(candidate: &PlacementCandidate, loads: &PoolLoads) -> Self {
        Self {
            slot: SlotChoice::Worker(candidate.process_id),
            stage: if candidate.is_ready { Stage::Ready } else { Stage::Starting },
            free: candidate.free,
            taken: candidate.taken,
            load: loads.expected(candidate.process_id, candidate.taken),
        }
    }

    const fn new(number: usize, stage: Stage, capacity: u32) -> Self {
        Self { slot: SlotChoice::NewWorker(number), stage, free: capacity, taken: 0, load: 0 }
    }
}

/// Where a worker with room stands among all; the lowest is next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    stage: Stage,
    weight: (u64, u32),
    place: usize,
}

/// All workers with room, in the order of the rule.
struct Arrangement {
    strategy: PlacementStrategy,
    /// What one agent more counts.
    of_an_agent: u64,
    workers: Vec<PlannedWorker>,
    open: BTreeSet<Rank>,
}

/// Agents of one project.
struct Group<'a> {
    project: Option<&'a str>,
    agents: Vec<usize>,
}

/// Gives each of `agents` agents a slot; there is one for each.
pub(super) fn arrange(
    agents: usize,
    candidates: &[PlacementCandidate],
    rule: &PlacementRule<'_>,
    new: NewWorkers,
) -> Vec<SlotChoice> {
    let mut all = Arrangement::new(candidates, rule, new);
    let Some(affinity) = rule.affinity else {
        return (0..agents).map_while(|_| all.open.first().copied().map(|rank| all.fill(rank).0)).collect();
    };
    let by_id: HashMap<ProcessId, usize> =
        candidates.iter().enumerate().map(|(place, worker)| (worker.process_id, place)).collect();
    let mut slots = vec![SlotChoice::Wait; agents];
    for group in groups(affinity, agents) {
        let with_it = group.project.and_then(|project| affinity.workers.get(project)).into_iter().flatten();
        let with_it = with_it.filter_map(|worker| all.rank(*by_id.get(worker)?));
        let mut preferred: BTreeSet<Rank> = with_it.collect();
        for agent in group.agents {
            let Some(rank) = preferred.pop_first().or_else(|| all.open.first().copied()) else { break };
            let (slot, still_open) = all.fill(rank);
            slots[agent] = slot;
            preferred.extend(still_open.filter(|_| group.project.is_some()));
        }
    }
    slots
}

/// The first `agents` of a batch by their projects, each project where its first agent stands.
fn groups<'a>(affinity: &ProjectAffinity<'a>, agents: usize) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places: HashMap<Option<&str>, usize> = HashMap::new();
    let projects = affinity.projects.iter().copied().chain(std::iter::repeat(None));
    for (agent, project) in projects.take(agents).enumerate() {
        let place = *places.entry(project).or_insert_with(|| {
            groups.push(Group { project, agents: Vec::new() });
            groups.len() - 1
        });
        groups[place].agents.push(agent);
    }
    groups
}

impl Arrangement {
    fn new(candidates: &[PlacementCandidate], rule: &PlacementRule<'_>, new: NewWorkers) -> Self {
        let unmeasured = PoolLoads::default();
        let loads = rule.loads.unwrap_or(&unmeasured);
        let stage = if rule.strategy == PlacementStrategy::Pack { Stage::New } else { Stage::Starting };
        let of_new = (0..new.count).map(|number| PlannedWorker::new(number, stage, new.capacity));
        let workers = candidates.iter().map(|candidate| PlannedWorker::of(candidate, loads)).chain(of_new).collect();
        let mut all =
            Self { strategy: rule.strategy, of_an_agent: loads.of_an_agent(), workers, open: BTreeSet::new() };
        all.open = (0..all.workers.len()).filter_map(|place| all.rank(place)).collect();
        all
    }

    /// Where the worker at this place stands, if it has room.
    fn rank(&self, place: usize) -> Option<Rank> {
        let PlannedWorker { stage, free, taken, load, .. } =
            *self.workers.get(place).filter(|worker| worker.free > 0)?;
        let weight = match self.strategy {
            PlacementStrategy::Pack => (free.into(), 0),
            PlacementStrategy::Spread => (taken.into(), 0),
            PlacementStrategy::LeastLoaded => (load, taken),
        };
        Some(Rank { stage, weight, place })
    }

    /// Gives away a slot of the worker that stands there. Says which, and where it stands then, if it still has room.
    fn fill(&mut self, rank: Rank) -> (SlotChoice, Option<Rank>) {
        self.open.remove(&rank);
        let worker = &mut self.workers[rank.place];
        worker.free -= 1;
        worker.taken += 1;
        worker.load = worker.load.saturating_add(self.of_an_agent);
        let slot = worker.slot;
        let still_open = self.rank(rank.place);
        self.open.extend(still_open);
        (slot, still_open)
    }
}
