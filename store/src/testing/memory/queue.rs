//! The [`Queue`] in memory.

use async_trait::async_trait;
use muster_domain::budget::Scope;
use muster_domain::{AgentId, Executions, Payload, PoolName, TaskId, Timestamp, Usage};

use super::MemoryStore;
use crate::{
    IdempotencyKey, QueueCounts, QueueRow, QueueSlice, QueuedTask, RunningTask, StoreError, TaskFilter, TaskQueue,
    TaskRow,
};

#[async_trait]
impl TaskQueue for MemoryStore {
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        Ok(self.ask(|content| content.tasks.one(id)).await)
    }

    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        Ok(self.ask(|content| content.tasks.page(filter, after, limit)).await)
    }

    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError> {
        self.ask(|content| content.keys.holder(key)).await
    }

    async fn task_queues(&self, pool: &PoolName) -> Result<Vec<QueueRow>, StoreError> {
        Ok(self.ask(|content| content.tasks.ready_queues(pool)).await)
    }

    async fn queue_slices(&self, pool: &PoolName, pieces: &[QueueSlice]) -> Result<Vec<Vec<QueuedTask>>, StoreError> {
        Ok(self.ask(|content| pieces.iter().map(|piece| content.tasks.piece(pool, piece)).collect()).await)
    }

    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError> {
        Ok(self.ask(|content| content.tasks.running(pool)).await)
    }

    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        Ok(self.ask(|content| content.tasks.due(pool, by, limit)).await)
    }

    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.ask(|content| content.tasks.next_due(pool, after)).await)
    }

    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        Ok(self.ask(|content| content.tasks.expired(pool, by, limit)).await)
    }

    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.ask(|content| content.tasks.next_expiry(pool, after)).await)
    }

    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        Ok(self.ask(|content| content.tasks.of_agent(pool, agent, limit)).await)
    }

    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError> {
        Ok(self.ask(|content| content.tasks.inputs(tasks)).await)
    }

    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        Ok(self.ask(|content| content.accounts.page(scope, after, limit)).await)
    }

    async fn executions(&self) -> Result<Executions, StoreError> {
        Ok(self.ask(|content| content.accounts.executions()).await)
    }

    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError> {
        Ok(self.ask(|content| content.tasks.made_since(tenant, since)).await)
    }

    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError> {
        Ok(self.ask(|content| content.tasks.counts(pool)).await)
    }
}
