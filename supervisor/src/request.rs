//! What callers ask of the supervisor.

use std::time::Duration;

use muster_domain::{
    AgentId, AgentState, Payload, PoolConfig, PoolName, Principal, Priority, ProcessId, TaskId, TaskIdPrefix,
    TaskState, Timestamp,
};
use muster_store::IdempotencyKey;
pub use muster_store::ListOrder;

use crate::sampling::series::{Interval, MetricKind, TimeRange};
use crate::view::AgentView;

/// What tells a repeated request from a new one. It counts for the principal that uses it: two with the same key don't meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The route, or whatever else tells requests of one kind from others.
    pub route: String,
    /// The key that the caller chose.
    pub key: String,
    /// SHA-256 of the body: the same key with another body is refused.
    pub body_hash: [u8; 32],
}

impl RequestKey {
    pub(crate) fn of(self, principal: &Principal) -> IdempotencyKey {
        let Self { route, key, body_hash } = self;
        IdempotencyKey { caller: principal.name().to_owned(), route, key, body_hash }
    }
}

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
    pub key: Option<RequestKey>,
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
    /// Only those in one of these states; none: in any.
    pub states: Vec<AgentState>,
    /// Only those after this one.
    pub after: Option<AgentId>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

/// Which of the workers that ended to list.
#[derive(Clone, Debug, Default)]
pub struct EndedQuery {
    /// Only this pool's.
    pub pool: Option<PoolName>,
    /// Only those made before this one.
    pub before: Option<ProcessId>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

/// A piece of work that somebody wants done.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// The pool whose agents do it.
    pub pool_name: PoolName,
    /// The work: any JSON.
    pub input: Payload,
    /// Whether it only tests the way to an agent. It is one too where its input has the pool's skip phrase in it.
    pub check: bool,
    /// On whose account it runs, 1 to 128 characters; default the principal's, or [`muster_domain::DEFAULT_TENANT`].
    pub tenant: Option<String>,
    /// The project that it belongs to, 1 to 128 characters.
    pub project_id: Option<String>,
    /// The one agent that is to do it; of this pool.
    pub agent_id: Option<AgentId>,
    /// How urgent it is; default 5.
    pub priority: Option<Priority>,
    /// Attempts at the most, 1 to 1,000; default the pool's.
    pub max_attempts: Option<u32>,
    /// How long one attempt may take; default the pool's.
    pub timeout: Option<Duration>,
    /// It is not started before.
    pub not_before: Option<NotBefore>,
    /// Not started by then, it fails.
    pub expires_at: Option<Timestamp>,
    /// Makes a repeated request answer as the first did.
    pub key: Option<RequestKey>,
}

/// Before which time a task is not started. Where the clock is set, only a moment stays what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBefore {
    /// Before this time has passed since it was asked for.
    Delay(Duration),
    /// Before this moment.
    Moment(Timestamp),
}

impl NotBefore {
    /// The moment, of a task that is asked for at `now`.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Delay(delay) => now.after(delay),
            Self::Moment(moment) => moment,
        }
    }

    /// The delay, if it is one.
    pub const fn delay(self) -> Option<Duration> {
        match self {
            Self::Delay(delay) => Some(delay),
            Self::Moment(_) => None,
        }
    }

    /// The moment, if it is one.
    pub const fn moment(self) -> Option<Timestamp> {
        match self {
            Self::Delay(_) => None,
            Self::Moment(moment) => Some(moment),
        }
    }
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only this pool's.
    pub pool: Option<PoolName>,
    /// Only this project's.
    pub project: Option<String>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those in one of these states; none is all.
    pub states: Vec<TaskState>,
    /// Only those whose ids begin so.
    pub ids: Option<TaskIdPrefix>,
    /// In which order.
    pub order: ListOrder,
    /// Only those that are after this one in that order.
    pub after: Option<TaskId>,
    /// Without their inputs and outputs.
    pub brief: bool,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

impl TaskQuery {
    /// After which task the page begins: the cursor's, or the one before those whose ids begin as wanted.
    pub(crate) fn start(&self) -> Option<TaskId> {
        let Some(ids) = &self.ids else { return self.after };
        Some(match self.order {
            ListOrder::OldestFirst => self.after.map_or(ids.before(), |after| after.max(ids.before())),
            ListOrder::NewestFirst => self.after.map_or(ids.behind(), |after| after.min(ids.behind())),
        })
    }
}

/// Which figure is wanted over time.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// What it shows.
    pub kind: MetricKind,
    /// How far back.
    pub range: TimeRange,
    /// The time of a point; none: the usual one of the range.
    pub interval: Option<Interval>,
    /// The pool; none: all together.
    pub pool: Option<PoolName>,
}

/// Figures of a pool that might be others than they are; none stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WhatIf {
    /// Tasks that a free slot would start now.
    pub queue: Option<u32>,
    /// Tasks that run.
    pub running: Option<u32>,
    /// What the pool's processes use of the host's processors, in percent.
    pub cpu: Option<f64>,
    /// What they use of its memory, in percent.
    pub memory: Option<f64>,
    /// Slots whose agent has work.
    pub busy: Option<u32>,
    /// Workers that are to be there.
    pub workers: Option<u32>,
}
