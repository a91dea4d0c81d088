//! The keeper's model of its pool: agents, workers, free slots and the agenda. It only keeps; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::WorkerEvent;
use muster_domain::{
    Activity, AgentEvent, AgentId, AgentStatus, Assignment, Epoch, EventDraft, EventKind, Gate, PoolSpec, ProcessId,
    Timestamp, WorkerStatus, counted,
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
    pub(crate) since: Instant,
    agents: Agents,
    pub(crate) workers: Workers,
}

/// The agents of a pool, by several ways to find them.
#[derive(Default)]
struct Agents {
    by_id: BTreeMap<AgentId, Agent>,
    /// Those without a slot, in the order of their making.
    pending: BTreeSet<AgentId>,
    /// When each is to be looked at again.
    agenda: BTreeSet<(Instant, AgentId)>,
}

/// The workers of a pool.
#[derive(Default)]
pub(crate) struct Workers {
    by_id: BTreeMap<ProcessId, Worker>,
    /// Those with a free slot in the order of preference: ready ones first, then the fullest, then the oldest.
    free: BTreeSet<(bool, u32, ProcessId)>,
    /// Those whose free slots changed since they were mirrored.
    changed_slots: BTreeSet<ProcessId>,
    /// Those that were ever started, and that have ended.
    pub(crate) spawned: u64,
    pub(crate) terminated: u64,
}

impl Workers {
    pub(crate) fn get(&self, id: &ProcessId) -> Option<&Worker> {
        self.by_id.get(id)
    }

    /// For all but the status and what decides over free slots, which [`Model`] changes.
    pub(crate) fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Worker> {
        self.by_id.get_mut(id)
    }

    /// Every change of what decides over a worker's free slots goes through here, so that the index never lags.
    fn change(&mut self, id: ProcessId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        self.free.remove(&preference(worker));
        change(worker);
        if worker.free() > 0 {
            self.free.insert(preference(worker));
        }
        self.changed_slots.insert(id);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Worker> {
        self.by_id.values()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ProcessId> {
        self.by_id.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Model {
    pub(crate) fn new(row: PoolRow, live: LiveSpec, now: Instant) -> Self {
        Self {
            spec: live.get(),
            live,
            draining: row.draining,
            gate: row.gate,
            created_at: row.created_at,
            since: now,
            agents: Agents::default(),
            workers: Workers { spawned: row.workers_spawned, terminated: row.workers_terminated, ..Workers::default() },
        }
    }

    /// Swaps the pool's settings, here and for those who read them without asking.
    pub(crate) fn reconfigure(&mut self, spec: Arc<PoolSpec>) {
        self.live.swap(Arc::clone(&spec));
        self.spec = spec;
    }

    pub(crate) fn agent(&self, id: AgentId) -> Option<&Agent> {
        self.agents.by_id.get(&id)
    }

    /// For all but the status, which moves by [`Model::move_agent`] only.
    pub(crate) fn agent_mut(&mut self, id: AgentId) -> Option<&mut Agent> {
        self.agents.by_id.get_mut(&id)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.by_id.values()
    }

    /// Agents with a slot in a worker that is not in the model: its death is proven, or it was never started.
    pub(crate) fn homeless(&self) -> Vec<(AgentId, Epoch)> {
        let homeless = |agent: &Agent| {
            let place = agent.status.assignment().filter(|at| !self.workers.by_id.contains_key(&at.process_id))?;
            Some((agent.spec.agent_id, place.epoch))
        };
        self.agents.by_id.values().filter_map(homeless).collect()
    }

    pub(crate) fn agent_ids(&self) -> Vec<AgentId> {
        self.agents.by_id.keys().copied().collect()
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
            self.agents.pending.insert(id);
        }
        self.agents.by_id.insert(id, agent);
    }

    pub(crate) fn take_agent(&mut self, id: AgentId, now: Instant) -> Option<Agent> {
        let agent = self.agents.by_id.remove(&id)?;
        if let Some(at) = agent.status.assignment() {
            self.vacate(at, id, now);
        }
        if let Some(due) = agent.due {
            self.agents.agenda.remove(&(due, id));
        }
        self.agents.pending.remove(&id);
        Some(agent)
    }

    /// Moves an agent's status and keeps slots and the waiting line in step with it.
    pub(crate) fn move_agent(&mut self, id: AgentId, event: &AgentEvent, now: Instant) {
        let Some(agent) = self.agents.by_id.get_mut(&id) else { return };
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
            self.agents.pending.insert(id);
        } else {
            self.agents.pending.remove(&id);
        }
    }

    /// What an agent does, where it runs: by its worker's word, if there is news of it, and by whether it has work.
    pub(crate) fn note_activity(&mut self, id: AgentId, seen: Option<Activity>, has_work: bool) {
        let Some(agent) = self.agents.by_id.get_mut(&id) else { return };
        let (Some(at), Some(before)) = (agent.status.runs_at(), agent.status.activity()) else { return };
        let now = seen.unwrap_or(before).given(has_work);
        if now != before {
            agent.apply(&AgentEvent::Turned(at.epoch, now));
        }
    }

    fn occupy(&mut self, at: Assignment, id: AgentId) {
        self.workers.change(at.process_id, |worker| {
            worker.held.insert(id);
            worker.empty_since = None;
        });
    }

    fn vacate(&mut self, at: Assignment, id: AgentId, now: Instant) {
        self.workers.change(at.process_id, |worker| {
            worker.held.remove(&id);
            if worker.held.is_empty() {
                worker.empty_since = Some(now);
            }
        });
    }

    pub(crate) fn put_worker(&mut self, worker: Worker) {
        let id = worker.process_id;
        self.workers.by_id.insert(id, worker);
        self.workers.change(id, |_| {});
    }

    pub(crate) fn take_worker(&mut self, id: ProcessId) -> Option<Worker> {
        let worker = self.workers.by_id.remove(&id)?;
        self.workers.free.remove(&preference(&worker));
        self.workers.changed_slots.remove(&id);
        Some(worker)
    }

    /// Moves a worker's status; false where the event changes nothing.
    pub(crate) fn move_worker(&mut self, id: ProcessId, event: WorkerEvent) -> bool {
        let Some(after) = self.workers.get(&id).and_then(|worker| worker.status.after(event)) else { return false };
        self.workers.change(id, |worker| worker.status = after);
        true
    }

    /// Notes whether a worker can be heard. One that can't gets no agents.
    pub(crate) fn note_heard(&mut self, id: ProcessId, heard: bool) {
        if self.workers.get(&id).is_some_and(|worker| worker.contact.unheard == heard) {
            self.workers.change(id, |worker| worker.contact.unheard = !heard);
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
        self.workers.free.iter().filter(move |(_, _, id)| may_be_used(id)).map(|(_, free, id)| (*id, *free))
    }

    pub(crate) fn open_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_open()))
    }

