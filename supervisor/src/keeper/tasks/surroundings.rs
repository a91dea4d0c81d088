//! What the tasks see of the rest of their pool.

use std::time::Instant;

use muster_domain::{AgentId, EventDraft, EventKind, PoolConfig, PoolName, Timestamp};
use muster_store::QueuedTask;

use crate::accounts::Payers;
use crate::keeper::model::Model;
use crate::keeper::turn::Turn;

/// The pool at one moment.
#[derive(Clone, Copy)]
pub(in crate::keeper) struct PoolNow<'a> {
    pub(in crate::keeper) model: &'a Model,
    pub(in crate::keeper) now: Instant,
    /// The same by the wall clock.
    pub(in crate::keeper) at: Timestamp,
}

impl<'a> PoolNow<'a> {
    /// As it is in this turn.
    pub(in crate::keeper) const fn of(model: &'a Model, turn: &Turn) -> Self {
        Self { model, now: turn.now, at: turn.at }
    }

    pub(super) fn name(self) -> &'a PoolName {
        &self.model.pool.spec.pool_name
    }

    pub(super) fn config(self) -> &'a PoolConfig {
        &self.model.pool.spec.config
    }

    /// Tasks that an agent has at once, at the most.
    pub(super) fn tasks_per_agent(self) -> u32 {
        self.config().tasks_per_agent
    }

    /// Whether an agent of this pool does one task and ends.
    pub(super) fn one_task_each(self) -> bool {
        self.config().on_demand.is_some_and(|demand| !demand.reuse)
    }

    /// Whether an agent will never take a task again.
    pub(super) fn is_gone(self, agent: AgentId) -> bool {
        self.model.agent(agent).is_none_or(|agent| agent.status.is_gone())
    }

    pub(super) fn event(self, kind: EventKind, reason: String) -> EventDraft {
        EventDraft { reason, ..self.model.pool.event(kind, self.at) }
    }

    /// Who pays for a task.
    pub(super) fn payers<'b>(self, task: &'b QueuedTask, agent: Option<AgentId>) -> Payers<'b>
    where
        'a: 'b,
    {
        Payers { agent, project: task.project_id.as_deref(), tenant: &task.tenant, pool: self.name() }
    }
}
