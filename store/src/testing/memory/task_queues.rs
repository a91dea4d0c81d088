//! Tasks that wait or run: queues, what is due, what runs.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::{AgentId, Payload, PoolName, TaskId, TaskState, TaskStatus, Timestamp};

use super::tasks::TaskTable;
use crate::{QueueCounts, QueueKey, QueueRow, QueueSlice, QueuedTask, RunningTask, SHORT_INPUT, TaskRow};

/// The queue in which a task is ready, if it is.
fn queue_of(row: &TaskRow) -> Option<QueueKey> {
    let is_ready = row.status == TaskStatus::Queued { not_before: None };
    is_ready.then(|| QueueKey::of(row.spec.agent_id, &row.spec.tenant, row.spec.priority))
}

/// Until when a task is delayed, if it is.
const fn due_at(row: &TaskRow) -> Option<Timestamp> {
    match row.status {
        TaskStatus::Queued { not_before } => not_before,
        _ => None,
    }
}

/// Not started by then, it fails, if it waits.
fn expires_at(row: &TaskRow) -> Option<Timestamp> {
    row.spec.expires_at.filter(|_| row.status.state() == TaskState::Queued)
}

fn queued(row: &TaskRow) -> QueuedTask {
    let TaskRow { spec, totals, created_at, .. } = row.clone();
    QueuedTask {
        task_id: spec.task_id,
        tenant: spec.tenant,
        priority: spec.priority,
        project_id: spec.project_id,
        agent_id: spec.agent_id,
        check: spec.check,
        max_attempts: spec.max_attempts,
        timeout: spec.timeout,
        expires_at: spec.expires_at,
        totals,
        created_at,
        input: Some(row.input.clone()).filter(|input| input.len() <= SHORT_INPUT as usize),
    }
}

fn running(row: &TaskRow) -> Option<RunningTask> {
    let (attempt, halt) = match row.status {
        TaskStatus::Running(attempt) => (attempt, None),
        TaskStatus::Halting(attempt, halt) => (attempt, Some(halt)),
        _ => return None,
    };
    let task = QueuedTask { input: None, ..queued(row) };
    Some(RunningTask { task, attempt, halt, started_at: row.started_at? })
}

impl TaskTable {
    /// Of a pool, in the order of the ids.
    fn of(&self, pool: &PoolName) -> impl Iterator<Item = &TaskRow> {
        self.rows.values().filter(move |row| row.spec.pool_name == *pool)
    }

    pub(super) fn ready_queues(&self, pool: &PoolName) -> Vec<QueueRow> {
        let mut queues = BTreeMap::new();
        for row in self.of(pool) {
            let Some(queue) = queue_of(row) else { continue };
            let new = |queue: &QueueKey| QueueRow { queue: queue.clone(), count: 0, first: row.spec.task_id };
            queues.entry(queue).or_insert_with_key(new).count += 1;
        }
        queues.into_values().collect()
    }

    pub(super) fn piece(&self, pool: &PoolName, piece: &QueueSlice) -> Vec<QueuedTask> {
        let QueueSlice { queue, after, limit } = piece;
        let behind = |row: &&TaskRow| after.is_none_or(|after| row.spec.task_id > after);
        let in_queue = self.of(pool).filter(behind).filter(|row| queue_of(row).as_ref() == Some(queue));
        in_queue.take(*limit as usize).map(queued).collect()
    }

    pub(super) fn running(&self, pool: &PoolName) -> Vec<RunningTask> {
        self.of(pool).filter_map(running).collect()
    }

    /// Tasks of a pool by a moment that some of them have, the earliest first.
    fn by(&self, pool: &PoolName, moment: fn(&TaskRow) -> Option<Timestamp>) -> BTreeSet<(Timestamp, TaskId)> {
        self.of(pool).filter_map(|row| Some((moment(row)?, row.spec.task_id))).collect()
    }

    fn until(&self, found: BTreeSet<(Timestamp, TaskId)>, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        let early = found.into_iter().take_while(|(at, _)| *at <= by).take(limit as usize);
        early.filter_map(|(_, id)| self.rows.get(&id)).map(queued).collect()
    }

    pub(super) fn due(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        self.until(self.by(pool, due_at), by, limit)
    }

    pub(super) fn next_due(&self, pool: &PoolName, after: Timestamp) -> Option<Timestamp> {
        self.of(pool).filter_map(due_at).filter(|at| *at > after).min()
    }

    pub(super) fn expired(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        self.until(self.by(pool, expires_at), by, limit)
    }

    pub(super) fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Option<Timestamp> {
        self.of(pool).filter_map(expires_at).filter(|at| *at > after).min()
    }

    /// Ready or delayed.
    pub(super) fn of_agent(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Vec<QueuedTask> {
        let waits = |row: &&TaskRow| row.status.state() == TaskState::Queued && row.spec.agent_id == Some(agent);
        self.of(pool).filter(waits).take(limit as usize).map(queued).collect()
    }

    pub(super) fn inputs(&self, ids: &[TaskId]) -> Vec<(TaskId, Payload)> {
        let ids: BTreeSet<TaskId> = ids.iter().copied().collect();
        ids.into_iter().filter_map(|id| Some((id, self.rows.get(&id)?.input.clone()))).collect()
    }

    /// By the time in their ids.
    pub(super) fn made_since(&self, tenant: &str, since: Timestamp) -> u64 {
        let since = self.rows.range(TaskId::first_at(since)..);
        since.filter(|(_, row)| row.spec.tenant == tenant).count() as u64
    }

    pub(super) fn counts(&self, pool: &PoolName) -> QueueCounts {
        let count = |is_so: fn(&TaskRow) -> bool| self.of(pool).filter(|row| is_so(row)).count() as u64;
        QueueCounts {
            delayed: count(|row| due_at(row).is_some()),
            dead: count(|row| row.status.state() == TaskState::Dead),
        }
    }
}
