//! When a commit failed nobody knows whether it went through, and when a precondition did not hold the model is wrong.
//! Then the truth is read again, and the model follows it. What differs is found here; the controller carries it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_domain::worker::WorkerEnd;
use muster_domain::{AgentId, PoolName, ProcessId, WorkerState};
use muster_store::{AgentRow, PoolRow, WorkerRow};

use super::Turn;
use super::agents::agent::PoolAgent;
use super::model::Model;
use crate::context::Context;
use crate::error::SupervisorError;

/// What the store knows of a pool.
pub(super) struct StoredPool {
    pub(super) pool: PoolRow,
    /// Those that are not at rest for good.
    pub(super) agents: Vec<AgentRow>,
    pub(super) workers: Vec<WorkerRow>,
}

impl StoredPool {
    /// None if there is no such pool any more.
    pub(super) async fn read(context: &Context, pool: &PoolName) -> Result<Option<Self>, SupervisorError> {
        let row = context.pool(pool).await?;
        let (agents, workers) = (context.live_agents(pool).await?, context.open_workers(pool).await?);
        Ok(row.map(|pool| Self { pool, agents, workers }))
    }
}

/// Agents of which the store knows something else than the model.
pub(super) struct Differing {
    /// As the store knows them.
    pub(super) known: Vec<PoolAgent>,
    /// Those that are live in the model and not in the store.
    pub(super) at_rest: Vec<AgentId>,
    /// Those that are not in the model.
    pub(super) unknown: Vec<PoolAgent>,
}

impl Model {
    /// A change or a removal that was stored though its caller was refused is followed. Says whether the settings are others now.
    pub(super) fn follow_pool(&mut self, row: &PoolRow) -> bool {
        let pool = &mut self.pool;
        let is_changed = *pool.spec != row.spec;
        if is_changed {
            tracing::warn!(pool.name = %row.spec.pool_name, "a pool was changed after all, though its caller was refused");
            pool.reconfigure(Arc::new(row.spec.clone()));
        }
        pool.gate = row.gate;
        pool.target = row.target;
        if row.draining && !pool.draining {
            tracing::warn!(pool.name = %pool.spec.pool_name, "a pool is going after all, though its caller was refused");
            pool.draining = true;
        }
        is_changed
    }

    /// Takes in workers whose rows were committed though the commit seemed to fail, and returns them: they never started.
    pub(super) fn follow_workers(&mut self, rows: &[WorkerRow], turn: &mut Turn) -> Vec<ProcessId> {
        let mut taken = Vec::new();
        for row in rows {
            match self.workers.get(&row.process_id) {
                Some(known) if row.state == WorkerState::Draining && known.status.takes_agents() => {
                    self.workers.end(row.process_id, WorkerEnd::Stopped, turn);
                }
                Some(_) => {
                    if let Some(notice) = row.interruption {
                        self.workers.set_interruption(row.process_id, notice, turn.now, turn.at);
                    }
                }
                None => {
                    self.workers.take_never_started(row, turn.now);
                    taken.push(row.process_id);
                }
            }
        }
        // What a row says of who took a place may be older than what is known here.
        self.workers.vacate_places();
        taken
    }

    /// Compares the agents with their rows.
    pub(super) fn differing(&self, rows: Vec<AgentRow>) -> Differing {
        let mut rows: BTreeMap<AgentId, AgentRow> = rows.into_iter().map(|row| (row.spec.agent_id, row)).collect();
        let (mut known, mut at_rest) = (Vec::new(), Vec::new());
        for agent in self.agents.iter() {
            match rows.remove(&agent.spec.agent_id).map(PoolAgent::from_row) {
                Some(stored) if !agent.run.leaving && !agrees(agent, &stored) => known.push(stored),
                Some(_) => {}
                None => at_rest.push(agent.spec.agent_id),
            }
        }
        Differing { known, at_rest, unknown: rows.into_values().map(PoolAgent::from_row).collect() }
    }
}

fn agrees(agent: &PoolAgent, stored: &PoolAgent) -> bool {
    let same_place = agent.status.assignment() == stored.status.assignment() && agent.run.epoch == stored.run.epoch;
    let same_end = agent.status.is_final() == stored.status.is_final();
    let same_wish = agent.status.state() == stored.status.state() || stored.status.after_stop().is_none();
    same_place && same_end && same_wish
}
