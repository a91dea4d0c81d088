//! What a keeper is asked and told.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::{AgentId, AgentSpec, Gate, PoolSpec, ProcessId, Progress, TaskId, Usage};
use muster_policy::worker::Hearing;
use muster_registry::{Heard, ReportPost};
use muster_store::{AgentRow, IdempotencyKey};
use tokio::sync::{oneshot, watch};

use super::agent::{Awaited, Reply};
use super::tasks::{Cancel, QueueFigures, Redrive, Signal, SubmitAsk};
use crate::error::SupervisorError;
use crate::launch::{Death, LaunchError, Launched, RunningWorker, Said};
use crate::view::{AgentView, PoolView, WorkerView};
use crate::waiting::{WaitQuery, WaitingFor};

/// A message to a keeper. Requests carry their reply; where the asker has gone, the reply goes nowhere and what was
/// asked for is done all the same.
pub(crate) enum Ask {
    Spawn(Box<SpawnAsk>),
    Terminate {
        agent: AgentId,
        graceful: bool,
        deadline: Instant,
        reply: Reply,
    },
    Restart {
        agent: AgentId,
        deadline: Instant,
        reply: Reply,
    },
    /// Wants an agent at rest as failed to run again.
    Revive {
        row: Box<AgentRow>,
        deadline: Instant,
        reply: Reply,
    },
    /// Waits for an agent without changing anything.
    Await {
        agent: AgentId,
        awaited: Awaited,
        deadline: Instant,
        reply: Reply,
    },
    ViewPool(oneshot::Sender<PoolView>),
    /// Views of these agents, or of all; those that the keeper does not hold are left out.
    ViewAgents(Option<Vec<AgentId>>, oneshot::Sender<Vec<AgentView>>),
    ViewWorkers(oneshot::Sender<Vec<WorkerView>>),
    Change {
        spec: Arc<PoolSpec>,
        reply: oneshot::Sender<Result<PoolView, SupervisorError>>,
    },
    Remove {
        graceful: bool,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    },
    /// Reports of this pool's workers.
    Reports(Vec<ReportPost>),
    /// What the registry says of this pool's workers.
    Heard(HeardNews),
    /// A launch is through.
    Launched(ProcessId, Result<Launched, LaunchError>),
    /// A worker of an earlier supervisor is dead; what it owned may not be yet.
    FoundDead(ProcessId, Arc<dyn RunningWorker>),
    /// A worker was asked at its door.
    Probed(ProcessId, Said),
    /// A worker and all that it owned is proven dead.
    Died(ProcessId, Death),
    /// Tasks to store.
    Submit(SubmitAsk),
    /// A task is to stop.
    Cancel(Cancel),
    /// Tasks that were given up are to be tried again.
    Redrive(Redrive),
    /// Wants to hear of a task's changes.
    Follow(TaskId, oneshot::Sender<watch::Receiver<Signal>>),
    /// Closes or opens the queue.
    SetGate {
        gate: Gate,
        /// Whether what runs goes back to the queue.
        hand_back: bool,
        reply: oneshot::Sender<Result<PoolView, SupervisorError>>,
    },
    /// The queues of all pools were paused or resumed.
    AllGated {
        hand_back: bool,
    },
    /// How far a running task is, and what its attempt has used.
    ViewRun(TaskId, oneshot::Sender<Option<(Option<Progress>, Usage)>>),
    /// What each of these queued tasks waits for; none where it has an agent by now.
    ViewWaits(Vec<WaitQuery>, oneshot::Sender<Vec<Option<WaitingFor>>>),
    /// An agent that does one task has done it.
    Spent(AgentId),
    /// So many tasks are dead now, as the store counts.
    CountDead(u64),
    ViewQueue(oneshot::Sender<QueueFigures>),
    /// Stop every worker; answered when none is left.
    StopAll {
        reply: oneshot::Sender<()>,
    },
    /// Kill every worker that is left.
    KillAll,
}

pub(crate) struct SpawnAsk {
    pub(crate) spec: AgentSpec,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<SpawnAnswer, SupervisorError>>,
}

/// What a spawn is answered with.
pub(crate) enum SpawnAnswer {
    /// The agent is wanted; its fate comes over this.
    Waiting(oneshot::Receiver<Result<super::agent::Answer, SupervisorError>>),
    /// The key was used before, for this agent.
    Replayed(AgentId),
}

/// One round of listening.
pub(crate) struct HeardNews {
    /// When the registry was asked.
    pub(crate) at: Instant,
    pub(crate) hearing: Hearing,
    /// Whether the registry may have lost what was written to it: it was flushed, or away.
    pub(crate) rebuild: bool,
    pub(crate) heard: Vec<Voice>,
}

/// One worker in a round of listening.
pub(crate) struct Voice {
    /// When its latest beat was made, on this process's clock.
    pub(crate) at: Instant,
    /// What the registry says.
    pub(crate) heard: Heard,
}
