//! Which worker gets an agent, and how many new workers a batch needs.
//!
//! How many agents find a slot and how many workers are started for them is the same under every strategy: as few as hold what finds no free
//! slot. A strategy only says who goes where. A worker that is ready comes before one that starts. Packing leaves new ones for last; the other
//! strategies take them for what they are from then on: workers that start.
//!
//! | strategy | next is the worker | elsewhere |
//! |---|---|---|
//! | `pack` | that is the fullest: fifteen agents make one worker of ten and one of five, and when agents end, whole workers get empty | `binpack` of Nomad and ECS, Kubernetes' `MostAllocated` |
//! | `spread` | with the fewest agents: they go round the workers, the new ones of a batch too | `spread` of Nomad and ECS |
//! | `least_loaded` | with the lowest load ([`PoolLoads`]); among even ones, with the fewest agents | Kubernetes' `LeastAllocated`, but by what is used and not by what is reserved |
//!
//! Affinity comes before all that: among the workers with room those that have agents of the same project are asked first, by the same
//! strategy, and if there are none, all. So it holds nobody back, and starts no worker (Nomad's `affinity`, Kubernetes' preferred pod
//! affinity). Agents of one project are placed one after the other, in the order of each project's first.
//!
//! A batch of n agents on w workers takes O((n + w) log w); plain packing takes O(n), and looks at no worker that it does not fill.

mod arranging;
mod load;

use std::collections::HashMap;

use muster_domain::{PlacementStrategy, ProcessId, counted};

use self::arranging::{NewWorkers, arrange};
pub use self::load::{MeasuredLoad, PoolLoads, Share};

/// The bounds of a pool at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementLimits {
    /// Agents that a new worker holds.
    pub capacity: u32,
    /// Workers that may have a process.
    pub open_workers: u32,
    /// Workers at the most; 0 is no bound.
    pub max_workers: u32,
    /// Workers that may be started beside these, e.g. as the pool's tiers hold no more.
    pub room: u32,
    /// Whether workers may be started now: not while starts fail and the backoff runs.
    pub may_start: bool,
}

impl PlacementLimits {
    /// Workers that may be there beside those that are.
    const fn addable(&self) -> usize {
        let within = if self.max_workers == 0 { u32::MAX } else { self.max_workers.saturating_sub(self.open_workers) };
        if within < self.room { within as usize } else { self.room as usize }
    }
}

/// A worker with room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementCandidate {
    /// The worker.
    pub process_id: ProcessId,
    /// Whether it is ready: else it starts.
    pub is_ready: bool,
    /// Slots that may be given out.
    pub free: u32,
    /// Slots that agents have.
    pub taken: u32,
}

/// By what a worker is chosen. The default packs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlacementRule<'a> {
    /// The pool's strategy.
    pub strategy: PlacementStrategy,
    /// What its workers use, for `least_loaded`. None: nobody has measured it.
    pub loads: Option<&'a PoolLoads>,
    /// Who belongs together; none: nobody is asked.
    pub affinity: Option<&'a ProjectAffinity<'a>>,
    /// Workers that are started beside those that the batch needs, for the pool's minimum. Packing leaves them empty.
    pub spare_workers: usize,
}

impl PlacementRule<'_> {
    const fn packs(&self) -> bool {
        matches!(self.strategy, PlacementStrategy::Pack) && self.affinity.is_none()
    }
}

/// Which agents of a batch belong together, and where others of their projects are.
#[derive(Clone, Debug, Default)]
pub struct ProjectAffinity<'a> {
    /// The project of each agent of the batch, in order; none: it belongs to nobody.
    pub projects: Vec<Option<&'a str>>,
    /// The workers that have agents of a project, for the projects of the batch.
    pub workers: HashMap<&'a str, Vec<ProcessId>>,
}

/// An agent's place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotChoice {
    /// A free slot of this worker.
    Worker(ProcessId),
    /// A slot of the n-th new worker of this plan, counted from 0; past `new_workers` it is one of the rule's spare ones.
    NewWorker(usize),
    /// None now: workers can't be started at this moment. It waits.
    Wait,
    /// None: every worker that the pool may have is full.
    Full,
}

