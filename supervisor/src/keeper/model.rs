//! The keeper's model of its pool: what the pool is, and its parts, the [`PoolAgents`] and the [`PoolWorkers`]. Each part changes only
//! itself; here is what concerns both, since an agent's assignment is a slot of its worker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use muster_domain::scaling::WorkerTarget;
use muster_domain::{
    Activity, AgentEvent, AgentId, AgentSpec, AgentStatus, Epoch, EventDraft, EventKind, Gate, HoldKind, PoolSpec,
    ProcessId, Timestamp, WorkerStatus, counted,
};
use muster_policy::placement::{PlacementCandidate, ProjectAffinity};
use muster_policy::scaling::{ScalingFacts, WorkerCounts};
use muster_store::PoolRow;

use super::Turn;
use super::agents::agent::PoolAgent;
use super::agents::{PoolAgents, PoolAgentsDeps, SlotChange};
use super::projects::{ProjectIndex, project_of};
use super::workers::worker::PoolWorker;
use super::workers::{PoolWorkers, PoolWorkersDeps, count};
use crate::directory::LiveSpec;
use crate::view::{Holds, PoolStatus, PoolView, ScaleView, share};

pub(crate) struct Model {
    pub(crate) pool: Pool,
    pub(crate) agents: PoolAgents,
    pub(crate) workers: PoolWorkers,
    projects: ProjectIndex,
}

/// What a pool is.
pub(crate) struct Pool {
    /// Its settings; [`Pool::reconfigure`] changes them.
    pub(crate) spec: Arc<PoolSpec>,
    /// The same for those who do not ask the keeper.
    live: LiveSpec,
    /// Whether it is being removed.
    pub(crate) draining: bool,
    /// Whether the supervisor stops: nobody is placed, and whoever ends runs again with the next one.
    pub(crate) is_stopping: bool,
    pub(crate) gate: Gate,
    pub(crate) target: WorkerTarget,
    created_at: Timestamp,
    since: Instant,
}

impl Pool {
    /// The target in force: the bounds may have changed since it was said.
    pub(crate) fn target_workers(&self) -> Option<u32> {
        let config = &self.spec.config;
        let most = if config.most_workers() == 0 { u32::MAX } else { config.most_workers() };
        self.target.workers.map(|target| target.max(config.least_workers()).min(most))
    }

    pub(crate) fn new(row: &PoolRow, live: LiveSpec, now: Instant) -> Self {
        Self {
            spec: live.get(),
            live,
            draining: row.draining,
            is_stopping: false,
            gate: row.gate,
            target: row.target,
            created_at: row.created_at,
            since: now,
        }
    }

    /// Swaps the pool's settings, here and for those who read them without asking.
    pub(crate) fn reconfigure(&mut self, spec: Arc<PoolSpec>) {
        self.live.swap(Arc::clone(&spec));
        self.spec = spec;
    }

    /// Since when this keeper has kept it.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    /// The pool's label in figures.
    pub(crate) fn label(&self) -> String {
        self.spec.pool_name.to_string()
    }

    pub(crate) fn event(&self, kind: EventKind, at: Timestamp) -> EventDraft {
        let pool_name = Some(self.spec.pool_name.clone());
        EventDraft { at, kind, pool_name, agent_id: None, process_id: None, reason: String::new() }
    }

    pub(crate) fn worker_event(&self, kind: EventKind, worker: ProcessId, at: Timestamp, reason: String) -> EventDraft {
        EventDraft { process_id: Some(worker), reason, ..self.event(kind, at) }
    }
}

/// What is shown of a pool beside its workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScalingShown {
    pub(crate) health_score: f64,
    /// What holds its policies.
    pub(crate) held: Option<HoldKind>,
    /// Whether they only advise.
    pub(crate) advising: bool,
}

/// Slots of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotCounts {
    pub(crate) total: u32,
    pub(crate) used: u32,
}

/// Workers of a sort that a pool names, at the most.
const MOST_NAMED: usize = 100;

impl Model {
    pub(crate) fn new(
        row: &PoolRow,
        live: LiveSpec,
        agents: PoolAgentsDeps,
        workers: PoolWorkersDeps,
        now: Instant,
    ) -> Self {
        Self {
            pool: Pool::new(row, live, now),
            agents: PoolAgents::new(agents),
            workers: PoolWorkers::new(workers, row.workers_spawned, row.workers_terminated),
            projects: ProjectIndex::default(),
        }
    }

    pub(crate) fn agent(&self, id: AgentId) -> Option<&PoolAgent> {
        self.agents.get(id)
    }

