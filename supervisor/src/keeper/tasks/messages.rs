//! What a keeper is asked about tasks.

use std::time::Duration;

use muster_domain::{Payload, Progress, TaskId, TaskSpec};
use muster_store::{IdempotencyKey, TaskRow};
use tokio::sync::{oneshot, watch};

use crate::error::SupervisorError;
use crate::view::Submitted;

/// What is wanted of the pool's tasks.
pub(crate) enum TaskAsk {
    /// To store these.
    Submit(SubmitAsk),
    /// That one stops.
    Cancel(Cancel),
    /// That those which were given up are tried again.
    Redrive(Redrive),
    /// To hear of a task's changes.
    Follow(TaskId, oneshot::Sender<watch::Receiver<TaskSignal>>),
    /// The queues of all pools were paused or resumed. Says whether what runs goes back to the queue.
    HandBack(bool),
    /// So many tasks are dead now, as the store counts.
    CountDead(u64),
}

/// Tasks that somebody submits in one request; each is answered, in order.
pub(crate) struct SubmitAsk {
    pub(crate) tasks: Vec<TaskDraft>,
    pub(crate) reply: oneshot::Sender<Vec<Result<TaskAnswer, SupervisorError>>>,
}

/// One task that is to be stored.
pub(crate) struct TaskDraft {
    pub(crate) spec: TaskSpec,
    /// How long it is not to be started.
    pub(crate) delay: Option<Duration>,
    pub(crate) input: Payload,
    pub(crate) key: Option<IdempotencyKey>,
    /// Why it is not taken in, unless the key says that it was before.
    pub(crate) refused: Option<SupervisorError>,
}

/// What the submission of a task is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TaskAnswer {
    Stored(Submitted),
    /// The key was used before, for this task.
    Replayed(TaskId),
}

/// Somebody wants a task stopped. Answered when the wish is stored, or where there is nothing to stop.
pub(crate) struct Cancel {
    pub(crate) task: Box<TaskRow>,
    pub(crate) reply: oneshot::Sender<Result<(), SupervisorError>>,
}

/// Somebody wants tasks that are dead or failed to be tried again. Answered with how many of them are.
pub(crate) struct Redrive {
    pub(crate) tasks: Vec<TaskRow>,
    pub(crate) reply: oneshot::Sender<Result<u64, SupervisorError>>,
}

/// What those who follow a task see of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskSignal {
    /// Rises with each change that the store has.
    pub(crate) changes: u64,
    /// How far it is.
    pub(crate) progress: Option<Progress>,
}