/// A plan for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One per agent, in order.
    pub slots: Vec<SlotChoice>,
    /// Workers to start for the batch.
    pub new_workers: usize,
    /// Why, in words; empty where no worker is started and nobody is turned away.
    pub reason: String,
}

/// Places `agents` agents on free slots and on new workers. Candidates come in the order in which packing fills them: ready ones first, then
/// the fullest, then the oldest; the other strategies prefer the first of even ones.
pub fn place(
    agents: usize,
    candidates: impl IntoIterator<Item = PlacementCandidate>,
    rule: &PlacementRule<'_>,
    limits: PlacementLimits,
) -> Placement {
    let candidates = candidates.into_iter();
    let capacity = limits.capacity.max(1) as usize;
    if rule.packs() {
        let slots_of =
            |worker: PlacementCandidate| (0..worker.free).map(move |_| SlotChoice::Worker(worker.process_id));
        let mut slots: Vec<SlotChoice> = candidates.flat_map(slots_of).take(agents).collect();
        let room = Room::of(agents, slots.len(), limits);
        slots.extend((0..room.on_new).map(|n| SlotChoice::NewWorker(n / capacity)));
        return room.placement(slots, limits);
    }
    let candidates: Vec<PlacementCandidate> = candidates.collect();
    let free = candidates.iter().map(|worker| worker.free as usize).fold(0, usize::saturating_add).min(agents);
    let room = Room::of(agents, free, limits);
    let new =
        NewWorkers { count: room.new_workers.saturating_add(rule.spare_workers), capacity: limits.capacity.max(1) };
    let slots = arrange(free + room.on_new, &candidates, rule, new);
    room.placement(slots, limits)
}

/// For how many of a batch there is room, and where.
struct Room {
    agents: usize,
    /// Those that found no free slot.
    unplaced: usize,
    new_workers: usize,
    /// Those of them that new workers hold.
    on_new: usize,
}

impl Room {
    /// Of `agents` agents of which `placed` have a free slot.
    fn of(agents: usize, placed: usize, limits: PlacementLimits) -> Self {
        let unplaced = agents - placed;
        let addable = if limits.may_start { limits.addable() } else { 0 };
        let capacity = limits.capacity.max(1) as usize;
        let new_workers = unplaced.div_ceil(capacity).min(addable);
        Self { agents, unplaced, new_workers, on_new: unplaced.min(new_workers.saturating_mul(capacity)) }
    }

    /// The plan, in which those that found a slot have these.
    fn placement(self, mut slots: Vec<SlotChoice>, limits: PlacementLimits) -> Placement {
        let turned_away = self.agents - slots.len();
        // While the backoff runs the bound may still have room: as many as fit are to wait, and no more than that, since
        // whoever waits is promised a slot.
        let waiting = turned_away.min(room_to_wait(limits));
        slots.resize(slots.len() + waiting, SlotChoice::Wait);
        slots.resize(self.agents, SlotChoice::Full);
        let reason = explain(self.unplaced, self.new_workers, turned_away, limits);
        Placement { slots, new_workers: self.new_workers, reason }
    }
}

/// Slots of the workers that may be started later, but not now.
fn room_to_wait(limits: PlacementLimits) -> usize {
    let addable = if limits.may_start { 0 } else { limits.addable() };
    addable.saturating_mul(limits.capacity.max(1) as usize)
}

fn explain(unplaced: usize, new_workers: usize, turned_away: usize, limits: PlacementLimits) -> String {
    let (agents, workers) = (counted(unplaced as u64, "agent"), counted(new_workers as u64, "new worker"));
    match (unplaced, turned_away) {
        (0, _) => String::new(),
        (_, 0) => format!("{agents} found no free slot: {workers} of {}", limits.capacity),
        _ if limits.may_start => {
            format!("{agents} found no free slot: {workers}, then max_workers ({}) is reached", limits.max_workers)
        }
        _ => format!("{agents} found no free slot, and workers fail to start"),
    }
}

#[cfg(test)]
mod tests;
