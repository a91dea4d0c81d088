//! What a keeper is asked and told.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::scaling::WorkerTarget;
use muster_domain::{AgentId, AgentSpec, Gate, PoolSpec, ProcessId};
use muster_policy::worker::HeartbeatWatch;
use muster_registry::{HeartbeatReading, ReportDelivery};
use muster_store::{AgentRow, IdempotencyKey};
use tokio::sync::oneshot;

use super::agent::{AgentReply, Awaited};
use super::interruptions::Notice;
use super::scaling::{DecisionReply, Judgement};
use super::tasks::TaskAsk;
use super::workers::{DeclarationReply, Order};
use super::{Keeper, Turn};
use crate::error::SupervisorError;
use crate::launch::{Death, LaunchError, Launched, RunningWorker, Sent, WorkerProbe};
use crate::view::PoolView;

/// A message to a keeper. Requests carry their reply; where the asker has gone, the reply goes nowhere and what was
/// asked for is done all the same.
pub(crate) enum KeeperMessage {
    /// Wants an agent.
    Spawn(Box<SpawnAsk>),
    /// Wants something of an agent that there is.
    Agent(AgentAsk),
    /// Wants something of the pool's tasks.
    Task(TaskAsk),
    /// What became of a worker.
    Worker(WorkerNews),
    /// Reports of this pool's workers.
    Reports(Vec<ReportDelivery>),
    /// What the registry says of this pool's workers.
    Heartbeats(HeartbeatNews),
    /// Wants to see something of the pool, and changes nothing.
    Read(PoolRead),
    /// Changes the pool's settings.
    Change { spec: Arc<PoolSpec>, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// Closes or opens the queue. `hand_back` says whether what runs goes back to it.
    SetGate { gate: Gate, hand_back: bool, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// A person says how many workers there are to be, or that nobody says so any more; and who says it, in words.
    Scale { target: Option<u32>, words: String, reply: DecisionReply },
    /// The pool's policies have decided how many there are to be, where the target is still the one that they have seen.
    Judged { judgement: Box<Judgement>, seen: WorkerTarget },
    /// Removes the pool.
    Remove { graceful: bool, reply: oneshot::Sender<Result<(), SupervisorError>> },
    /// Somebody says that the capacity under a worker will be taken away; answered when that is stored.
    Interrupt(Notice),
    /// A person says that a worker is dead; answered when that is stored.
    DeclareDead { worker: ProcessId, by: String, reply: DeclarationReply },
    /// Stop every worker; answered when none is left.
    StopAll { reply: oneshot::Sender<()> },
    /// Kill every worker that is left.
    KillAll,
}

/// What is wanted of an agent that there is.
pub(crate) enum AgentAsk {
    /// That it ends for good.
    Terminate { agent: AgentId, graceful: bool, deadline: Instant, reply: AgentReply },
    /// That it runs anew.
    Restart { agent: AgentId, deadline: Instant, reply: AgentReply },
    /// That it runs again, of one at rest as failed.
    Revive { row: Box<AgentRow>, deadline: Instant, reply: AgentReply },
    /// To wait for it without changing anything.
    Await { agent: AgentId, awaited: Awaited, deadline: Instant, reply: AgentReply },
    /// That it ends, since it does one task and has done it.
    Spent(AgentId),
}

/// What became of a worker.
pub(crate) enum WorkerNews {
    /// Its launch is through.
    Launched(ProcessId, Result<Launched, LaunchError>),
    /// It is of an earlier supervisor, and dead; what it owned may not be yet.
    FoundDead(ProcessId, Arc<dyn RunningWorker>),
    /// It is of an earlier supervisor, and there is no way to it from here.
    FoundElsewhere(ProcessId),
    /// It was told something past the registry, and that came of it.
    Told(ProcessId, Order, Sent),
    /// It was asked at its probe socket.
    Probed(ProcessId, WorkerProbe),
    /// It and all that it owned is proven dead.
    Died(ProcessId, Death),
}

impl From<AgentAsk> for KeeperMessage {
    fn from(ask: AgentAsk) -> Self {
        Self::Agent(ask)
    }
}

impl From<TaskAsk> for KeeperMessage {
    fn from(ask: TaskAsk) -> Self {
        Self::Task(ask)
    }
}

impl From<WorkerNews> for KeeperMessage {
    fn from(news: WorkerNews) -> Self {
        Self::Worker(news)
    }
}

/// A read of the pool. It carries its reply: where the asker has gone, nobody looks.
pub(crate) enum PoolRead {
    /// Of what is known at the moment.
    Now(ReadFn),
    /// At the end of the turn: at the beginning of the first one nothing is known yet of the tasks.
    AtTurnEnd(ReadFn),
}

/// What a read does.
pub(crate) type ReadFn = Box<dyn FnOnce(&Keeper, &Turn) + Send + Sync>;

pub(crate) struct SpawnAsk {
    pub(crate) spec: AgentSpec,
    pub(crate) key: Option<IdempotencyKey>,
    /// Whether the pool itself wants it, for tasks that wait: it gets no worker past the pool's target.
    pub(crate) for_tasks: bool,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<SpawnAnswer, SupervisorError>>,
}

/// What a spawn is answered with.
pub(crate) enum SpawnAnswer {
    /// The agent is wanted; what becomes of it comes over this.
    Waiting(oneshot::Receiver<Result<super::agent::AgentAnswer, SupervisorError>>),
    /// The key was used before, for this agent.
    Replayed(AgentId),
}

/// One round of listening.
pub(crate) struct HeartbeatNews {
    /// When the registry was asked.
    pub(crate) at: Instant,
    pub(crate) watch: HeartbeatWatch,
    /// Whether the registry may have lost what was written to it: it was flushed, or away.
    pub(crate) rebuild: bool,
    pub(crate) heard: Vec<WorkerHeartbeat>,
}

/// One worker in a round of listening.
pub(crate) struct WorkerHeartbeat {
    /// When its latest beat was made, on this process's clock.
    pub(crate) at: Instant,
    /// What the registry says.
    pub(crate) heard: HeartbeatReading,
}
