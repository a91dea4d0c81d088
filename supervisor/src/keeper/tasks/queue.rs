//! The tasks that wait: what is ready, what time brings, and what is to be read of the queues.

use std::collections::BTreeSet;

use muster_domain::{AgentId, FollowUp, TaskError, Timestamp};
use muster_policy::dispatch::{RoundRobin, not_due};
use muster_store::{QueueSlice, QueuedTask, Store, StoreError, TaskVerdict};

use super::assigned::Assigned;
use super::ending::agent_gone;
use super::plan::TurnPlan;
use super::ready_queues::{ReadyQueues, key_of};
use super::{PoolNow, PoolTasksDeps};
use crate::quotas::{Quotas, TenantShare};

/// Tasks whose queues are read before it is their turn, at the least and at the most: those of one turn, and of the agents that
/// one turn starts.
const AHEAD: std::ops::RangeInclusive<usize> = 256..=1_000;

/// Slices of queues that are asked for at once. A slow database answers so many in time.
const PIECES: usize = 64;

/// Tasks that become ready, expire or are given up in one turn: small steps, so that others wait for no more than that.
const STEP: u32 = 500;

/// What waits in a pool.
#[derive(Default)]
pub(super) struct WaitingTasks {
    pub(super) queues: ReadyQueues,
    pub(super) round_robin: RoundRobin,
    /// How many there are, ready or delayed.
    pub(super) count: u64,
    /// When the next delayed task is due, and the next waiting one expires.
    pub(super) next_due: Option<Timestamp>,
    pub(super) next_expiry: Option<Timestamp>,
    /// Agents that are gone for good, for whom tasks may still wait by name.
    pub(super) gone: BTreeSet<AgentId>,
    /// Whether the next turn has to do with what this one has left.
    pub(super) has_more: bool,
}

impl WaitingTasks {
    /// Puts a task into its queue, or notes when it is due.
    pub(super) fn queue(&mut self, task: QueuedTask, not_before: Option<Timestamp>, pool: PoolNow<'_>) {
        self.count += 1;
        // Nobody would ever take it: the next turn says so.
        if let Some(agent) = task.agent_id.filter(|agent| pool.is_gone(*agent)) {
            self.gone.insert(agent);
        }
        self.next_expiry = earliest(self.next_expiry, task.expires_at);
        match not_due(not_before, pool.at) {
            Some(due) => self.next_due = earliest(self.next_due, Some(due)),
            None => self.queues.add(task),
        }
    }

    /// A task that is not to wait any more leaves its queue; it is counted when the store says that it waited.
    pub(super) fn leave_queue(&mut self, task: &QueuedTask) {
        self.queues.take(&key_of(task), task.task_id);
    }

    /// Whether the next turn has something to do with them, whatever comes. What this turn has left is forgotten by that.
    pub(super) fn has_more_to_do(&mut self, pool: PoolNow<'_>) -> bool {
        std::mem::take(&mut self.has_more) || !self.gone.is_empty() || (pool.model.pool.draining && self.count > 0)
    }

    /// When time brings something.
    pub(super) fn next_moment(&self) -> Option<Timestamp> {
        earliest(self.next_due, self.next_expiry)
    }

    /// Reads what this turn needs of the store, and plans what is due.
    pub(super) async fn read(
        &mut self,
        assigned: &Assigned,
        deps: &PoolTasksDeps,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        // At once and not beside the turn: what is read is the truth only until the next commit.
        for gaps in self.gaps(assigned, &deps.quotas, pool).chunks(PIECES) {
            let read = deps.store.queue_slices(pool.name(), gaps).await?;
            gaps.iter().zip(read).for_each(|(gap, tasks)| self.queues.fill(gap, tasks));
        }
        self.plan_what_is_due(deps.store.as_ref(), plan, pool).await
    }

