//! One task: a piece of work for an agent, its attempts, and its status.
//!
//! The store is the queue, and its transitions say which moves a status has: hundreds of tasks move in one statement, whose
//! conditions decide for each. A task runs as *attempts*, numbered from 1: each belongs to one agent's run, and only the
//! attempt that the store names may end the task, so what an older one still says changes nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::attempt::{Attempt, Halt};
use crate::words::Words;
use crate::{AgentId, PoolName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How urgent a task is: 0 to 9, the higher the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const HIGHEST: Self = Self(9);
    /// Where nothing else is said.
    pub const NORMAL: Self = Self(5);

    /// The number, 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number > Self::HIGHEST.0 {
            return Err(format!("a priority is a number from 0 to {}, not {number}", Self::HIGHEST.0));
        }
        Ok(Self(number))
    }
}

/// A task as somebody asked for it, without its input. It does not change over the task's life.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// Its id.
    pub task_id: TaskId,
    /// The pool whose agents do it.
    pub pool_name: PoolName,
    /// On whose account it runs: shares, limits and quotas are per tenant.
    pub tenant: String,
    /// The project that it belongs to; agents of the same project are preferred.
    pub project_id: Option<String>,
    /// The one agent that is to do it.
    pub agent_id: Option<AgentId>,
    /// Whether it only tests the way to an agent: the worker answers it itself.
    pub check: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// Attempts at the most, at least 1: see [`Tally::spent`](crate::Tally).
    pub max_attempts: u32,
    /// How long one attempt may take, by its worker's clock.
    pub timeout: Option<Duration>,
    /// It is not started before.
    pub not_before: Option<Timestamp>,
    /// Not started by then, it fails.
    pub expires_at: Option<Timestamp>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskErrorJson)]
pub struct TaskError {
    /// A word that programs may rely on.
    #[schema(example = "agent_error")]
    pub code: String,
    /// What happened, in words.
    pub message: String,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// It waits for an agent; with a time, not before that.
    Queued {
        /// When it may start.
        not_before: Option<Timestamp>,
    },
    /// An agent has it.
    Running(Attempt),
    /// An agent has it and is being stopped. It is not over before that is proven.
    Halting(Attempt, Halt),
    /// Done.
    Succeeded,
    /// Ended without success, for good.
    Failed(TaskError),
    /// Ended by request.
    Cancelled,
    /// Given up after too many attempts; a person may send it again.
    Dead(TaskError),
}

/// What follows the end of an attempt, or of the wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// It has its result.
    Succeed,
    /// It goes back to the queue.
    Retry {
        /// When it may start.
        not_before: Option<Timestamp>,
    },
    /// It failed for good.
    Fail(TaskError),
    /// It was cancelled.
    Cancel,
    /// It is given up.
    Die(TaskError),
}

impl TaskStatus {
    /// The attempt that an agent has.
    pub const fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Running(attempt) | Self::Halting(attempt, _) => Some(*attempt),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn state(&self) -> TaskState {
        match self {
            Self::Queued { .. } => TaskState::Queued,
            Self::Running(_) | Self::Halting(..) => TaskState::Running,
            Self::Succeeded => TaskState::Succeeded,
            Self::Failed(_) => TaskState::Failed,
            Self::Cancelled => TaskState::Cancelled,
            Self::Dead(_) => TaskState::Dead,
        }
    }
}

crate::words! {
    /// A task's status as one word.
    pub enum TaskState {
        /// It waits.
        Queued = "queued",
        /// An agent has it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Ended without success.
        Failed = "failed",
        /// Ended by request.
        Cancelled = "cancelled",
        /// Given up.
        Dead = "dead",
    }
}

impl TaskState {
    /// Whether it is over (a dead or failed one may be sent again by a person).
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("{text:?} is no state of a task; there are: {}", Self::listed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_0_to_9() {
        assert_eq!(serde_json::from_str::<Priority>("9").expect("a priority"), Priority::HIGHEST);
        assert!(serde_json::from_str::<Priority>("10").expect_err("none").to_string().contains("from 0 to 9"));
        assert!(Priority::default() < Priority::HIGHEST);
    }

    #[test]
    fn a_state_is_its_word() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        let error = "done".parse::<TaskState>().expect_err("no state");
        let expected =
            r#""done" is no state of a task; there are: queued, running, succeeded, failed, cancelled, dead"#;
        assert_eq!(error, expected);
    }
}