    /// Workers that start programs by an older definition of the runtime.
    pub(crate) fn outdated_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_open() && worker.origin.outdated))
    }

    /// Whether there is no room until such a worker is empty.
    pub(crate) fn is_held_by_outdated(&self) -> bool {
        let max = self.spec.config.max_workers;
        max > 0 && self.open_workers() >= max && self.workers.free.is_empty() && self.outdated_workers() > 0
    }

    /// For what an agent without a slot waits, where the workers with an older definition of the runtime leave no room.
    pub(crate) fn held_by_outdated(&self) -> Option<String> {
        let outdated = counted(self.outdated_workers().into(), "worker");
        let runtime = &self.spec.runtime;
        self.is_held_by_outdated().then(|| {
            format!(
                "a worker with the definition of the runtime {runtime} of today: max_workers is reached, and {outdated} with \
                 an older one must be empty first"
            )
        })
    }

    pub(crate) fn taking_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| worker.is_wanted()))
    }

    pub(crate) fn starting_workers(&self) -> u32 {
        count(self.workers.values().filter(|worker| matches!(worker.status, WorkerStatus::Starting { .. })))
    }

    /// Agents that wait for a slot and whose backoff is over, the oldest first.
    pub(crate) fn placeable(&self, now: Instant) -> Vec<AgentId> {
        let ready = |id: &&AgentId| match self.agents.by_id.get(*id).map(|agent| &agent.status) {
            Some(AgentStatus::Pending { not_before }) => not_before.is_none_or(|at| at <= now),
            _ => false,
        };
        self.agents.pending.iter().filter(ready).copied().collect()
    }

    /// Agents that have no slot, whether they may be placed now or not.
    pub(crate) fn pending_agents(&self) -> usize {
        self.agents.pending.len()
    }

    /// Notes when an agent is to be looked at again.
    pub(crate) fn schedule(&mut self, id: AgentId, due: Option<Instant>) {
        let Some(agent) = self.agents.by_id.get_mut(&id) else { return };
        if agent.due == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut agent.due, due) {
            self.agents.agenda.remove(&(old, id));
        }
        if let Some(due) = due {
            self.agents.agenda.insert((due, id));
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.agents.agenda.first().map(|(due, _)| *due)
    }

    /// Takes those that are due off the agenda.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<AgentId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.agents.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agents.agenda.remove(&(at, id));
            if let Some(agent) = self.agents.by_id.get_mut(&id) {
                agent.due = None;
            }
            due.push(id);
        }
        due
    }

    /// The free slots that changed since the last call, for the mirror.
    pub(crate) fn take_changed_slots(&mut self) -> Vec<(ProcessId, u32)> {
        let slots = |id: ProcessId| self.workers.get(&id).map(|worker| (id, worker.free()));
        let changed = self.workers.changed_slots.iter().copied().filter_map(slots).collect();
        self.workers.changed_slots.clear();
        changed
    }

    /// Marks all slots as changed: the mirror was lost.
    pub(crate) fn forget_mirror(&mut self) {
        self.workers.changed_slots = self.workers.keys().copied().collect();
    }

    pub(crate) fn agent_event(&self, kind: EventKind, agent: AgentId, at: Timestamp, reason: String) -> EventDraft {
        let process_id = self.agent(agent).and_then(|agent| agent.status.assignment()).map(|place| place.process_id);
        EventDraft { process_id, agent_id: Some(agent), reason, ..self.pool_event(kind, at) }
    }

    pub(crate) fn worker_event(&self, kind: EventKind, worker: ProcessId, at: Timestamp, reason: String) -> EventDraft {
        EventDraft { process_id: Some(worker), reason, ..self.pool_event(kind, at) }
    }

    pub(crate) fn pool_event(&self, kind: EventKind, at: Timestamp) -> EventDraft {
        let pool_name = Some(self.spec.pool_name.clone());
        EventDraft { at, kind, pool_name, agent_id: None, process_id: None, reason: String::new() }
    }

    pub(crate) fn view(&self, holds: Holds, now: Instant) -> PoolView {
        let open = || self.workers.values().filter(|worker| worker.is_open());
        let slots = |worker: &Worker| if worker.takes_agents() { worker.capacity } else { worker.used() };
        let in_status =
            |is: fn(&AgentStatus) -> bool| count(self.agents.by_id.values().filter(|agent| is(&agent.status)));
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
            total_workers_spawned: self.workers.spawned,
            total_workers_terminated: self.workers.terminated,
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
