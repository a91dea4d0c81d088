//! The keeper's model of its pool: agents, workers, free slots and the agenda. It only keeps; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::WorkerEvent;
use muster_domain::{
    Activity, AgentEvent, AgentId, AgentStatus, Assignment, Epoch, Gate, PoolSpec, ProcessId, Timestamp, WorkerStatus,
};
use muster_store::PoolRow;

use super::agent::Agent;
use super::worker::Worker;
use crate::directory::LiveSpec;
use crate::view::{Holds, PoolView, share};

pub(crate) struct Model {
    /// What the pool is; [`Model::reconfigure`] changes it.
    pub(crate) spec: Arc<PoolSpec>,
    /// The same for those who do not ask the keeper.
    live: LiveSpec,
    pub(crate) draining: bool,
    pub(crate) gate: Gate,
    pub(crate) created_at: Timestamp,
    pub(crate) workers_spawned: u64,
    pub(crate) workers_terminated: u64,
    pub(crate) since: Instant,
    agents: BTreeMap<AgentId, Agent>,
    pub(crate) workers: BTreeMap<ProcessId, Worker>,
    /// Workers with a free slot in the order of preference: ready ones first, then the fullest, then the oldest.
    free: BTreeSet<(bool, u32, ProcessId)>,
    /// Agents without a slot, in the order of their making.
    pending: BTreeSet<AgentId>,
    /// When each agent is to be looked at again.
    agenda: BTreeSet<(Instant, AgentId)>,
    /// Workers whose free slots changed since they were mirrored.
    changed_slots: BTreeSet<ProcessId>,
}

impl Model {
    pub(crate) fn new(row: PoolRow, live: LiveSpec, now: Instant) -> Self {
        Self {
            spec: live.get(),
            live,
            draining: row.draining,
            gate: row.gate,
            created_at: row.created_at,
            workers_spawned: row.workers_spawned,
            workers_terminated: row.workers_terminated,
            since: now,
            agents: BTreeMap::new(),
            workers: BTreeMap::new(),
            free: BTreeSet::new(),
            pending: BTreeSet::new(),
            agenda: BTreeSet::new(),
            changed_slots: BTreeSet::new(),
        }
    }

    /// Swaps the pool's settings, here and for those who read them without asking.
    pub(crate) fn reconfigure(&mut self, spec: Arc<PoolSpec>) {
        self.live.swap(Arc::clone(&spec));
        self.spec = spec;
    }

    pub(crate) fn agent(&self, id: AgentId) -> Option<&Agent> {
        self.agents.get(&id)
    }

    /// For all but the status, which moves by [`Model::move_agent`] only.
    pub(crate) fn agent_mut(&mut self, id: AgentId) -> Option<&mut Agent> {
        self.agents.get_mut(&id)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Agents with a slot in a worker that is not in the model: its death is proven, or it was never started.
    pub(crate) fn homeless(&self) -> Vec<(AgentId, Epoch)> {
        let homeless = |agent: &Agent| {
            let place = agent.status.assignment().filter(|at| !self.workers.contains_key(&at.process_id))?;
            Some((agent.spec.agent_id, place.epoch))
        };
        self.agents.values().filter_map(homeless).collect()
    }

    pub(crate) fn agent_ids(&self) -> Vec<AgentId> {
        self.agents.keys().copied().collect()
    }

    /// Takes an agent in, or a fresh copy of one: whoever waited for the old copy waits for the new one.
    pub(crate) fn put_agent(&mut self, mut agent: Agent, now: Instant) {
        let id = agent.spec.agent_id;
        if let Some(old) = self.take_agent(id, now) {
            agent.waiters = old.waiters;
            agent.history = old.history;
        }
        if let Some(at) = agent.status.assignment() {
            self.occupy(at, id);
        }
        if agent.status.is_pending() {
            self.pending.insert(id);
        }
        self.agents.insert(id, agent);
    }

    pub(crate) fn take_agent(&mut self, id: AgentId, now: Instant) -> Option<Agent> {
        let agent = self.agents.remove(&id)?;
        if let Some(at) = agent.status.assignment() {
            self.vacate(at, id, now);
        }
        if let Some(due) = agent.due {
            self.agenda.remove(&(due, id));
        }
        self.pending.remove(&id);
        Some(agent)
    }

    /// Moves an agent's status and keeps slots and the waiting line in step with it.
    pub(crate) fn move_agent(&mut self, id: AgentId, event: &AgentEvent, now: Instant) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let before = agent.status.assignment();
        agent.apply(event);
        let after = agent.status.assignment();
        let pending = agent.status.is_pending();
        if before != after {
            if let Some(at) = before {
                self.vacate(at, id, now);
            }
            if let Some(at) = after {
                self.occupy(at, id);
            }
        }
        if pending {
            self.pending.insert(id);
        } else {
            self.pending.remove(&id);
        }
    }

