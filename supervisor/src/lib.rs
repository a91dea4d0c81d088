//! The master: it keeps what is wanted and what was seen apart, compares them, and acts.
//!
//! # Theory of operation
//! Each pool has a keeper: one task that owns the pool's model (agents, workers, free slots). Requests, reports
//! of workers, heartbeats, deaths and timers come to it as messages; it takes what has come as a batch, asks `policy`
//! what follows, commits that to the store in one transaction, and only then changes its model, sends commands and
//! answers callers. Spawn, restart, restoration after a crash and scaling to a minimum are all the same step: an agent
//! that is to run and has no slot is placed.
//!
//! | part | what it does |
//! |---|---|
//! | [`Supervisor`] | one life as the leader: start, shutdown |
//! | [`Handle`], [`Caller`] | the way to it; the same for the one who asks, with a part for each kind of thing |
//! | [`access`] | who may see and do what |
//! | `keeper` | a pool's model and its turns; `keeper/tasks` is its queue of tasks |
//! | `tasks`, `submitting`, `consumption`, `follower` | what callers ask about tasks; new ones; what they used; one who follows a task |
//! | `agents`, `spawning`, `workers`, `events` | what callers ask about agents; new ones; workers; events |
//! | `measurements`, `scaling` | what callers ask about metrics; how many workers there are to be, and why |
//! | `pools`, `gates`, `system`, `checks` | what callers ask about pools; pause, drain, resume; the supervisor itself; whether all of it is well |
//! | `view` | what is shown, which is what the API answers |
//! | `waiting` | what a queued task waits for, in words |
//! | `quotas`, `accounts` | what tenants have submitted and run; what was used of each budget |
//! | `heartbeat_reader` | heartbeats, and since when there was no gap in listening |
//! | `command_sender`, `report_reader` | commands out, reports in |
//! | [`launch`] | worker processes, single-process workers, the private Redis |
//! | `sampling` | the metrics collector: what pools, workers and agents do and use, measured and kept |
//! | `autoscaler` | asks the policies of pools, and tells their keepers what these decided |
//! | `leadership`, `pruner`, `sweeper` | the lease, old rows, and processes that outlived their worker |
//! | `announced` | tasks whose beginning and end the log says |
//! | `task_set` | the tasks by name, so that none of them is missed when it ends |
//! | `health_board` | every way in which the supervisor is less than it should be |
//! | `alerts` | what needs a person, and the webhook that is told |
//!
//! # What happens when a part fails
//! A keeper that panics, or another task that ends, ends this supervisor's lead; the next lead reads the truth again, and
//! agents in worker processes do not notice. A caller that goes away changes nothing of what it asked for.

pub mod access;
mod accounts;
mod agents;
mod alerts;
mod announced;
mod autoscaler;
pub mod blocking;
mod bootstrap;
mod caller;
mod checks;
mod clock;
mod command_sender;
mod consumption;
mod context;
mod directory;
mod error;
mod events;
mod follower;
mod gates;
mod handle;
mod health_board;
mod heartbeat_reader;
mod host;
mod keeper;
pub mod launch;
mod leadership;
mod lifetime;
mod logs;
mod losses;
mod measurements;
mod pools;
mod probes;
pub mod prometheus;
mod pruner;
mod quotas;
mod registry_check;
mod report_reader;
mod request;
mod runtimes;
mod sampling;
mod scaling;
mod slowness;
mod spawning;
mod statements;
mod submitting;
mod supervisor;
mod sweeper;
mod system;
mod tampering;
mod task_set;
mod tasks;
mod view;
mod waiting;
mod workers;

pub use agents::Agents;
pub use alerts::{Alert, AlertKind, AlertParts, Webhook, WebhookClient, WebhookSecret};
pub use caller::Caller;
pub use clock::WallClock;
pub use context::Settings;
pub use error::SupervisorError;
pub use events::{EventLine, Events};
pub use follower::TaskFollower;
pub use handle::{Handle, StopWish};
pub use health_board::{DATA_FOLDER, DATABASE_FILE};
pub use host::HostCheck;
pub use logs::{AgentLog, FileLog, LogReader, LogTail};
pub use measurements::Metrics;
pub use muster_policy::scaling::ScalingFacts;
pub use pools::Pools;
pub use request::{
    AgentQuery, EndedQuery, ListOrder, NewPool, NotBefore, RequestKey, SeriesQuery, SpawnRequest, Spawned, TaskQuery,
    TaskRequest, WhatIf,
};
pub use sampling::series::{Interval, MetricKind, TimeRange};
pub use scaling::Scaling;
pub use supervisor::{LeadEnd, Parts, Supervisor, SupervisorFacts};
pub use system::System;
pub use tasks::Tasks;
pub use view::{
    AgentHealthView, AgentMetricsView, AgentView, BesidesView, BreakerState, BreakerView, BudgetFigures, CalledOff,
    CapacityView, CheckLine, DecisionView, EndedWorkerView, EndingView, Event, HealthView, HeldPool, Holds,
    InterruptionView, Lack, LeftView, LimitsView, Mode, Page, PoolMetricsView, PoolScalingView, PoolStatus, PoolView,
    PressureView, ProgressFigures, QueueMetricsView, QueueView, QuotaView, ReachView, ResourceUseView, ResourcesView,
    ScaleView, SeriesPoint, SeriesView, Submitted, SystemView, TaskNews, TaskView, UsageFigures, UsageView, WhatIfView,
    WorkView, WorkerEndingView, WorkerView,
};
pub use waiting::{MissingAgent, WaitCode, WaitKind, WaitingFor};
pub use workers::Workers;
