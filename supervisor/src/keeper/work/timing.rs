//! What time brings: delayed tasks become ready, waiting ones expire; and what is to be read of the lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{After, AgentId, PoolName, TaskError, Timestamp};
use muster_store::{Piece, QueuedTask, StoreError, TaskVerdict};

use super::Desk;
use super::ending::agent_gone;
use super::plan::Plan;
use crate::keeper::{Keeper, Round};
use crate::quotas::Share;

/// Tasks whose lines are read before it is their turn, at the least and at the most: those of one turn, and of the agents that
/// one turn starts.
const AHEAD: std::ops::RangeInclusive<usize> = 256..=1_000;

/// Pieces of lines that are asked for at once. A slow database answers so many in time.
const PIECES: usize = 64;

/// Tasks that become ready, expire or are given up in one turn: small steps, so that others wait for no more than that.
const STEP: u32 = 500;

impl Keeper {
    /// Reads what this turn needs of the store, and plans what is due.
    pub(super) async fn plan_what_was_stored(&mut self, plan: &mut Plan, round: &Round) -> bool {
        let read = match self.fill_gaps().await {
            Ok(()) => self.plan_what_is_due(plan, round).await,
            failed => failed,
        };
        read.map_err(|error| self.context.store_failed(&error)).is_ok()
    }

    /// Plans what is due. Where there is more than one step the next turn goes on.
    async fn plan_what_is_due(&mut self, plan: &mut Plan, round: &Round) -> Result<(), StoreError> {
        if self.desk.next_due.is_some_and(|due| due <= round.at) {
            self.plan_promotions(plan, round.at).await?;
        }
        if self.desk.next_expiry.is_some_and(|expiry| expiry <= round.at) {
            self.plan_expiries(plan, round.at).await?;
        }
        if let Some(agent) = self.desk.gone.first().copied() {
            self.plan_gone(agent, plan, round.at).await?;
        }
        if self.model.draining && self.desk.waiting > 0 {
            self.plan_abandonment(plan, round.at).await?;
        }
        Ok(())
    }

    async fn plan_promotions(&mut self, plan: &mut Plan, at: Timestamp) -> Result<(), StoreError> {
        let pool = self.pool();
        let due = self.context.store.due_tasks(&pool, at, STEP).await?;
        let more = due.len() >= STEP as usize;
        for task in due {
            if let Some(agent) = task.agent_id.filter(|agent| self.is_gone(*agent)) {
                self.plan_failure(&task, agent_gone(agent), plan, at);
            } else {
                plan.promoted.push(task.task_id);
                self.desk.lines.add(task);
            }
        }
        self.desk.next_due = if more { Some(at) } else { self.context.store.next_due(&pool, at).await? };
        Ok(())
    }

    async fn plan_expiries(&mut self, plan: &mut Plan, at: Timestamp) -> Result<(), StoreError> {
        let pool = self.pool();
        let expired = self.context.store.expired_tasks(&pool, at, STEP).await?;
        let more = expired.len() >= STEP as usize;
        for task in expired {
            let message = "it was not started before expires_at".to_owned();
            self.plan_failure(&task, TaskError { code: "expired".to_owned(), message }, plan, at);
        }
        self.desk.next_expiry = if more { Some(at) } else { self.context.store.next_expiry(&pool, at).await? };
        Ok(())
    }

    /// What waits for an agent that is gone fails.
    async fn plan_gone(&mut self, agent: AgentId, plan: &mut Plan, at: Timestamp) -> Result<(), StoreError> {
        let waiting = self.context.store.tasks_for(&self.pool(), agent, STEP).await?;
        if waiting.len() < STEP as usize {
            self.desk.gone.remove(&agent);
            self.desk.lines.forget(agent);
        }
        for task in waiting {
            self.plan_failure(&task, agent_gone(agent), plan, at);
        }
        Ok(())
    }

    /// What waits in a pool that goes fails.
    async fn plan_abandonment(&mut self, plan: &mut Plan, at: Timestamp) -> Result<(), StoreError> {
        let delayed = self.context.store.due_tasks(&self.pool(), Timestamp::from_millis(i64::MAX), STEP).await?;
        let ready = self.desk.lines.some(STEP as usize);
        for task in ready.into_iter().chain(delayed) {
            let message = "its pool is being removed".to_owned();
            self.plan_failure(&task, TaskError { code: "pool_removed".to_owned(), message }, plan, at);
        }
        Ok(())
    }

    fn plan_failure(&mut self, task: &QueuedTask, error: TaskError, plan: &mut Plan, at: Timestamp) {
        // Two reasons may come together, e.g. it expires while its pool goes: the first counts.
        if plan.verdicts.iter().any(|verdict| verdict.task_id == task.task_id) {
            return;
        }
        self.leave_line(task);
        plan.verdicts.push(TaskVerdict { task_id: task.task_id, then: After::Fail(error), at });
    }

    /// Reads on where the head of a line is short whose turn comes soon. At once and not beside the turn: what is read is the
    /// truth only until the next commit.
    async fn fill_gaps(&mut self) -> Result<(), StoreError> {
        let pool = self.pool();
        for gaps in self.gaps().chunks(PIECES) {
            let read = self.context.store.pieces(&pool, gaps).await?;
            gaps.iter().zip(read).for_each(|(gap, tasks)| self.desk.lines.fill(gap, tasks));
        }
        Ok(())
    }

    fn gaps(&mut self) -> Vec<Piece> {
        let context = Arc::clone(&self.context);
        let running = context.quotas.count_running();
        let ahead =
            (self.desk.rooms.len() * self.tasks_per_agent() + self.desk.runs.len()).clamp(*AHEAD.start(), *AHEAD.end());
        let Desk { lines, rota, rooms, .. } = &mut self.desk;
        if self.model.draining {
            return lines.gaps(ahead, rota, |_| Share::ANY, |_| Some(0));
        }
        let share = |tenant: &str| context.quotas.share(running.as_deref(), tenant);
        lines.gaps(ahead, rota, share, |agent| rooms.get(agent).map(|room| room.tasks as usize))
    }

    /// When there will be something to do although nothing comes.
    pub(super) fn next_look(&mut self, round: &Round) -> Option<Instant> {
        if !self.desk.loaded {
            // The next pass tries again.
            return None;
        }
        let more = std::mem::take(&mut self.desk.has_more)
            || !self.desk.submits.is_empty()
            || !self.desk.gone.is_empty()
            || !self.desk.overs.is_empty()
            || (self.model.draining && self.desk.waiting > 0);
        if more {
            return Some(round.now);
        }
        let next = super::ending::earliest(self.desk.next_due, self.desk.next_expiry);
        // A millisecond more than the rounded time, so that it is due when the turn comes.
        let next = next.map(|next| later(round.now, next.since(round.at) + Duration::from_millis(1)));
        let probe = self.desk.breaker.changes_at(round.now).map(|wait| later(round.now, wait));
        [next, probe, self.agents_put_off(round.now)].into_iter().flatten().min()
    }

    pub(super) fn pool(&self) -> PoolName {
        self.model.spec.pool_name.clone()
    }
}