    /// What an agent does, where it runs: by its worker's word, if there is news of it, and by whether it has work.
    pub(crate) fn note_activity(&mut self, id: AgentId, seen: Option<Activity>, has_work: bool) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let (Some(at), Some(before)) = (agent.status.runs_at(), agent.status.activity()) else { return };
        let now = seen.unwrap_or(before).given(has_work);
        if now != before {
            agent.apply(&AgentEvent::Turned(at.epoch, now));
        }
    }

    fn occupy(&mut self, at: Assignment, id: AgentId) {
        self.change_worker(at.process_id, |worker| {
            worker.held.insert(id);
            worker.empty_since = None;
        });
    }

    fn vacate(&mut self, at: Assignment, id: AgentId, now: Instant) {
        self.change_worker(at.process_id, |worker| {
            worker.held.remove(&id);
            if worker.held.is_empty() {
                worker.empty_since = Some(now);
            }
        });
    }

    pub(crate) fn put_worker(&mut self, worker: Worker) {
        let id = worker.process_id;
        self.workers.insert(id, worker);
        self.change_worker(id, |_| {});
    }

    pub(crate) fn take_worker(&mut self, id: ProcessId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.free.remove(&preference(&worker));
        self.changed_slots.remove(&id);
        Some(worker)
    }

    /// Moves a worker's status; false where the event changes nothing.
    pub(crate) fn move_worker(&mut self, id: ProcessId, event: WorkerEvent) -> bool {
        let Some(after) = self.workers.get(&id).and_then(|worker| worker.status.after(event)) else { return false };
        self.change_worker(id, |worker| worker.status = after);
        true
    }

    /// Every change of what decides over a worker's free slots goes through here, so that the index never lags.
    fn change_worker(&mut self, id: ProcessId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        self.free.remove(&preference(worker));
        change(worker);
        if worker.free() > 0 {
            self.free.insert(preference(worker));
        }
        self.changed_slots.insert(id);
    }

    /// Notes whether a worker can be heard. One that can't gets no agents.
    pub(crate) fn note_heard(&mut self, id: ProcessId, heard: bool) {
        if self.workers.get(&id).is_some_and(|worker| worker.unheard == heard) {
            self.change_worker(id, |worker| worker.unheard = !heard);
        }
    }

    pub(crate) fn worker_listens(&self, id: ProcessId) -> bool {
        self.workers.get(&id).is_some_and(Worker::listens)
    }

    /// Free slots, in the order of preference. Those of a worker without a key only where no other worker can be had.
    pub(crate) fn free_slots(&self) -> impl Iterator<Item = (ProcessId, u32)> {
        let most = self.spec.config.max_workers;
        let is_all = most > 0 && self.open_workers() >= most;
        let may_be_used = move |id: &ProcessId| is_all || self.workers.get(id).is_some_and(Worker::is_wanted);
        self.free.iter().filter(move |(_, _, id)| may_be_used(id)).map(|(_, free, id)| (*id, *free))
    }

    pub(crate) fn open_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_open()))
    }

    /// Workers that start programs by an older definition of the runtime.
    pub(crate) fn outdated_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_open() && worker.outdated))
    }

    /// Whether there is no room until such a worker is empty.
    pub(crate) fn is_held_by_outdated(&self) -> bool {
        let max = self.spec.config.max_workers;
        max > 0 && self.open_workers() >= max && self.free.is_empty() && self.outdated_workers() > 0
    }

    pub(crate) fn taking_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_wanted()))
    }

    pub(crate) fn starting_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| matches!(worker.status, WorkerStatus::Starting { .. })))
    }

    /// Agents that wait for a slot and whose backoff is over, the oldest first.
    pub(crate) fn placeable(&self, now: Instant) -> Vec<AgentId> {
        let ready = |id: &&AgentId| match self.agents.get(*id).map(|agent| &agent.status) {
            Some(AgentStatus::Pending { not_before }) => not_before.is_none_or(|at| at <= now),
            _ => false,
        };
        self.pending.iter().filter(ready).copied().collect()
    }

    /// Agents that have no slot, whether they may be placed now or not.
    pub(crate) fn pending_agents(&self) -> usize {
        self.pending.len()
    }

    /// Notes when an agent is to be looked at again.
    pub(crate) fn schedule(&mut self, id: AgentId, due: Option<Instant>) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.due == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut agent.due, due) {
            self.agenda.remove(&(old, id));
        }
        if let Some(due) = due {
            self.agenda.insert((due, id));
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// Takes those that are due off the agenda.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<AgentId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, id));
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.due = None;
            }
            due.push(id);
        }
        due
    }

    /// The free slots that changed since the last call, for the mirror.
    pub(crate) fn take_changed_slots(&mut self) -> Vec<(ProcessId, u32)> {
        let slots = |id: ProcessId| self.workers.get(&id).map(|worker| (id, worker.free()));
        let changed = self.changed_slots.iter().copied().filter_map(slots).collect();
        self.changed_slots.clear();
        changed
    }

    /// Marks all slots as changed: the mirror was lost.
    pub(crate) fn forget_mirror(&mut self) {
        self.changed_slots = self.workers.keys().copied().collect();
    }

    pub(crate) fn view(&self, holds: Holds, now: Instant) -> PoolView {
        let open = || self.workers.values().filter(|worker| worker.is_open());
        let slots = |worker: &Worker| if worker.takes_agents() { worker.capacity } else { worker.used() };
        let in_status = |is: fn(&AgentStatus) -> bool| count(self.agents.values().filter(|agent| is(&agent.status)));
        let quarantined_agents = in_status(AgentStatus::needs_person);
        let (total_capacity, used_capacity) = (open().map(slots).sum(), open().map(Worker::used).sum());
        PoolView {
            pool_name: self.spec.pool_name.clone(),
            role_type: self.spec.role_type.clone(),
            runtime: self.spec.runtime.clone(),
            config: self.spec.config.clone(),
            origin: self.spec.origin,
            holds,
            process_count: count(open()),
            outdated_workers: self.outdated_workers(),
            active_worker_processes: count(open().filter(|worker| worker.status == WorkerStatus::Ready)),
            total_capacity,
            used_capacity,
            available_capacity: total_capacity.saturating_sub(used_capacity),
            agent_count: in_status(|status| !status.is_final()),
            pending_agents: in_status(AgentStatus::is_pending),
            quarantined_agents,
            utilization: share(used_capacity, total_capacity),
            total_workers_spawned: self.workers_spawned,
            total_workers_terminated: self.workers_terminated,
            manager_uptime: now.saturating_duration_since(self.since),
            created_at: self.created_at,
        }
    }
}

fn preference(worker: &Worker) -> (bool, u32, ProcessId) {
    (worker.status != WorkerStatus::Ready, worker.free(), worker.process_id)
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
