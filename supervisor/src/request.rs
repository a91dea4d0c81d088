//! What callers ask of the supervisor.

use std::time::Duration;

use muster_domain::{AgentId, AgentState, PoolConfig, PoolName};
pub use muster_store::IdempotencyKey;

use crate::view::AgentView;

/// A wish for an agent.
#[derive(Clone, Debug)]
pub struct SpawnRequest {
    /// The pool.
    pub pool_name: PoolName,
    /// The role; must be the pool's.
    pub role_type: String,
    /// The project.
    pub project_id: String,
    /// How old the registry's picture of it may be; default 30 s.
    pub heartbeat_interval: Option<Duration>,
    /// How long it may idle; default the pool's.
    pub max_idle_time: Option<Duration>,
    /// Makes a repeated request answer as the first did.
    pub key: Option<IdempotencyKey>,
}

/// What became of a spawn within the time that the caller waits.
#[derive(Clone, Debug)]
pub enum Spawned {
    /// It runs (201).
    Running(AgentView),
    /// It is wanted, and does not run yet (202).
    Accepted(AgentView),
}

/// A new pool.
#[derive(Clone, Debug)]
pub struct NewPool {
    /// Its name.
    pub pool_name: PoolName,
    /// The role of its agents.
    pub role_type: String,
    /// Its runtime profile; default `echo`.
    pub runtime: Option<String>,
    /// Its bounds.
    pub config: PoolConfig,
}

/// Which agents to list.
#[derive(Clone, Debug, Default)]
pub struct AgentQuery {
    /// Only this pool's.
    pub pool: Option<PoolName>,
    /// Only this project's.
    pub project: Option<String>,
    /// Only those in this state.
    pub state: Option<AgentState>,
    /// Only those after this one.
    pub after: Option<AgentId>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}
