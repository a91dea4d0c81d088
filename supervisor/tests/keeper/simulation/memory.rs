//! A store in memory, for lives that have no time for a file. What it does to pools, workers and agents is here, what it does
//! to tasks is beside it. That it does what SQLite does is checked with each life that runs over both.

use std::collections::BTreeMap;

use muster_domain::budget::Scope;
use muster_domain::{
    AgentId, AgentState, Assignment, Ending, Epoch, EventDraft, Executions, Fence, FinalState, Intent, PoolName,
    ProcessId, StopReason, Timestamp, Usage, WorkerState,
};
use muster_store::{AgentRow, EventRow, Life, NewAgent, Outcome, PoolRow, StoreError, UsageAdded, WorkerRow, Write};

use super::shelf::Shelf;

#[derive(Default)]
pub(super) struct Content {
    pub(super) fence: u64,
    /// Whether somebody leads with that fence.
    pub(super) led: bool,
    pub(super) paused: bool,
    pub(super) pools: BTreeMap<PoolName, PoolRow>,
    pub(super) workers: BTreeMap<ProcessId, WorkerRow>,
    agents: BTreeMap<AgentId, Agent>,
    pub(super) events: Vec<EventRow>,
    pub(super) shelf: Shelf,
    /// The sums of accounts.
    pub(super) usage: BTreeMap<(Scope, String), Usage>,
    /// Attempts that are over.
    pub(super) executions: Executions,
    /// By leader and part.
    lives: BTreeMap<(Fence, u32), Life>,
}

struct Agent {
    row: AgentRow,
    restart_of: Option<Epoch>,
    /// Whether a supervisor must know of it.
    lives: bool,
}

impl Agent {
    fn read(&self) -> AgentRow {
        let restart = self.row.assignment.is_some() && self.restart_of == Some(self.row.epoch);
        AgentRow { restart, ..self.row.clone() }
    }
}

fn outcome(changed: bool) -> Outcome {
    if changed { Outcome::Applied } else { Outcome::Unchanged }
}

impl Content {
    pub(super) fn apply(&mut self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        self.admit(fence)?;
        Ok(writes.iter().map(|write| self.carry_out(write)).collect())
    }

    pub(super) fn admit(&self, fence: Fence) -> Result<(), StoreError> {
        let current = Fence(self.fence);
        if self.led && fence == current { Ok(()) } else { Err(StoreError::Fenced { ours: fence, current }) }
    }

    fn carry_out(&mut self, write: &Write) -> Outcome {
        match write {
            Write::AddPool { .. }
            | Write::ChangePool { .. }
            | Write::DrainPool { .. }
            | Write::RemovePool { .. }
            | Write::GatePool { .. } => outcome(self.change_pool(write)),
            Write::PauseAll { paused } => {
                self.paused = *paused;
                Outcome::Applied
            }
            Write::AddWorker { .. }
            | Write::IdentifyWorker { .. }
            | Write::DrainWorker { .. }
            | Write::EndWorker { .. } => outcome(self.change_worker(write)),
            Write::AddAgent(new) => self.add_agent(new),
            Write::Assign { agent_id, to, at } => outcome(self.assign(*agent_id, *to, *at)),
            Write::StopAgent { agent_id, reason, at } => outcome(self.stop(*agent_id, *reason, *at)),
            Write::Release { agent_id, epoch, ending, then, at } => {
                outcome(self.release(*agent_id, *epoch, ending, *then, *at))
            }
            Write::RestartAgent { agent_id, epoch, at } => outcome(self.restart(*agent_id, *epoch, *at)),
            Write::ReviveAgent { agent_id, at } => outcome(self.revive(*agent_id, *at)),
            Write::Event(event) => self.tell(event),
            Write::AddUsage(added) => {
                for UsageAdded { scope, name, usage } in added {
                    let sum = self.usage.entry((*scope, name.clone())).or_default();
                    *sum = sum.plus(*usage);
                }
                Outcome::Applied
            }
            Write::AddExecutions(Executions { total, succeeded, failed }) => {
                let sum = &mut self.executions;
                (sum.total, sum.succeeded, sum.failed) =
                    (sum.total + total, sum.succeeded + succeeded, sum.failed + failed);
                Outcome::Applied
            }
            Write::ShiftWaits { pool, by_millis, step } => outcome(self.shelf.shift(pool.as_ref(), *by_millis, step)),
            Write::NoteLife(life) => {
                self.lives.entry((life.fence, life.part)).or_insert_with(|| life.clone()).seen_at = life.seen_at;
                Outcome::Applied
            }
            of_tasks => Outcome::Tasks(self.shelf.carry_out(of_tasks, |pool| self.pools.contains_key(pool))),
        }
    }

