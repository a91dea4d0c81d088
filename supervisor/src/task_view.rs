//! What the supervisor shows of tasks and queues.

use std::time::Duration;

use muster_domain::budget::Budget;
use muster_domain::{
    AgentId, AttemptRecord, Halt, Payload, PoolName, ProcessId, Progress, TaskError, TaskId, TaskSpec, TaskState,
    TaskStatus, TenantLimits, Timestamp, Usage,
};
pub use muster_policy::quota::Left;
use muster_store::TaskRow;

/// A task that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub task_id: TaskId,
    /// Its state when it was stored; a repeated request is answered with the state now.
    pub state: TaskState,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A task.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// As it was asked for.
    pub spec: TaskSpec,
    /// The work.
    pub input: Payload,
    /// Its state.
    pub state: TaskState,
    /// Why it is being stopped, while it is.
    pub halting: Option<Halt>,
    /// Rises with every change; the same number is the same picture, but for the progress.
    pub version: u64,
    /// The number of its latest attempt; 0 before the first.
    pub attempt: u32,
    /// Who has it, or had it last.
    pub agent_id: Option<AgentId>,
    /// The worker of that agent.
    pub process_id: Option<ProcessId>,
    /// The result.
    pub output: Option<Payload>,
    /// What went wrong, where it ended without success.
    pub error: Option<TaskError>,
    /// How far it is, while it runs.
    pub progress: Option<Progress>,
    /// What it has used.
    pub usage: Usage,
    /// Its attempts that are over.
    pub attempts: Vec<AttemptRecord>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its latest attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// While it waits for its time: when that is.
    pub due_at: Option<Timestamp>,
}

impl TaskView {
    /// How long it waited for its first agent, or waits by now.
    pub fn waited(&self, now: Timestamp) -> Duration {
        let first = self.attempts.first().map(|attempt| attempt.started_at).or(self.started_at);
        first.or(self.finished_at).unwrap_or(now).since(self.created_at)
    }

    /// How long its latest attempt took, or takes by now.
    pub fn ran(&self, now: Timestamp) -> Option<Duration> {
        let latest = self.attempts.last().filter(|attempt| attempt.number == self.attempt).map(|last| last.ended_at);
        Some(latest.unwrap_or(now).since(self.started_at?))
    }
}

impl From<TaskRow> for TaskView {
    fn from(row: TaskRow) -> Self {
        let last = row.history.last();
        let (halting, due_at, error) = match &row.status {
            TaskStatus::Halting(_, halt) => (Some(*halt), None, None),
            TaskStatus::Queued { not_before } => (None, *not_before, None),
            TaskStatus::Failed(error) | TaskStatus::Dead(error) => (None, None, Some(error.clone())),
            TaskStatus::Running(_) | TaskStatus::Succeeded | TaskStatus::Cancelled => (None, None, None),
        };
        let open = row.status.attempt();
        Self {
            state: row.status.state(),
            halting,
            version: row.version,
            attempt: row.attempt,
            agent_id: open.map(|at| at.agent_id).or(last.map(|last| last.agent_id)),
            process_id: open.map(|at| at.process_id).or(last.map(|last| last.process_id)),
            output: row.output,
            error,
            progress: None,
            usage: row.usage,
            attempts: row.history,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            due_at,
            spec: row.spec,
            input: row.input,
        }
    }
}

/// What somebody who follows a task hears.
#[derive(Clone, Debug)]
pub enum TaskNews {
    /// It has changed; this is its picture now. Several changes may be told as one.
    Changed(Box<TaskView>),
    /// It makes progress.
    Progress(Progress),
}

/// A pool's queue in figures.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// The pool.
    pub pool_name: PoolName,
    /// Tasks that wait and may start.
    pub depth: u64,
    /// Tasks that wait for their time.
    pub delayed: u64,
    /// Tasks that were given up, and are kept for a person.
    pub dead: u64,
    /// Tasks that run.
    pub running: u64,
    /// For how long the oldest ready task has been waiting.
    pub oldest_wait: Option<Duration>,
    /// Tasks taken in per second, over the last minute.
    pub rate_in: f64,
    /// Tasks ended per second, over the last minute.
    pub rate_out: f64,
    /// How long tasks waited for their first agent, over the last minutes.
    pub wait: Option<Percentiles>,
    /// How long attempts took, over the last minutes.
    pub run: Option<Percentiles>,
}

/// A tenant's limits and what is left of them.
#[derive(Clone, Debug)]
pub struct QuotaView {
    /// The tenant.
    pub tenant: String,
    /// What it may do.
    pub limits: TenantLimits,
    /// Its tasks that run; counted only where some tenant has a bound on them.
    pub running: u32,
    /// What is left of its rate and of its day.
    pub left: Left,
}

/// What was used on one account, and what may be.
#[derive(Clone, Debug)]
pub struct UsageView {
    /// The agent's id, or the name of the project, tenant or pool.
    pub name: String,
    /// By attempts that are over.
    pub usage: Usage,
    /// Its budget, if it has one.
    pub budget: Option<Budget>,
}

/// Two figures of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: Duration,
    /// What 99 of 100 stay below.
    pub p99: Duration,
}
