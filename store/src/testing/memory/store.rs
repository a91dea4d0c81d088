//! The [`Store`] in memory.

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::scaling::ScalingRecord;
use muster_domain::{AgentId, DecisionId, Fence, PoolName, ProcessId, Timestamp};

use super::MemoryStore;
use crate::{
    AgentFilter, AgentRow, EventRow, IdempotencyKey, Leadership, LifeRow, PoolRow, Pruned, Store, StoreError,
    WorkerRow, Write, WriteOutcome,
};

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn lead(&self, _holder: &str, _address: &str, _lease: Duration) -> Result<Leadership, StoreError> {
        Ok(Leadership::Leads(self.ask(|content| content.leader.lead()).await))
    }

    async fn renew(&self, fence: Fence, _lease: Duration) -> Result<(), StoreError> {
        self.ask(|content| content.leader.admit(fence)).await
    }

    async fn resign(&self, fence: Fence) -> Result<(), StoreError> {
        self.ask(|content| content.leader.resign(fence)).await;
        Ok(())
    }

    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        self.ask(|content| content.apply(fence, writes)).await
    }

    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        Ok(self.ask(|content| content.pools.all()).await)
    }

    async fn all_paused(&self) -> Result<bool, StoreError> {
        Ok(self.ask(|content| content.pools.all_paused()).await)
    }

    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        Ok(self.ask(|content| content.workers.open()).await)
    }

    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        Ok(self.ask(|content| content.workers.one(id)).await)
    }

    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError> {
        Ok(self.ask(|content| content.workers.ended(pool, before, limit)).await)
    }

    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        Ok(self.ask(|content| content.agents.live()).await)
    }

    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        Ok(self.ask(|content| content.agents.one(id)).await)
    }

    async fn key_holder(&self, key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError> {
        self.ask(|content| content.keys.holder(key)).await
    }

    async fn agents(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError> {
        Ok(self.ask(|content| content.agents.page(filter, after, limit)).await)
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        Ok(self.ask(|content| content.events.after(after, limit)).await)
    }

    async fn decisions(
        &self,
        pool: &PoolName,
        before: Option<DecisionId>,
        limit: u32,
    ) -> Result<Vec<ScalingRecord>, StoreError> {
        Ok(self.ask(|content| content.decisions.page(pool, before, limit)).await)
    }

    async fn event_bounds(&self) -> Result<(u64, u64), StoreError> {
        Ok(self.ask(|content| content.events.bounds()).await)
    }

    async fn lives(&self) -> Result<Vec<LifeRow>, StoreError> {
        Ok(self.ask(|content| content.lives.all()).await)
    }

    async fn prune(&self, fence: Fence, events: Timestamp, ended: Timestamp) -> Result<Pruned, StoreError> {
        self.ask(|content| content.leader.admit(fence).map(|()| content.prune(events, ended))).await
    }

    async fn prune_lives(&self, fence: Fence, oldest: LifeRow) -> Result<(), StoreError> {
        self.ask(|content| content.leader.admit(fence).map(|()| content.lives.prune(&oldest))).await
    }

    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        self.ask(|content| content.leader.admit(fence).map(|()| content.bring_back(to))).await
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        Ok(Duration::ZERO)
    }

    async fn close(&self) {}
}
