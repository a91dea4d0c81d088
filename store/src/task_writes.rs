//! The transitions of tasks. They come in batches of the same kind, since under load hundreds change in one commit.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::budget::Scope;
use muster_domain::{Attempt, AttemptRecord, FollowUp, Halt, Payload, Tally, TaskId, TaskSpec, Timestamp, Usage};

use crate::IdempotencyKey;

/// A new task.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// The task. With a `not_before` after `at` it is delayed.
    pub spec: TaskSpec,
    /// How long it is not started, where that is said by a duration.
    pub delay: Option<Duration>,
    /// The work.
    pub input: Payload,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// Its first attempt, where an agent is there for it at once.
    pub start: Option<Attempt>,
    /// When.
    pub at: Timestamp,
}

impl NewTask {
    /// Until when it is delayed, if it is: one that starts at once is not.
    pub fn due_at(&self) -> Option<Timestamp> {
        let due_at = self.delay.map(|delay| self.at.after(delay)).or(self.spec.not_before);
        due_at.filter(|due_at| self.start.is_none() && *due_at > self.at)
    }
}

/// A waiting task gets an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStart {
    /// The task.
    pub task_id: TaskId,
    /// Its next attempt.
    pub attempt: Attempt,
    /// When.
    pub at: Timestamp,
}

/// A running task is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskHalting {
    /// The task.
    pub task_id: TaskId,
    /// The number of the attempt.
    pub number: u32,
    /// Why.
    pub halt: Halt,
}

/// An attempt is over.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEnding {
    /// The task.
    pub task_id: TaskId,
    /// The attempt with its end; added to the task's history. Its `ended_at` is when.
    pub record: AttemptRecord,
    /// What follows.
    pub then: FollowUp,
    /// The result, where it succeeded.
    pub output: Option<Payload>,
    /// What all its attempts have used.
    pub usage: Usage,
    /// What all its attempts have cost.
    pub tally: Tally,
}

/// A waiting task is over without an attempt: cancelled, or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskVerdict {
    /// The task.
    pub task_id: TaskId,
    /// `Cancel`, `Fail` or `Die`.
    pub then: FollowUp,
    /// When.
    pub at: Timestamp,
}

/// An account's sum grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageAdded {
    /// Whose: an agent's, a project's, a tenant's, a pool's.
    pub scope: Scope,
    /// Its id or name.
    pub name: String,
    /// By so much.
    pub usage: Usage,
}

/// What became of one task of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It was carried out.
    Applied,
    /// Its precondition did not hold; nothing was changed.
    Unchanged,
    /// The idempotency key was used before, for this task, with the body of this hash; nothing was changed.
    Replayed {
        /// The task of the first request.
        task_id: TaskId,
        /// The hash of the first request's body.
        body_hash: [u8; 32],
    },
    /// The engine will never take one of its values; nothing was changed. The words say why.
    Refused(Arc<str>),
}
