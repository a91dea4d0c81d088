//! The [`Store`], behind the faults.

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::scaling::ScalingRecord;
use muster_domain::{AgentId, DecisionId, Fence, PoolName, ProcessId, Timestamp};

use super::FaultyStore;
use crate::{
    AgentFilter, AgentRow, EventRow, IdempotencyKey, Leadership, LifeRow, PoolRow, Pruned, Store, StoreError,
    WorkerRow, Write, WriteOutcome,
};

#[async_trait]
impl Store for FaultyStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn lead(&self, holder: &str, address: &str, lease: Duration) -> Result<Leadership, StoreError> {
        self.answer().await?;
        self.inner.lead(holder, address, lease).await
    }

    async fn renew(&self, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.renew(fence, lease).await
    }

    async fn resign(&self, fence: Fence) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.resign(fence).await
    }

    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        self.take_time().await;
        let outcomes = self.commit(fence, writes).await;
        self.take_time().await;
        outcomes
    }

    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        self.answer().await?;
        self.inner.pools().await
    }

    async fn all_paused(&self) -> Result<bool, StoreError> {
        self.answer().await?;
        self.inner.all_paused().await
    }

    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.answer().await?;
        let mut rows = self.inner.open_workers().await?;
        if self.faults().keyless {
            rows.iter_mut().for_each(|row| row.key = None);
        }
        Ok(rows)
    }

    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        self.answer().await?;
        self.inner.worker(id).await
    }

    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError> {
        self.answer().await?;
        self.inner.ended_workers(pool, before, limit).await
    }

    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.answer().await?;
        self.inner.live_agents().await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.answer().await?;
        self.inner.agent(id).await
    }

    async fn key_holder(&self, key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError> {
        self.answer().await?;
        self.inner.key_holder(key).await
    }

    async fn agents(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError> {
        self.answer().await?;
        self.inner.agents(filter, after, limit).await
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.answer().await?;
        self.inner.events(after, limit).await
    }

    async fn decisions(
        &self,
        pool: &PoolName,
        before: Option<DecisionId>,
        limit: u32,
    ) -> Result<Vec<ScalingRecord>, StoreError> {
        self.answer().await?;
        self.inner.decisions(pool, before, limit).await
    }

    async fn event_bounds(&self) -> Result<(u64, u64), StoreError> {
        self.answer().await?;
        self.inner.event_bounds().await
    }

    async fn lives(&self) -> Result<Vec<LifeRow>, StoreError> {
        self.answer().await?;
        self.inner.lives().await
    }

    async fn prune(&self, fence: Fence, events: Timestamp, ended: Timestamp) -> Result<Pruned, StoreError> {
        self.answer().await?;
        self.inner.prune(fence, events, ended).await
    }

    async fn prune_lives(&self, fence: Fence, oldest: LifeRow) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.prune_lives(fence, oldest).await
    }

    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.bring_back(fence, to).await
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        self.answer().await?;
        self.inner.ping().await
    }

    fn warning(&self) -> Option<String> {
        self.inner.warning()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
