//! What the supervisor shows: pictures of pools, workers, agents, tasks and itself. They are the answers of the API: a name in
//! them, and the words above it, are promises to callers.

mod account;
mod attempt;
mod number;
mod pool;
mod queue;
mod system;
mod task;
mod worker;

use std::time::Duration;

use muster_domain::{AgentId, AgentState, Ending, EventDraft, PoolName, ProcessId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

pub use account::{BudgetFigures, LeftView, LimitsView, QuotaView, UsageFigures, UsageView};
pub(crate) use number::share;
pub use pool::{BreakerState, BreakerView, Holds, Lack, PoolView};
pub use queue::QueueView;
pub use system::{CheckLine, HealthView, HeldPool, Mode, ReachView, SystemView};
pub use task::{CalledOff, ProgressFigures, Submitted, TaskNews, TaskView};
pub use worker::{EndedWorkerView, WorkerEndingView, WorkerView};

/// An agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    /// Its id.
    pub agent_id: AgentId,
    /// Its name for people.
    pub human_name: String,
    /// Its role.
    pub role_type: String,
    /// Its project.
    pub project_id: String,
    /// Its pool.
    pub pool_name: PoolName,
    /// Its worker, where it holds a slot.
    pub process_id: Option<ProcessId>,
    /// The pid of its program, where that is known.
    pub pid: Option<u32>,
    /// Its state.
    pub state: AgentState,
    /// Why it is in that state, in words, where there is something to say.
    pub reason: Option<String>,
    /// The number of its latest assignment.
    pub epoch: u64,
    /// Restarts over its life.
    pub restarts: u64,
    /// How its latest run ended.
    pub last_ending: Option<Ending>,
    /// Seconds after which its registry picture is refreshed at the latest.
    pub heartbeat_interval: Duration,
    /// Seconds of idleness after which it ends.
    pub max_idle_time: Duration,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T, Id = AgentId> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Id>,
}

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EventJson)]
pub struct Event {
    /// Its number; the `id` of the message.
    pub seq: u64,
    /// `at`, `kind`, `reason`, and where they apply `pool_name`, `agent_id`, `process_id`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub event: EventDraft,
}
