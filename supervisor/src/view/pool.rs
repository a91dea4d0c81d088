//! Pools, and what holds up their tasks.

use std::time::Duration;

use muster_domain::{PoolConfig, PoolName, PoolOrigin, ProcessId, Timestamp, Words};
use muster_policy::scaling::ScalingFacts;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::number::seconds;
use super::scale::ScaleView;

/// A pool with its figures. A slot counts from the moment it is taken, so that the figures are right at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PoolJson)]
pub struct PoolView {
    /// Its name.
    #[schema(value_type = String, example = "developer_pool")]
    pub pool_name: PoolName,
    /// The role of its agents.
    pub role_type: String,
    /// The runtime profile that its agents run.
    pub runtime: String,
    /// `default` (made once in a new store), `api`, or `file` (the configuration's: the API does not change it).
    #[schema(value_type = String, extensions(("x-enum" = json!(PoolOrigin::words()))))]
    pub origin: PoolOrigin,
    /// What holds up its tasks.
    #[serde(flatten)]
    pub holds: Holds,
    /// How many workers it has, and is to have.
    #[serde(flatten)]
    pub scale: ScaleView,
    /// By what it is judged how much of it is to run.
    #[serde(skip)]
    #[schema(ignore)]
    pub scaling: ScalingFacts,
    /// What its workers cost an hour by the prices of its tiers, in US dollars, without those that are interrupted; null where it has no
    /// tiers.
    pub cost_per_hour: Option<f64>,
    /// Workers that may have a process: starting, ready, draining.
    pub process_count: u32,
    /// Of these, the workers under which the capacity will be taken away, e.g. spot: they count to no bound, and others are started in
    /// their place.
    pub interrupted_workers: u32,
    /// Of those that are not interrupted, the ones that start programs by an older definition of the runtime: they are replaced as their
    /// agents end.
    pub outdated_workers: u32,
    /// Of all, the ones that may be dead or do not end, while nobody here can see or bring about their end: their agents wait.
    pub unreachable_workers: u32,
    /// The workers that are unreachable so, the oldest first, 100 at the most.
    #[schema(value_type = Vec<String>)]
    pub unreachable_worker_ids: Vec<ProcessId>,
    /// Of all, the ones that are ready.
    pub active_worker_processes: u32,
    /// Slots.
    // Of all workers that take agents, and taken slots of those that do not any more.
    pub total_capacity: u32,
    /// Taken slots.
    pub used_capacity: u32,
    /// Free slots.
    pub available_capacity: u32,
    /// Agents that are wanted or still hold a slot.
    pub agent_count: u32,
    /// Of these, those that wait for a slot or for their backoff.
    pub pending_agents: u32,
    /// Agents that crashed too often and wait for a person.
    pub quarantined_agents: u32,
    /// Taken slots as a share of all, 0 to 1.
    pub utilization: f64,
    /// Workers ever started for it.
    pub total_workers_spawned: u64,
    /// Workers of it that ended.
    pub total_workers_terminated: u64,
    /// For how long this supervisor has kept it.
    #[serde(rename = "manager_uptime_seconds", serialize_with = "seconds")]
    #[schema(value_type = f64)]
    pub manager_uptime: Duration,
    /// Its bounds.
    #[serde(serialize_with = "without_secrets")]
    pub config: PoolConfig,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

fn without_secrets<S: Serializer>(config: &PoolConfig, serializer: S) -> Result<S::Ok, S::Error> {
    config.clone().shown().serialize(serializer)
}

/// What holds up the tasks of a pool: part of whatever shows a pool or its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HoldsJson)]
pub struct Holds {
    /// Whether it empties: it was drained, or is being removed. What runs goes on; nothing is taken in or begun.
    pub draining: bool,
    /// Whether the pool is being removed.
    pub being_removed: bool,
    /// Whether its tasks wait until the pool is resumed.
    pub paused: bool,
    /// Whether the tasks of all pools wait until the system is resumed.
    pub all_paused: bool,
    /// Whether it takes no new tasks until the pool is resumed.
    pub intake_closed: bool,
    /// Its circuit breaker.
    pub breaker: BreakerView,
    /// Why no agent takes its ready tasks: `agents_failing` (those that are started for them fail at their start),
    /// `no_agent` (it has none, or only in quarantine, and starts none by itself), `old_runtime` (it may have no more workers, and
    /// those that it has start programs by an older definition of the runtime) or `target_workers` (it is to have no more workers);
    /// null where that is not so.
    // Null too where it is for one of the reasons above, or one is on its way.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(Lack::words()))))]
    pub lacks: Option<Lack>,
}

impl Holds {
    /// Whether something does that is about this pool alone.
    pub const fn is_held(&self) -> bool {
        self.draining || self.paused || self.intake_closed || self.breaker.state.is_holding() || self.lacks.is_some()
    }
}

muster_domain::words! {
    /// What a pool with ready tasks has instead of agents.
    pub enum Lack {
        /// Agents that it has started for tasks fail at their start; it tries again, less and less often.
        AgentsFailing = "agents_failing",
        /// None, or only such as wait for a person; it starts none by itself.
        NoAgent = "no_agent",
        /// It may have no more workers, and those that it has start programs by an older definition of the runtime: they are
        /// replaced as their agents end.
        OldRuntime = "old_runtime",
        /// It is to have no more workers: somebody has said how many.
        TargetWorkers = "target_workers",
    }
}

muster_domain::words! {
    /// How the circuit breaker of a pool stands.
    pub enum BreakerState {
        /// The pool wants none: its tasks start, however many fail.
        Off = "off",
        /// Tasks start.
        Closed = "closed",
        /// Too many attempts failed: no task starts.
        Open = "open",
        /// Too many attempts failed: some tasks are tried, and the others wait.
        HalfOpen = "half_open",
    }
}

impl BreakerState {
    /// Whether ready tasks wait for it, all or most of them.
    pub const fn is_holding(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen)
    }
}

/// The circuit breaker of a pool: where too many attempts fail, its tasks wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BreakerJson)]
pub struct BreakerView {
    /// `closed` (tasks start), `open` (too many attempts failed, and no task starts), `half_open` (some tasks are tried, the
    /// others wait), or `off` (the pool wants none).
    #[schema(value_type = String, example = "closed", extensions(("x-enum" = json!(BreakerState::words()))))]
    pub state: BreakerState,
    /// Why it opened; null where it is closed or off.
    pub reason: Option<String>,
    /// When it opened; null where it is closed or off.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When some tasks are tried; null where it is not open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_probe_at: Option<Timestamp>,
}

impl BreakerView {
    /// One that did not open, in this state.
    pub const fn quiet(state: BreakerState) -> Self {
        Self { state, reason: None, since: None, next_probe_at: None }
    }
}
