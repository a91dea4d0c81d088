//! When a commit failed nobody knows whether it went through, and when a precondition did not hold the model is wrong.
//! Then the truth is read again, and the model follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_domain::worker::WorkerEnd;
use muster_domain::{AgentId, ProcessId, WorkerState, WorkerStatus};
use muster_store::{AgentRow, PoolRow, WorkerRow};

use super::agent::Agent;
use super::death::Ended;
use super::worker::Worker;
use super::{Keeper, Removal, Round};

impl Keeper {
    pub(super) async fn read_again(&mut self, round: &mut Round) {
        let pool = self.model.spec.pool_name.clone();
        let (Ok(row), Ok(agents), Ok(workers)) = (
            self.context.pool(&pool).await,
            self.context.live_agents(&pool).await,
            self.context.open_workers(&pool).await,
        ) else {
            return;
        };
        self.doubt = false;
        match row {
            Some(row) => self.compare_pool(row, round),
            // It was removed after all.
            None => return self.pool_gone(),
        }
        let never_started = self.take_never_started(workers, round);
        let mut rows: BTreeMap<AgentId, AgentRow> = agents.into_iter().map(|row| (row.spec.agent_id, row)).collect();
        for id in self.model.agent_ids() {
            match rows.remove(&id) {
                Some(row) => self.compare_row(row, round),
                None => self.read_agent(id, round).await,
            }
        }
        for (id, row) in rows {
            // Whoever asked for it was told that nothing was changed: so it ends.
            tracing::warn!(agent.id = %id, "an agent was stored after all, though its caller was refused; it is stopped");
            self.follow_store(Agent::from_row(row), round);
            self.end_refused(id, round);
        }
        // Whoever was placed there leaves again.
        for id in never_started {
            let why = "its row was stored by a commit that seemed to fail".to_owned();
            self.died(id, Ended::NotStarted(why), round);
        }
    }

    /// A change or a removal that was stored though its caller was refused is followed.
    fn compare_pool(&mut self, row: PoolRow, round: &mut Round) {
        if *self.model.spec != row.spec {
            tracing::warn!(pool.name = %row.spec.pool_name, "a pool was changed after all, though its caller was refused");
            self.model.reconfigure(Arc::new(row.spec));
            self.tasks_reconfigured(round);
        }
        self.model.gate = row.gate;
        if row.draining && !self.model.draining {
            tracing::warn!(pool.name = %self.model.spec.pool_name, "a pool is going after all, though its caller was refused");
            self.removal.get_or_insert(Removal { graceful: true, replies: Vec::new() });
            self.model.draining = true;
        }
    }

    /// Takes in workers whose rows were committed though the commit seemed to fail: a worker is started after its
    /// commit, so these never were. They are ended before anybody is placed on them.
    fn take_never_started(&mut self, rows: Vec<WorkerRow>, round: &Round) -> Vec<ProcessId> {
        let mut taken = Vec::new();
        for row in rows {
            if let Some(known) = self.model.workers.get(&row.process_id) {
                if row.state == WorkerState::Draining && known.status.takes_agents() {
                    self.end_worker(row.process_id, WorkerEnd::Stopped, round);
                }
                continue;
            }
            let worker = Worker::new(row.process_id, row.capacity, row.created_at, round.now);
            let status = WorkerStatus::Ending { since: round.now, how: WorkerEnd::Lost };
            self.model.put_worker(Worker { status, vouched: true, begun: None, ..worker });
            taken.push(row.process_id);
        }
        taken
    }

    /// An agent that is not among the live ones any more: it is at rest, and its row says how.
    async fn read_agent(&mut self, id: AgentId, round: &mut Round) {
        match self.context.store.agent(id).await {
            Ok(Some(row)) => self.follow_store(Agent::from_row(row), round),
            Ok(None) => drop(self.model.take_agent(id, round.now)),
            Err(error) => {
                self.context.store_failed(&error);
                self.doubt = true;
            }
        }
    }

    fn compare_row(&mut self, row: AgentRow, round: &mut Round) {
        let Some(agent) = self.model.agent(row.spec.agent_id) else { return };
        let known = Agent::from_row(row);
        let same_place = agent.status.assignment() == known.status.assignment() && agent.epoch == known.epoch;
        let same_end = agent.status.is_final() == known.status.is_final();
        let same_wish = agent.status.state() == known.status.state() || known.status.after_stop().is_none();
        let agrees = same_place && same_end && same_wish;
        if !agent.leaving && !agrees {
            self.follow_store(known, round);
        }
    }
}