    /// Where the head of a queue is short whose turn comes soon.
    fn gaps(&mut self, assigned: &Assigned, quotas: &Quotas, pool: PoolNow<'_>) -> Vec<QueueSlice> {
        let running = quotas.count_running();
        let ahead = assigned.available_agents.len() * pool.tasks_per_agent() as usize + assigned.runs.len();
        let ahead = ahead.clamp(*AHEAD.start(), *AHEAD.end());
        let Self { queues, round_robin, .. } = self;
        if pool.model.pool.draining {
            return queues.gaps(ahead, round_robin, |_| TenantShare::ANY, |_| Some(0));
        }
        let share = |tenant: &str| quotas.share(running.as_deref(), tenant);
        queues.gaps(ahead, round_robin, share, |agent| {
            assigned.available_agents.get(agent).map(|room| room.tasks as usize)
        })
    }

    /// Plans what is due. Where there is more than one step the next turn goes on.
    async fn plan_what_is_due(
        &mut self,
        store: &dyn Store,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        if self.next_due.is_some_and(|due| due <= pool.at) {
            self.plan_promotions(store, plan, pool).await?;
        }
        if self.next_expiry.is_some_and(|expiry| expiry <= pool.at) {
            self.plan_expiries(store, plan, pool).await?;
        }
        if let Some(agent) = self.gone.first().copied() {
            self.plan_gone(agent, store, plan, pool).await?;
        }
        if pool.model.pool.draining && self.count > 0 {
            self.plan_abandonment(store, plan, pool).await?;
        }
        Ok(())
    }

    async fn plan_promotions(
        &mut self,
        store: &dyn Store,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        let due = store.due_tasks(pool.name(), pool.at, STEP).await?;
        let more = due.len() >= STEP as usize;
        for task in due {
            if let Some(agent) = task.agent_id.filter(|agent| pool.is_gone(*agent)) {
                self.plan_failure(&task, agent_gone(agent), plan, pool.at);
            } else {
                plan.queue.promoted.push(task.task_id);
                self.queues.add(task);
            }
        }
        self.next_due = if more { Some(pool.at) } else { store.next_due(pool.name(), pool.at).await? };
        Ok(())
    }

    async fn plan_expiries(
        &mut self,
        store: &dyn Store,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        let expired = store.expired_tasks(pool.name(), pool.at, STEP).await?;
        let more = expired.len() >= STEP as usize;
        for task in expired {
            let message = "it was not started before expires_at".to_owned();
            self.plan_failure(&task, TaskError { code: "expired".to_owned(), message }, plan, pool.at);
        }
        self.next_expiry = if more { Some(pool.at) } else { store.next_expiry(pool.name(), pool.at).await? };
        Ok(())
    }

    /// What waits for an agent that is gone fails.
    async fn plan_gone(
        &mut self,
        agent: AgentId,
        store: &dyn Store,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        let waiting = store.tasks_for(pool.name(), agent, STEP).await?;
        if waiting.len() < STEP as usize {
            self.gone.remove(&agent);
            self.queues.forget(agent);
        }
        for task in waiting {
            self.plan_failure(&task, agent_gone(agent), plan, pool.at);
        }
        Ok(())
    }

    /// What waits in a pool that goes fails.
    async fn plan_abandonment(
        &mut self,
        store: &dyn Store,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Result<(), StoreError> {
        let delayed = store.due_tasks(pool.name(), Timestamp::from_millis(i64::MAX), STEP).await?;
        let ready = self.queues.some(STEP as usize);
        for task in ready.into_iter().chain(delayed) {
            let message = "its pool is being removed".to_owned();
            self.plan_failure(&task, TaskError { code: "pool_removed".to_owned(), message }, plan, pool.at);
        }
        Ok(())
    }

    fn plan_failure(&mut self, task: &QueuedTask, error: TaskError, plan: &mut TurnPlan, at: Timestamp) {
        // Two reasons may come together, e.g. it expires while its pool goes: the first counts.
        if plan.verdicts.iter().any(|verdict| verdict.task_id == task.task_id) {
            return;
        }
        self.leave_queue(task);
        plan.verdicts.push(TaskVerdict { task_id: task.task_id, then: FollowUp::Fail(error), at });
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
