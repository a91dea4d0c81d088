//! What the supervisor shows: pictures of pools, workers, agents, tasks and itself. They are the answers of the API: a name in
//! them, and the words above it, are promises to callers.

mod account;
mod agent;
mod attempt;
mod decision;
mod metrics;
mod number;
mod pool;
mod queue;
mod scale;
mod system;
mod task;
mod worker;

use muster_domain::{AgentId, EventDraft};
use serde::Serialize;
use utoipa::ToSchema;

pub use account::{BudgetFigures, LeftView, LimitsView, QuotaView, UsageFigures, UsageView};
pub use agent::{AgentHealthView, AgentView, EndingView};
pub use decision::{DecisionView, PoolScalingView, WhatIfView};
pub use metrics::{
    AgentMetricsView, CapacityView, PoolMetricsView, PressureView, QueueMetricsView, ResourceUseView, ResourcesView,
    SeriesPoint, SeriesView, WorkView,
};
pub(crate) use number::share;
pub use pool::{BreakerState, BreakerView, Holds, Lack, PoolView};
pub use queue::QueueView;
pub use scale::{PoolStatus, ScaleView};
pub use system::{BesidesView, CheckLine, HealthView, HeldPool, Mode, ReachView, SystemView};
pub use task::{CalledOff, ProgressFigures, Submitted, TaskNews, TaskView};
pub use worker::{EndedWorkerView, InterruptionView, WorkerEndingView, WorkerView};

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
    /// What happened.
    #[serde(flatten)]
    pub event: EventDraft,
}