    /// Moves an agent's status, and gives and takes slots with it.
    pub(crate) fn move_agent(&mut self, id: AgentId, event: &AgentEvent, now: Instant) {
        let change = self.agents.apply(id, event);
        self.follow(id, change, now);
    }

    /// Takes an agent in, or a fresh copy of one.
    pub(crate) fn put_agent(&mut self, agent: PoolAgent, now: Instant) {
        let id = agent.spec.agent_id;
        let change = self.agents.put(agent);
        self.follow(id, change, now);
    }

    pub(crate) fn take_agent(&mut self, id: AgentId, now: Instant) {
        let left = self.agent(id).and_then(|agent| agent.status.assignment());
        self.follow(id, SlotChange { left, taken: None }, now);
        self.agents.take(id);
    }

    /// Gives and takes slots as an agent that is still known has moved.
    fn follow(&mut self, id: AgentId, change: SlotChange, now: Instant) {
        if let Some(agent) = self.agents.get(id) {
            self.projects.follow(&agent.spec, change);
        }
        self.workers.follow(id, change, now);
    }

    /// What an agent does, where it runs: by its worker's word, if there is news of it, and by whether it has work.
    pub(crate) fn note_activity(&mut self, id: AgentId, seen: Option<Activity>, has_work: bool) {
        self.agents.note_activity(id, seen, has_work);
    }

    /// The pool goes: every agent is to stop; empty workers then retire at once.
    pub(super) fn drain(&mut self, graceful: bool, turn: &mut Turn) {
        self.pool.draining = true;
        self.agents.stop_all(graceful, turn);
        self.workers.retire_empty(turn);
    }

    /// Agents with a slot in a worker that is not in the model: its death is proven, or it was never started.
    pub(crate) fn homeless(&self) -> Vec<(AgentId, Epoch)> {
        let homeless = |agent: &PoolAgent| {
            let place = agent.status.assignment().filter(|at| self.workers.get(&at.process_id).is_none())?;
            Some((agent.spec.agent_id, place.epoch))
        };
        self.agents.iter().filter_map(homeless).collect()
    }

    /// Whether nobody can reach the worker that has this agent.
    pub(crate) fn is_unreachable(&self, agent: AgentId) -> bool {
        let place = || self.agent(agent)?.status.assignment();
        place().is_some_and(|at| self.workers.get(&at.process_id).is_some_and(PoolWorker::is_unreachable))
    }

    /// Agents in workers that nobody can reach.
    pub(crate) fn unreachable_agents(&self) -> usize {
        let unreachable = self.workers.values().filter(|worker| worker.is_unreachable());
        unreachable.map(|worker| worker.held.len()).sum()
    }

    /// Agents without work in workers with an older definition of the runtime.
    pub(crate) fn idle_in_outdated(&self) -> Vec<AgentId> {
        let held = self.workers.values().filter(|worker| worker.origin.outdated && !worker.is_interrupted());
        held.flat_map(|worker| &worker.held).filter(|id| self.idles(**id)).copied().collect()
    }

    /// Whether an agent runs, has nothing to do, and stays.
    pub(crate) fn idles(&self, id: AgentId) -> bool {
        self.agent(id).is_some_and(|agent| agent.status.idles_at().is_some() && !agent.run.leaving)
    }

    /// Workers with room, in the order in which packing fills them.
    pub(super) fn with_room(&self) -> impl Iterator<Item = PlacementCandidate> {
        self.workers.with_room(self.pool.spec.config.most_workers())
    }

    /// Keeps where projects are, if the pool places agents by that.
    pub(super) fn follow_affinity(&mut self) {
        self.projects.keep(self.pool.spec.config.project_affinity, self.agents.iter());
    }