    pub(super) fn bring_back(&mut self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        self.admit(fence)?;
        self.shelf.bring_back(to);
        let ends = self.workers.values_mut().filter_map(|row| row.ended_at.as_mut());
        ends.for_each(|end| *end = (*end).min(to));
        Ok(())
    }

    /// The latest first.
    pub(super) fn lives(&self) -> Vec<Life> {
        self.lives.values().rev().cloned().collect()
    }

    fn tell(&mut self, event: &EventDraft) -> Outcome {
        let seq = self.events.len() as u64 + 1;
        self.events.push(EventRow { seq, event: event.clone() });
        Outcome::Applied
    }

    fn change_pool(&mut self, write: &Write) -> bool {
        let name = match write {
            Write::AddPool { spec, at } => {
                let (spec, created_at) = (spec.clone(), *at);
                let (workers_spawned, workers_terminated, gate) = (0, 0, Default::default());
                let row = PoolRow { spec, draining: false, created_at, workers_spawned, workers_terminated, gate };
                let name = row.spec.pool_name.clone();
                let free = !self.pools.contains_key(&name);
                self.pools.entry(name).or_insert(row);
                return free;
            }
            Write::RemovePool { pool } => return self.remove_pool(pool),
            Write::ChangePool { spec } => &spec.pool_name,
            Write::DrainPool { pool } | Write::GatePool { pool, .. } => pool,
            _ => return false,
        };
        let Some(row) = self.pools.get_mut(name) else { return false };
        match write {
            Write::ChangePool { spec } => row.spec = spec.clone(),
            Write::GatePool { gate, .. } => row.gate = *gate,
            _ => return !std::mem::replace(&mut row.draining, true),
        }
        true
    }

    fn remove_pool(&mut self, pool: &PoolName) -> bool {
        let worker = self.workers.values().any(|row| row.pool_name == *pool && row.ended_at.is_none());
        let is_left = |row: &AgentRow| row.final_state.is_none() || row.assignment.is_some();
        let agent = self.agents.values().any(|agent| agent.row.spec.pool_name == *pool && is_left(&agent.row));
        let keep = worker || agent || self.shelf.has_work(pool);
        !keep && self.pools.remove(pool).is_some()
    }

    fn change_worker(&mut self, write: &Write) -> bool {
        match write {
            Write::AddWorker { process_id, pool, capacity, key, runtime_version, launcher, at } => {
                let Some(row) = self.pools.get_mut(pool).filter(|_| !self.workers.contains_key(process_id)) else {
                    return false;
                };
                row.workers_spawned += 1;
                let worker = WorkerRow {
                    process_id: *process_id,
                    pool_name: pool.clone(),
                    capacity: *capacity,
                    state: WorkerState::Starting,
                    identity: None,
                    key: Some(*key),
                    runtime_version: runtime_version.clone(),
                    launcher: launcher.clone(),
                    created_at: *at,
                    ended_at: None,
                    ending: None,
                };
                self.workers.insert(*process_id, worker);
                true
            }
            Write::IdentifyWorker { process_id, identity } => {
                self.open_worker(*process_id).map(|row| row.identity = Some(identity.clone())).is_some()
            }
            Write::DrainWorker { process_id } => match self.open_worker(*process_id) {
                Some(row) if row.state == WorkerState::Starting => {
                    row.state = WorkerState::Draining;
                    true
                }
                _ => false,
            },
            Write::EndWorker { process_id, lost, ending, at } => {
                let Some(row) = self.open_worker(*process_id) else { return false };
                row.state = if *lost { WorkerState::Lost } else { WorkerState::Stopped };
                (row.ended_at, row.ending) = (Some(*at), Some(ending.clone()));
                let pool = row.pool_name.clone();
                if let Some(pool) = self.pools.get_mut(&pool) {
                    pool.workers_terminated += 1;
                }
                true
            }
            _ => false,
        }
    }

    fn open_worker(&mut self, id: ProcessId) -> Option<&mut WorkerRow> {
        self.workers.get_mut(&id).filter(|row| row.ended_at.is_none())
    }

