//! Tasks as they are read.

use std::time::Duration;

use muster_domain::{
    AgentId, Attempt, AttemptRecord, Halt, Payload, PoolName, Priority, Tally, TaskId, TaskSpec, TaskState, TaskStatus,
    Timestamp, Usage,
};

/// What a task's attempts have come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttemptTotals {
    /// The number of the latest; 0 before the first.
    pub attempt: u32,
    /// What they have cost since the task was sent to the queue.
    pub tally: Tally,
    /// What those have used that are over.
    pub usage: Usage,
}

/// A task, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// As it was asked for.
    pub spec: TaskSpec,
    /// The work.
    pub input: Payload,
    /// Where it stands.
    pub status: TaskStatus,
    /// 1 when it is made; rises by one with every transition.
    pub version: u64,
    /// What its attempts have come to.
    pub totals: AttemptTotals,
    /// How often a person has sent it to the queue again.
    pub redrives: u32,
    /// The result.
    pub output: Option<Payload>,
    /// Its attempts that are over, in order, but for those that never began.
    pub history: Vec<AttemptRecord>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its latest attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A waiting task: what it takes to give it to an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedTask {
    /// The task.
    pub task_id: TaskId,
    /// Its tenant.
    pub tenant: String,
    /// Its priority.
    pub priority: Priority,
    /// Its project.
    pub project_id: Option<String>,
    /// The one agent that is to do it.
    pub agent_id: Option<AgentId>,
    /// Whether it only tests the way.
    pub check: bool,
    /// Attempts at the most.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Not started by then, it fails.
    pub expires_at: Option<Timestamp>,
    /// What its attempts have come to.
    pub totals: AttemptTotals,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Its input, where that is short: see [`SHORT_INPUT`].
    pub input: Option<Payload>,
}

/// Inputs up to this length, in bytes, are read with the queues that they wait in.
pub const SHORT_INPUT: u32 = 1_024;

/// A running task.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningTask {
    /// The task; without its input.
    pub task: QueuedTask,
    /// Who has it.
    pub attempt: Attempt,
    /// Why it is being stopped, where it is.
    pub halt: Option<Halt>,
    /// When it was started.
    pub started_at: Timestamp,
}

impl QueuedTask {
    /// Its memory in bytes, more or less.
    pub fn size(&self) -> usize {
        let input = self.input.as_ref().map_or(0, Payload::len);
        size_of::<Self>() + self.tenant.len() + self.project_id.as_ref().map_or(0, String::len) + input
    }
}

/// A queue in which ready tasks of a pool wait, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueKey {
    /// For any agent: one queue per tenant and priority.
    Shared {
        /// The tenant.
        tenant: String,
        /// The priority.
        priority: Priority,
    },
    /// For one agent.
    Own(AgentId),
}

impl QueueKey {
    /// Of a task for this agent, or for any.
    pub fn of(agent: Option<AgentId>, tenant: &str, priority: Priority) -> Self {
        agent.map_or_else(|| Self::Shared { tenant: tenant.to_owned(), priority }, Self::Own)
    }
}

/// A slice of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSlice {
    /// Which queue.
    pub queue: QueueKey,
    /// It begins behind this task; at the beginning where there is none.
    pub after: Option<TaskId>,
    /// Tasks of it, at the most.
    pub limit: u32,
}

/// A queue that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueRow {
    /// Which.
    pub queue: QueueKey,
    /// Its ready tasks, at least 1.
    pub count: u64,
    /// The oldest of them.
    pub first: TaskId,
}

/// Which tasks to list, and in which order. An empty filter lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only this pool's.
    pub pool: Option<PoolName>,
    /// Only this project's.
    pub project: Option<String>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those in one of these states; none is all.
    pub states: Vec<TaskState>,
    /// Without their inputs and outputs, which may be long: the inputs read as `null`, and there are no outputs.
    pub brief: bool,
    /// In which order.
    pub order: ListOrder,
}

/// The order of a list: that in which the tasks were made, or the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// In the order of their ids.
    #[default]
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// Tasks of a pool that are not in its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Waiting for their time.
    pub delayed: u64,
    /// Given up, and kept for a person.
    pub dead: u64,
}
