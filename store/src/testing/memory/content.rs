//! Everything that the store holds, and what a write does to it.

use muster_domain::{AgentId, Assignment, Fence, PoolName, ProcessId, TaskId, Timestamp, WorkerEnding, WorkerState};

use super::accounts::AccountTable;
use super::agents::AgentTable;
use super::decisions::DecisionTable;
use super::events::EventTable;
use super::keys::IdempotencyKeys;
use super::leader::LeaderRow;
use super::lives::Lives;
use super::metrics::MetricsTable;
use super::pools::PoolTable;
use super::tasks::TaskTable;
use super::workers::WorkerTable;
use crate::{NewAgent, NewTask, StoreError, TaskOutcome, WorkerRow, Write, WriteOutcome};

#[derive(Default)]
pub(super) struct Content {
    pub(super) leader: LeaderRow,
    pub(super) pools: PoolTable,
    pub(super) workers: WorkerTable,
    pub(super) agents: AgentTable,
    pub(super) tasks: TaskTable,
    pub(super) keys: IdempotencyKeys,
    pub(super) events: EventTable,
    pub(super) accounts: AccountTable,
    pub(super) lives: Lives,
    pub(super) metrics: MetricsTable,
    pub(super) decisions: DecisionTable,
}

/// One outcome per task, in order.
fn each<T>(items: &[T], change: impl FnMut(&T) -> bool) -> WriteOutcome {
    let outcome = |changed| if changed { TaskOutcome::Applied } else { TaskOutcome::Unchanged };
    WriteOutcome::Tasks(items.iter().map(change).map(outcome).collect())
}

impl Content {
    pub(super) fn apply(&mut self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        self.leader.admit(fence)?;
        Ok(writes.iter().map(|write| self.carry_out(write)).collect())
    }

    fn carry_out(&mut self, write: &Write) -> WriteOutcome {
        let changed = match write {
            Write::AddPool { spec, at } => {
                let is_added = self.pools.add(spec, *at);
                if is_added {
                    self.decisions.forget(&spec.pool_name);
                }
                is_added
            }
            Write::ChangePool { spec } => self.pools.change(spec),
            Write::DrainPool { pool } => self.pools.drain(pool),
            Write::RemovePool { pool } => self.remove_pool(pool),
            Write::GatePool { pool, gate } => self.pools.gate(pool, *gate),
            Write::ScalePool { pool, target } => self.pools.scale(pool, *target),
            Write::AddDecision(record) => self.decisions.add(record),
            Write::EndDecision { decision_id, state, result, at } => {
                self.decisions.end(*decision_id, *state, result, *at)
            }
            Write::PauseAll { paused } => self.pools.pause_all(*paused),
            Write::AddWorker { process_id, pool, capacity, key, spec, at } => self.add_worker(WorkerRow {
                process_id: *process_id,
                pool_name: pool.clone(),
                capacity: *capacity,
                state: WorkerState::Starting,
                identity: None,
                key: Some(*key),
                spec: spec.clone(),
                interruption: None,
                created_at: *at,
                ended_at: None,
                ending: None,
            }),
            Write::IdentifyWorker { process_id, identity } => self.workers.identify(*process_id, identity),
            Write::InterruptWorker { process_id, interruption } => self.workers.interrupt(*process_id, *interruption),
            Write::DrainWorker { process_id } => self.workers.drain(*process_id),
            Write::EndWorker { process_id, lost, ending, at } => self.end_worker(*process_id, *lost, ending, *at),
            Write::AddAgent(new) => return self.add_agent(new),
            Write::Assign { agent_id, to, at } => self.assign(*agent_id, *to, *at),
            Write::StopAgent { agent_id, reason, at } => self.agents.stop(*agent_id, *reason, *at),
            Write::Release { agent_id, epoch, ending, then, at } => {
                self.agents.release(*agent_id, *epoch, ending, *then, *at)
            }
            Write::RestartAgent { agent_id, epoch, at } => self.agents.restart(*agent_id, *epoch, *at),
            Write::ReviveAgent { agent_id, at } => self.agents.revive(*agent_id, *at),
            Write::AddTasks(new) => return self.add_tasks(new),
            Write::StartTasks(starts) => return each(starts, |start| self.tasks.start(start)),
            Write::HaltTasks(haltings) => return each(haltings, |halting| self.tasks.halt(halting)),
            Write::EndTasks(endings) => return each(endings, |ending| self.tasks.end(ending)),
            Write::SettleTasks(verdicts) => return each(verdicts, |verdict| self.tasks.settle(verdict)),
            Write::PromoteTasks(ids) => return each(ids, |id| self.tasks.promote(*id)),
            Write::RedriveTasks(ids) => return each(ids, |id| self.redrive(*id)),
            Write::WithdrawTasks(ids) => return each(ids, |id| self.withdraw(*id)),
            Write::AddUsage(added) => self.accounts.add_usage(added),
            Write::AddExecutions(added) => self.accounts.add_executions(*added),
            Write::ShiftWaits { pool, by_millis, step } => self.tasks.shift(pool.as_ref(), *by_millis, step),
            Write::NoteLife(life) => self.lives.note(life),
            Write::Event(event) => self.events.add(event),
        };
        if changed { WriteOutcome::Applied } else { WriteOutcome::Unchanged }
    }

