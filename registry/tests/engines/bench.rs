//! The benches on which the suite runs.

use muster_domain::{AgentId, Epoch, PoolName, ProcessId};
use muster_registry::memory::MemoryRegistry;
use muster_registry::redis::RedisRegistry;
use muster_registry::testing::FaultyRegistry;
use muster_registry::{Bus, LeaderMirror, Registry};

use crate::redis_server::RedisServer;

/// An engine, with a look behind it.
pub(crate) trait Bench {
    type Engine: Registry + Bus + Clone;

    fn engine(&self) -> &Self::Engine;
    /// Loses all content.
    async fn flush(&self);
    /// Which worker holds an agent, in which epoch, with which word as its status.
    async fn agent(&self, agent: AgentId) -> Option<(ProcessId, Epoch, String)>;
    async fn slots(&self, pool: &PoolName) -> Vec<(ProcessId, u32)>;
    async fn leader(&self) -> Option<LeaderMirror>;
    /// Whether nothing is left of any worker, agent or pool.
    async fn is_bare(&self) -> bool;
}

/// The memory engine, or one in front of it.
pub(crate) struct InMemory<E> {
    engine: E,
    memory: MemoryRegistry,
}

impl InMemory<MemoryRegistry> {
    pub(crate) fn start() -> Self {
        let memory = MemoryRegistry::new();
        Self { engine: memory.clone(), memory }
    }
}

impl InMemory<FaultyRegistry> {
    /// With no fault turned on.
    pub(crate) fn without_a_fault() -> Self {
        let memory = MemoryRegistry::new();
        Self { engine: FaultyRegistry::new(memory.clone()), memory }
    }
}

impl<E: Registry + Bus + Clone> Bench for InMemory<E> {
    type Engine = E;

    fn engine(&self) -> &E {
        &self.engine
    }

    async fn flush(&self) {
        self.memory.flush();
    }

    async fn agent(&self, agent: AgentId) -> Option<(ProcessId, Epoch, String)> {
        let held = self.memory.agent(agent);
        held.map(|(worker, picture)| (worker, picture.epoch, picture.state.as_str().to_owned()))
    }

    async fn slots(&self, pool: &PoolName) -> Vec<(ProcessId, u32)> {
        self.memory.slots(pool)
    }

    async fn leader(&self) -> Option<LeaderMirror> {
        self.memory.leader()
    }

    async fn is_bare(&self) -> bool {
        self.memory.is_empty()
    }
}

pub(crate) struct OnRedis {
    server: RedisServer,
    engine: RedisRegistry,
}

impl OnRedis {
    pub(crate) fn start() -> Self {
        let server = RedisServer::start();
        Self { engine: server.engine(), server }
    }
}

impl Bench for OnRedis {
    type Engine = RedisRegistry;

    fn engine(&self) -> &RedisRegistry {
        &self.engine
    }

    async fn flush(&self) {
        self.server.ask::<()>(&["FLUSHALL"]).await;
    }

    async fn agent(&self, agent: AgentId) -> Option<(ProcessId, Epoch, String)> {
        let key = format!("agent:{agent}");
        let (worker, epoch, status): (Option<String>, Option<u64>, Option<String>) =
            self.server.ask(&["HMGET", &key, "process_id", "epoch", "status"]).await;
        Some((worker?.parse().expect("an id"), Epoch(epoch?), status?))
    }

    async fn slots(&self, pool: &PoolName) -> Vec<(ProcessId, u32)> {
        let key = format!("pool:{pool}:processes");
        let scores: Vec<(String, u32)> = self.server.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await;
        scores.into_iter().map(|(worker, free)| (worker.parse().expect("an id"), free)).collect()
    }

    async fn leader(&self) -> Option<LeaderMirror> {
        let text: Option<String> = self.server.ask(&["GET", "supervisor:leader"]).await;
        text.map(|text| serde_json::from_str(&text).expect("a mirror"))
    }

    async fn is_bare(&self) -> bool {
        let keys = self.server.keys("*").await;
        keys.iter().all(|key| key == "supervisor:generation")
    }
}