    /// Where the projects of these agents are.
    pub(super) fn affinity<'a>(&self, agents: impl Iterator<Item = Option<&'a AgentSpec>>) -> ProjectAffinity<'a> {
        let projects: Vec<Option<&str>> = agents.map(|agent| agent.and_then(project_of)).collect();
        let asked: BTreeSet<&str> = projects.iter().copied().flatten().collect();
        let workers = asked.into_iter().map(|project| (project, self.projects.workers(project))).collect();
        ProjectAffinity { projects, workers }
    }

    /// Workers at the most now: the bound, or what the pool's tiers hold beside those that there are; 0 is no bound.
    pub(crate) fn most_workers_now(&self) -> u32 {
        let (most, room) = (self.pool.spec.config.most_workers(), self.workers.tier_room(&self.pool));
        match (most, self.workers.open().saturating_add(room)) {
            (most, u32::MAX) => most,
            // 0 would be no bound.
            (0, held) => held.max(1),
            (most, held) => most.min(held).max(1),
        }
    }

    /// Whether there is no room until a worker with an older definition of the runtime is empty.
    pub(crate) fn is_held_by_outdated(&self) -> bool {
        self.workers.leave_no_room(self.most_workers_now()) && self.workers.outdated() > 0
    }

    /// For what an agent without a slot waits, where the workers with an older definition of the runtime leave no room.
    pub(crate) fn held_by_outdated(&self) -> Option<String> {
        let outdated = counted(self.workers.outdated().into(), "worker");
        let runtime = &self.pool.spec.runtime;
        self.is_held_by_outdated().then(|| {
            format!(
                "a worker with the definition of the runtime {runtime} of today: max_workers is reached, and {outdated} with \
                 an older one must be empty first"
            )
        })
    }

    pub(crate) fn agent_event(&self, kind: EventKind, agent: AgentId, at: Timestamp, reason: String) -> EventDraft {
        self.agents.event(&self.pool, kind, agent, at, reason)
    }

    /// Slots of the workers that take agents, and taken slots of those that do not any more.
    pub(crate) fn slot_counts(&self) -> SlotCounts {
        let open = || self.workers.values().filter(|worker| worker.is_open());
        let slots = |worker: &PoolWorker| if worker.takes_agents() { worker.capacity } else { worker.used() };
        SlotCounts { total: open().map(slots).sum(), used: open().map(PoolWorker::used).sum() }
    }

    /// How many workers there are and are to be.
    fn view_scale(&self, workers: WorkerCounts, shown: ScalingShown) -> ScaleView {
        let busy =
            |agent: &&PoolAgent| matches!(agent.status, AgentStatus::Running { activity, .. } if !activity.is_idle());
        let load = share(count(self.agents.iter().filter(busy)), self.slot_counts().total);
        let status = match workers.target {
            _ if workers.draining || workers.stopping => PoolStatus::Active,
            Some(target) if workers.taking.saturating_sub(workers.starting) < target => PoolStatus::ScalingUp,
            Some(target) if workers.open > target => PoolStatus::ScalingDown,
            _ if shown.held.is_some() && !shown.advising => PoolStatus::Held,
            _ => PoolStatus::Active,
        };
        ScaleView {
            status,
            current_workers: workers.open,
            target_workers: workers.target,
            min_workers: workers.min,
            max_workers: workers.max,
            load_percentage: 100.0 * load,
            health_score: shown.health_score,
            held: shown.held,
            advising: shown.advising,
            last_scaled_at: self.pool.target.last_scaled_at,
        }
    }

    pub(crate) fn view(&self, scaling: ScalingFacts, holds: Holds, shown: ScalingShown, now: Instant) -> PoolView {
        let (pool, spec) = (&self.pool, &self.pool.spec);
        let open = || self.workers.values().filter(|worker| worker.is_open());
        let in_status = |is: fn(&AgentStatus) -> bool| count(self.agents.iter().filter(|agent| is(&agent.status)));
        let quarantined_agents = in_status(AgentStatus::needs_person);
        let SlotCounts { total: total_capacity, used: used_capacity } = self.slot_counts();
        PoolView {
            pool_name: spec.pool_name.clone(),
            role_type: spec.role_type.clone(),
            runtime: spec.runtime.clone(),
            config: spec.config.clone(),
            origin: spec.origin,
            holds,
            scaling,
            process_count: scaling.workers.open + scaling.workers.interrupted,
            cost_per_hour: self.workers.cost_per_hour(&self.pool),
            interrupted_workers: scaling.workers.interrupted,
            outdated_workers: self.workers.outdated(),
            unreachable_workers: self.workers.unreachable(),
            unreachable_worker_ids: self.workers.unreachable_ids().take(MOST_NAMED).collect(),
            active_worker_processes: count(open().filter(|worker| worker.status == WorkerStatus::Ready)),
            total_capacity,
            used_capacity,
            available_capacity: total_capacity.saturating_sub(used_capacity),
            agent_count: in_status(|status| !status.is_final()),
            pending_agents: in_status(AgentStatus::is_pending),
            quarantined_agents,
            utilization: share(used_capacity, total_capacity),
            scale: self.view_scale(scaling.workers, shown),
            total_workers_spawned: self.workers.spawned,
            total_workers_terminated: self.workers.terminated,
            manager_uptime: now.saturating_duration_since(pool.since),
            created_at: pool.created_at,
        }
    }
}
