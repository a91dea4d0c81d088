//! The engine within one process: for single-process mode, where master and workers share it, and for tests.
//!
//! It keeps the promises of the Redis engine, generations and settled numbers included, and forgets everything with its
//! process. Its content is behind one lock that is never held while waiting.

mod bus;
mod content;
mod subscriptions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, AgentSnapshot, Generation, Heartbeat, HeartbeatReply, PoolName, ProcessId, Tampering};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{HeartbeatReadings, LeaderMirror, Registry, RegistryError, WrittenState};
use content::RegistryContent;
use subscriptions::Subscriptions;

/// The in-memory engine. Clones share one content.
#[derive(Clone, Default)]
pub struct MemoryRegistry {
    shared: Arc<MemoryShared>,
}

#[derive(Default)]
struct MemoryShared {
    state: Mutex<MemoryState>,
    /// Rings when a report was added, and when the content was flushed.
    news: Notify,
}

/// What is behind the lock.
#[derive(Default)]
struct MemoryState {
    content: RegistryContent,
    /// Subscriptions are no content: they outlive a flush.
    delivery: Subscriptions,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses everything but the subscriptions, as a flush of Redis does: a new generation begins.
    pub fn flush(&self) {
        self.state().content = RegistryContent::default();
        self.shared.news.notify_waiters();
    }

    /// An agent as the registry holds it, with the worker that holds it.
    pub fn agent(&self, agent: AgentId) -> Option<(ProcessId, AgentSnapshot)> {
        self.state().content.agent(agent)
    }

    /// The free slots of a pool's workers, as they were mirrored last.
    pub fn slots(&self, pool: &PoolName) -> Vec<(ProcessId, u32)> {
        self.state().content.slots(pool)
    }

    /// Who leads, while its lease runs.
    pub fn leader(&self) -> Option<LeaderMirror> {
        self.state().content.leader(Instant::now()).cloned()
    }

    /// Whether nothing is left of any worker, agent or pool.
    pub fn is_empty(&self) -> bool {
        self.state().content.is_empty()
    }

    /// Puts a delivery into a worker's subscriptions, whatever was sent.
    #[cfg(feature = "testing")]
    pub(crate) fn put(&self, worker: ProcessId, delivery: crate::CommandDelivery) {
        self.state().delivery.put(worker, || delivery.clone());
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        // Each change of the content is complete before the lock is left, so a panic elsewhere spoils nothing.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn ping(&self) -> Result<Duration, RegistryError> {
        Ok(Duration::ZERO)
    }

    async fn examine(&self) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn beat(&self, beat: &Heartbeat, known: &mut WrittenState) -> Result<HeartbeatReply, RegistryError> {
        let mut state = self.state();
        let generation = state.content.generation();
        known.enter(generation);
        let changes = known.changes_of_beat(beat);
        state.content.write_agents(beat.process_id, &beat.pool_name, &changes);
        let now = Instant::now();
        let answer = state.content.beat(beat, now);
        known.record(&changes);
        Ok(answer)
    }

    async fn read_heartbeats(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError> {
        let state = self.state();
        let now = Instant::now();
        let seen = workers.iter().filter_map(|(worker, number)| state.content.reading(*worker, *number, now)).collect();
        Ok(HeartbeatReadings { generation: state.content.generation(), seen, refusal: None })
    }

    async fn present(&self) -> Result<Vec<ProcessId>, RegistryError> {
        Ok(self.state().content.present())
    }

    async fn pools(&self) -> Result<Vec<PoolName>, RegistryError> {
        Ok(self.state().content.pools())
    }

    async fn forget(&self, pool: &PoolName, worker: ProcessId) -> Result<(), RegistryError> {
        self.state().content.forget(pool, worker);
        Ok(())
    }

    async fn forget_pool(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.state().content.forget_pool(pool);
        Ok(())
    }

    async fn condemn(&self, worker: ProcessId) -> Result<(), RegistryError> {
        self.state().content.condemn(worker);
        Ok(())
    }

    async fn announce_leader(&self, leader: &LeaderMirror, lease: Duration) -> Result<(), RegistryError> {
        self.state().content.announce(leader.clone(), Instant::now() + lease);
        Ok(())
    }

    async fn generation(&self) -> Result<Generation, RegistryError> {
        Ok(self.state().content.generation())
    }

    /// Nobody else can write to it.
    async fn remove_strangers(&self, _pool: &PoolName) -> Result<(), RegistryError> {
        Ok(())
    }

    /// Nobody else can write to it.
    fn tampering(&self) -> Tampering {
        Tampering::default()
    }
}
