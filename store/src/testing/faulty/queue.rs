//! The [`Queue`], behind the faults.

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::budget::Scope;
use muster_domain::{AgentId, Executions, Payload, PoolName, TaskId, Timestamp, Usage};

use super::{FaultyStore, away};
use crate::{
    IdempotencyKey, QueueCounts, QueueRow, QueueSlice, QueuedTask, RunningTask, StoreError, TaskFilter, TaskQueue,
    TaskRow,
};

impl FaultyStore {
    /// How long a read of inputs takes; an error where it is to fail.
    fn read_inputs(&self) -> Result<Duration, StoreError> {
        let mut faults = self.faults();
        match faults.hidden_inputs.checked_sub(1) {
            Some(left) => {
                faults.hidden_inputs = left;
                Err(away())
            }
            None => Ok(faults.inputs_take),
        }
    }
}

#[async_trait]
impl TaskQueue for FaultyStore {
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        self.answer().await?;
        self.inner.task(id).await
    }

    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        self.answer().await?;
        self.inner.tasks(filter, after, limit).await
    }

    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError> {
        self.answer().await?;
        self.inner.task_key_holder(key).await
    }

    async fn task_queues(&self, pool: &PoolName) -> Result<Vec<QueueRow>, StoreError> {
        self.answer().await?;
        self.inner.task_queues(pool).await
    }

    async fn queue_slices(&self, pool: &PoolName, pieces: &[QueueSlice]) -> Result<Vec<Vec<QueuedTask>>, StoreError> {
        self.answer().await?;
        self.inner.queue_slices(pool, pieces).await
    }

    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError> {
        self.answer().await?;
        self.inner.running_tasks(pool).await
    }

    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.answer().await?;
        self.inner.due_tasks(pool, by, limit).await
    }

    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.answer().await?;
        self.inner.next_due(pool, after).await
    }

    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.answer().await?;
        self.inner.expired_tasks(pool, by, limit).await
    }

    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.answer().await?;
        self.inner.next_expiry(pool, after).await
    }

    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.answer().await?;
        self.inner.tasks_for(pool, agent, limit).await
    }

    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError> {
        self.answer().await?;
        let takes = self.read_inputs()?;
        tokio::time::sleep(takes).await;
        self.inner.inputs(tasks).await
    }

    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        self.answer().await?;
        self.inner.usage(scope, after, limit).await
    }

    async fn executions(&self) -> Result<Executions, StoreError> {
        self.answer().await?;
        self.inner.executions().await
    }

    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError> {
        self.answer().await?;
        self.inner.made_since(tenant, since).await
    }

    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError> {
        self.answer().await?;
        self.inner.queue_counts(pool).await
    }
}