    fn remove_pool(&mut self, pool: &PoolName) -> bool {
        let is_empty = !self.workers.are_open(pool) && !self.agents.are_left(pool) && !self.tasks.are_left(pool);
        is_empty && self.pools.remove(pool)
    }

    fn add_worker(&mut self, row: WorkerRow) -> bool {
        !self.workers.have(row.process_id) && self.pools.count_spawned(&row.pool_name) && self.workers.add(row)
    }

    fn end_worker(&mut self, id: ProcessId, lost: bool, ending: &WorkerEnding, at: Timestamp) -> bool {
        let pool = self.workers.end(id, lost, ending, at);
        pool.map(|pool| self.pools.count_terminated(&pool)).is_some()
    }

    /// Whether a worker takes one more agent.
    fn has_slot(&self, worker: ProcessId) -> bool {
        let slots = self.workers.slots(worker) as usize;
        slots > 0 && self.agents.on(worker) < slots
    }

    fn add_agent(&mut self, new: &NewAgent) -> WriteOutcome {
        let id = new.spec.agent_id;
        if !self.pools.have(&new.spec.pool_name) {
            return WriteOutcome::Unchanged;
        }
        if let Some((agent_id, body_hash)) = new.key.as_ref().and_then(|key| self.keys.claim(key, id, new.at)) {
            return WriteOutcome::Replayed { agent_id, body_hash };
        }
        let worker = new.worker.filter(|worker| self.has_slot(*worker));
        match (self.agents.add(new, worker), worker) {
            (false, _) => WriteOutcome::Unchanged,
            (true, None) => WriteOutcome::Unplaced,
            (true, Some(_)) => WriteOutcome::Applied,
        }
    }

    fn assign(&mut self, id: AgentId, to: Assignment, at: Timestamp) -> bool {
        self.has_slot(to.process_id) && self.agents.assign(id, to, at)
    }

    /// Those without a key go first, as in the other engines.
    fn add_tasks(&mut self, new: &[NewTask]) -> WriteOutcome {
        let mut outcomes = vec![TaskOutcome::Unchanged; new.len()];
        let (plain, keyed): (Vec<_>, Vec<_>) = new.iter().enumerate().partition(|(_, task)| task.key.is_none());
        for (place, task) in plain.into_iter().chain(keyed) {
            outcomes[place] = self.add_task(task);
        }
        WriteOutcome::Tasks(outcomes)
    }

    fn add_task(&mut self, new: &NewTask) -> TaskOutcome {
        let id = new.spec.task_id;
        if !self.pools.have(&new.spec.pool_name) {
            return TaskOutcome::Unchanged;
        }
        if let Some((task_id, body_hash)) = new.key.as_ref().and_then(|key| self.keys.claim(key, id, new.at)) {
            return TaskOutcome::Replayed { task_id, body_hash };
        }
        if self.tasks.add(new) { TaskOutcome::Applied } else { TaskOutcome::Unchanged }
    }

    /// Nobody takes care of a queued task whose pool is gone.
    fn redrive(&mut self, id: TaskId) -> bool {
        self.tasks.redrive(id, |pool| self.pools.have(pool))
    }

    fn withdraw(&mut self, id: TaskId) -> bool {
        self.keys.forget(id);
        self.tasks.remove(id)
    }

    /// Nothing has ended after this moment.
    pub(super) fn bring_back(&mut self, to: Timestamp) {
        self.tasks.bring_back(to);
        self.agents.bring_back(to);
        self.workers.bring_back(to);
        self.events.bring_back(to);
        self.keys.bring_back(to);
        self.metrics.bring_back(to);
    }
}
