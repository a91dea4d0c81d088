//! The words of Muster: what its rooms say to each other, and nothing that acts.
//!
//! Muster keeps two pictures apart. *Intent* is what somebody asked for (an agent is to run, is to stop) and lives in
//! the store. *Observation* is what was seen (this worker lives and holds these agents) and lives in the registry.
//! The types here follow that line: [`Intent`] and [`AgentSpec`] are wanted, [`Heartbeat`] and [`Report`] are seen, and a
//! [`Command`] is what turns the one into the other.
//!
//! | module | what it says |
//! |---|---|
//! | [`ids`] | identities ([`AgentId`], [`ProcessId`]), and the two numbers that order the world: [`Epoch`], [`Fence`] |
//! | [`pool`] | a named kind of agent and its limits |
//! | [`placement`] | how a pool chooses the worker of an agent |
//! | [`agent`], [`agent_state`] | one agent: what is wanted of it, and its status with its moves; its states in one word |
//! | [`worker`], [`worker_identity`] | one worker: its status with its moves; who it is for whoever runs it |
//! | [`task`], [`attempt`] | one piece of work: its status; its attempts, how they ended and what they cost |
//! | [`check`] | a task that only tests the way to an agent, and what it found |
//! | [`payload`] | JSON that is carried for others |
//! | [`pool_metrics`], [`metrics_tier`], [`histogram`] | what a pool was and did over a time; for how long that is kept |
//! | [`queue`] | how a pool treats its tasks |
//! | [`scaling`] | how the workers of a pool grow and shrink with what is measured |
//! | [`tiers`] | of what those workers are: base, spot and burst, with their bounds and prices |
//! | [`tenant`], [`budget`] | on whose account tasks run, and what they may use |
//! | [`principal`] | who asks |
//! | [`ending`], [`worker_ending`] | how a run of an agent ended, and what that means for a restart; how a worker did |
//! | [`command`], [`report`], [`heartbeat`] | the messages between the master and its workers |
//! | [`probe_answer`] | what a worker says when it is asked past that |
//! | [`lengths`] | how long the texts may be by which people know things |
//! | [`mod@count`], [`mod@plain`], [`mod@nearest`] | words for people |
//! | [`runtime`], [`orders`] | what a worker is told at its start |
//! | [`schema`] | what can be set, as the types themselves say it |
//! | [`mod@words`] | enums whose values are words |
//! | [`mod@tables`] | how what people write becomes a struct |
//! | [`clocks`] | every duration that two rooms must agree on |
//!
//! Nothing here does IO, reads a clock for a decision or knows of an executor.

pub mod agent;
pub mod agent_state;
pub mod attempt;
pub mod budget;
pub mod check;
pub mod clocks;
pub mod command;
pub mod count;
pub mod ending;
pub mod event;
pub mod heartbeat;
pub mod histogram;
pub mod ids;
pub mod interruption;
mod key;
pub mod launcher;
pub mod lengths;
pub mod metrics_tier;
pub mod name;
pub mod nearest;
pub mod number;
pub mod orders;
pub mod payload;
pub mod placement;
pub mod plain;
pub mod pool;
pub mod pool_metrics;
pub mod principal;
pub mod probe_answer;
pub mod queue;
pub mod report;
pub mod restart;
pub mod runtime;
pub mod scaling;
pub mod schema;
pub mod tables;
pub mod task;
pub mod tenant;
pub mod tiers;
pub mod time;
pub mod words;
pub mod worker;
pub mod worker_ending;
pub mod worker_identity;

pub use agent::{AgentEvent, AgentSpec, AgentStatus, Assignment, Intent, StopReason};
pub use agent_state::{Activity, AgentState, FinalState};
pub use attempt::{Attempt, AttemptEnd, AttemptRecord, Executions, Halt, Progress, Tally, Usage};
pub use budget::{Budget, Budgets};
pub use check::{CheckOrder, Connectivity, Dependency, Reach};
pub use clocks::Clocks;
pub use command::{Command, Envelope, SpawnOrder, TaskHalt, TaskOrder, WIRE_VERSION};
pub use count::counted;
pub use ending::{Cause, Ending};
pub use event::{EventDraft, EventKind};
pub use heartbeat::{AgentSnapshot, Generation, Heartbeat, HeartbeatReply, ObservedState, Tampering, TaskSnapshot};
pub use histogram::DurationHistogram;
pub use ids::{AgentId, AlertId, CommandId, DecisionId, Epoch, Fence, ProcessId, TaskId, TaskIdPrefix};
pub use interruption::Interruption;
pub use key::{InvalidKey, WorkerKey};
pub use metrics_tier::MetricsTier;
pub use nearest::nearest;
pub use orders::{RegistryTarget, WorkerOrders};
pub use payload::Payload;
pub use placement::PlacementStrategy;
pub use plain::plain;
pub use pool::{PoolConfig, PoolName, PoolOrigin, PoolSpec};
pub use pool_metrics::PoolMetrics;
pub use principal::{Principal, Role};
pub use probe_answer::{OngoingTrouble, ProbeAnswer};
pub use queue::{BreakerPolicy, Gate, OnDemand, RetryPolicy};
pub use report::{CommandRefusal, Report, ReportBody, TaskBegun, TaskOver};
pub use restart::{RestartKind, RestartPolicy};
pub use runtime::{ExecMode, ExecProfile, Readiness, RuntimeProfile};
pub use scaling::{HoldKind, ScalingConfig, ScalingMode, ScalingPolicy, ScalingPreset};
pub use tables::Tables;
pub use task::{FollowUp, Priority, TaskError, TaskSpec, TaskState, TaskStatus};
pub use tenant::{DEFAULT_TENANT, TenantLimits, Tenants};
pub use tiers::{CapacityTier, CapacityTiers, TierName};
pub use time::Timestamp;
pub use words::Words;
pub use worker::{WorkerState, WorkerStatus};
pub use worker_ending::{WorkerCause, WorkerEnding};
pub use worker_identity::{LocalIdentity, RemoteIdentity, WorkerIdentity};
