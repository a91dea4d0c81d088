//! The [`Queue`] over any engine.

use async_trait::async_trait;
use muster_domain::budget::Scope;
use muster_domain::{AgentId, Executions, Payload, PoolName, TaskId, Timestamp, Usage};

use crate::sql::{Engine, MAX_ROWS};
use crate::sql_store::SqlStore;
use crate::{
    IdempotencyKey, QueueCounts, QueueRow, QueueSlice, QueuedTask, RunningTask, StoreError, TaskFilter, TaskQueue,
    TaskRow, executions, keys, task_lists, task_pages, usage,
};

#[async_trait]
impl<E: Engine> TaskQueue for SqlStore<E> {
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        self.first(task_pages::one(id), task_pages::read).await
    }

    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        self.all(task_pages::page(filter, after, limit), task_pages::read).await
    }

    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError> {
        self.first(keys::holder(key), keys::read).await
    }

    async fn task_queues(&self, pool: &PoolName) -> Result<Vec<QueueRow>, StoreError> {
        self.all(task_lists::ready_queues(pool), task_lists::read_queue).await
    }

    async fn queue_slices(&self, pool: &PoolName, slices: &[QueueSlice]) -> Result<Vec<Vec<QueuedTask>>, StoreError> {
        let steps = slices.iter().map(|slice| task_lists::slice(pool, slice)).collect();
        self.each(steps, task_lists::read_queued).await
    }

    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError> {
        self.all(task_lists::running(pool), task_lists::read_running).await
    }

    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.all(task_lists::due(pool, by, limit), task_lists::read_queued).await
    }

    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.first(task_lists::next_due(pool, after), task_lists::read_time).await
    }

    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.all(task_lists::expired(pool, by, limit), task_lists::read_queued).await
    }

    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.first(task_lists::next_expiry(pool, after), task_lists::read_time).await
    }

    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.all(task_lists::of_agent(pool, agent, limit), task_lists::read_queued).await
    }

    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError> {
        let mut inputs = Vec::with_capacity(tasks.len());
        for chunk in tasks.chunks(MAX_ROWS) {
            inputs.extend(self.all(task_lists::inputs(chunk), task_lists::read_input).await?);
        }
        Ok(inputs)
    }

    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        self.all(usage::page(scope, after, limit), usage::read).await
    }

    async fn executions(&self) -> Result<Executions, StoreError> {
        Ok(self.first(executions::all(), executions::read).await?.unwrap_or_default())
    }

    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError> {
        let count = self.first(task_lists::made_since(tenant, since), |mut fields| fields.count()).await?;
        Ok(count.unwrap_or(0))
    }

    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError> {
        let counts = self.first(task_lists::counts(pool), task_lists::read_counts).await?;
        counts.ok_or_else(|| StoreError::Corrupt("a count has no row".to_owned()))
    }
}