    fn has_slot(&self, worker: ProcessId) -> bool {
        let on_it = |agent: &&Agent| agent.lives && agent.row.assignment.is_some_and(|at| at.process_id == worker);
        let used = self.agents.values().filter(on_it).count();
        let takes = |row: &&WorkerRow| row.state == WorkerState::Starting && used < row.capacity as usize;
        self.workers.get(&worker).filter(takes).is_some()
    }

    fn add_agent(&mut self, new: &NewAgent) -> Outcome {
        let NewAgent { spec, worker, at, .. } = new;
        if !self.pools.contains_key(&spec.pool_name) || self.agents.contains_key(&spec.agent_id) {
            return Outcome::Unchanged;
        }
        let worker = worker.filter(|worker| self.has_slot(*worker));
        let epoch = Epoch(u64::from(worker.is_some()));
        let row = AgentRow {
            spec: spec.clone(),
            intent: Intent::Run,
            assignment: worker.map(|process_id| Assignment { process_id, epoch }),
            epoch,
            final_state: None,
            last_ending: None,
            restarts: 0,
            created_at: *at,
            updated_at: *at,
            restart: false,
        };
        self.agents.insert(spec.agent_id, Agent { row, restart_of: None, lives: true });
        if worker.is_some() { Outcome::Applied } else { Outcome::Unplaced }
    }

    fn assign(&mut self, id: AgentId, to: Assignment, at: Timestamp) -> bool {
        let slot = self.has_slot(to.process_id);
        let Some(Agent { row, .. }) = self.agents.get_mut(&id) else { return false };
        let waits = row.intent == Intent::Run && row.final_state.is_none() && row.assignment.is_none();
        if !slot || !waits || row.epoch.next() != to.epoch {
            return false;
        }
        (row.assignment, row.epoch, row.updated_at) = (Some(to), to.epoch, at);
        true
    }

    fn stop(&mut self, id: AgentId, reason: StopReason, at: Timestamp) -> bool {
        let runs = |agent: &&mut Agent| agent.row.intent == Intent::Run;
        let Some(agent) = self.agents.get_mut(&id).filter(runs) else { return false };
        (agent.row.intent, agent.row.updated_at) = (Intent::Stop(reason), at);
        if agent.row.assignment.is_none() {
            (agent.row.final_state, agent.lives) = (Some(FinalState::Terminated(reason)), false);
        }
        true
    }

    fn release(&mut self, id: AgentId, epoch: Epoch, ending: &Ending, then: Option<FinalState>, at: Timestamp) -> bool {
        let held = |agent: &&mut Agent| agent.row.assignment.is_some() && agent.row.epoch == epoch;
        let Some(agent) = self.agents.get_mut(&id).filter(held) else { return false };
        let row = &mut agent.row;
        (row.assignment, row.last_ending, row.updated_at) = (None, Some(ending.clone()), at);
        if row.intent == Intent::Run {
            let stop = then.and_then(FinalState::stop_reason);
            row.final_state = then;
            row.restarts += u64::from(then.is_none());
            agent.lives = stop.is_none();
            row.intent = stop.map_or(Intent::Run, Intent::Stop);
        } else {
            let state = then.map_or(AgentState::Terminated, FinalState::state_if_stopped);
            row.final_state = FinalState::of(state, row.intent);
            agent.lives = false;
        }
        true
    }

    fn restart(&mut self, id: AgentId, epoch: Epoch, at: Timestamp) -> bool {
        let Some(agent) = self.agents.get_mut(&id) else { return false };
        let runs = agent.row.intent == Intent::Run && agent.row.assignment.is_some() && agent.row.epoch == epoch;
        if runs {
            (agent.restart_of, agent.row.updated_at) = (Some(epoch), at);
        }
        runs
    }

    fn revive(&mut self, id: AgentId, at: Timestamp) -> bool {
        let Some(agent) = self.agents.get_mut(&id) else { return false };
        let rests = agent.row.final_state.is_some_and(FinalState::may_run_again);
        if rests {
            (agent.row.intent, agent.row.final_state, agent.row.updated_at, agent.lives) =
                (Intent::Run, None, at, true);
            agent.row.restarts += 1;
        }
        rests
    }

    pub(super) fn live_agents(&self) -> Vec<AgentRow> {
        self.agents.values().filter(|agent| agent.lives).map(Agent::read).collect()
    }

    pub(super) fn agent(&self, id: AgentId) -> Option<AgentRow> {
        self.agents.get(&id).map(Agent::read)
    }
}
