//! The transitions: every change of the truth is one of these, with its precondition.

use std::sync::Arc;

use muster_domain::scaling::{DecisionState, ScalingRecord, WorkerTarget};
use muster_domain::{
    AgentId, AgentSpec, Assignment, DecisionId, Ending, Epoch, EventDraft, Executions, FinalState, Gate, Interruption,
    PoolName, PoolSpec, ProcessId, StopReason, TaskId, Timestamp, WorkerEnding, WorkerIdentity, WorkerKey,
};

use crate::task_writes::{NewTask, TaskEnding, TaskHalting, TaskOutcome, TaskStart, TaskVerdict, UsageAdded};
use crate::{LifeRow, WorkerSpec};

/// One transition. Each says its precondition; where that does not hold, the outcome is [`WriteOutcome::Unchanged`] unless
/// said otherwise.
// It has more variants than other types: it is the list of all that is ever written, and one batch mixes them in the order of their
// commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Makes a pool. Precondition: the name is free.
    AddPool {
        /// The pool.
        spec: PoolSpec,
        /// When.
        at: Timestamp,
    },
    /// Changes a pool's role, runtime, bounds and origin. Precondition: it exists.
    ChangePool {
        /// The pool as it is to be.
        spec: PoolSpec,
    },
    /// Marks a pool as going. Precondition: it exists and is not going.
    DrainPool {
        /// The pool.
        pool: PoolName,
    },
    /// Says how many workers a pool is to have, or that nobody says so any more. Precondition: it exists.
    ScalePool {
        /// The pool.
        pool: PoolName,
        /// So many.
        target: WorkerTarget,
    },
    /// Records a decision about that. Precondition: none has its id.
    AddDecision(Box<ScalingRecord>),
    /// Says what came of one. Precondition: it is pending.
    EndDecision {
        /// The decision.
        decision_id: DecisionId,
        /// How far it was carried out.
        state: DecisionState,
        /// In words.
        result: String,
        /// When.
        at: Timestamp,
    },
    /// Removes a pool. Precondition: it has no open worker, no agent with an open assignment or not at rest, and no task that
    /// waits or runs.
    RemovePool {
        /// The pool.
        pool: PoolName,
    },
    /// Closes or opens a pool's queue. Precondition: it exists.
    GatePool {
        /// The pool.
        pool: PoolName,
        /// What is closed from now on.
        gate: Gate,
    },
    /// Pauses or resumes the queues of all pools. No precondition.
    PauseAll {
        /// Whether they are paused from now on.
        paused: bool,
    },
    /// Makes a worker's row before the fork, in state `starting`, and counts it as spawned. Precondition: the pool
    /// exists.
    AddWorker {
        /// Its id.
        process_id: ProcessId,
        /// Its pool.
        pool: PoolName,
        /// Agents that it may hold.
        capacity: u32,
        /// What its messages are signed with.
        key: WorkerKey,
        /// From where it is to come.
        spec: WorkerSpec,
        /// When.
        at: Timestamp,
    },
    /// Records who a worker is for whoever runs it. Precondition: the row is open.
    IdentifyWorker {
        /// The worker.
        process_id: ProcessId,
        /// Who it is.
        identity: WorkerIdentity,
    },
    /// Marks a worker as draining, so that no agent is assigned to it. Precondition: it is `starting` or `ready`.
    DrainWorker {
        /// The worker.
        process_id: ProcessId,
    },
    /// Notes that the capacity under a worker will be taken away, or what has become known of that since. Precondition: the row is
    /// open.
    InterruptWorker {
        /// The worker.
        process_id: ProcessId,
        /// All that is known of it.
        interruption: Interruption,
    },
    /// Records that a worker is proven dead, and counts it as terminated. Precondition: the row is open. Its agents'
    /// assignments are not touched: each is released by its own write.
    EndWorker {
        /// The worker.
        process_id: ProcessId,
        /// Whether it ended by itself (`lost`) or by order (`stopped`).
        lost: bool,
        /// How, and what followed.
        ending: WorkerEnding,
        /// When.
        at: Timestamp,
    },
    /// Makes an agent with intent "run", assigned with epoch 1 where a worker is given. Precondition: its idempotency
    /// key, if any, is free; otherwise [`WriteOutcome::Replayed`]. Where the worker has no free slot or takes no agents, the
    /// agent is made without an assignment: [`WriteOutcome::Unplaced`], as where no worker is given. Where the pool does not
    /// exist, or the id is taken, nothing is made: [`WriteOutcome::Unchanged`].
    AddAgent(Box<NewAgent>),
    /// Gives an agent a slot. Preconditions: intent is "run", it is not at rest, it has no open assignment, its epoch is
    /// one below the given one, and the worker takes agents and has a free slot.
    Assign {
        /// The agent.
        agent_id: AgentId,
        /// Its place.
        to: Assignment,
        /// When.
        at: Timestamp,
    },
    /// Sets an agent's intent to "stop"; where it holds no slot, it is at rest as `terminated` at once. Precondition:
    /// intent is "run".
    StopAgent {
        /// The agent.
        agent_id: AgentId,
        /// Why.
        reason: StopReason,
        /// When.
        at: Timestamp,
    },
    /// Ends an assignment after the agent's tree of that epoch is proven dead. Precondition: it is open with this epoch.
    Release {
        /// The agent.
        agent_id: AgentId,
        /// The epoch that ended.
        epoch: Epoch,
        /// How it ended.
        ending: Ending,
        /// What the agent comes to: intent becomes "stop" with the reason that this has, if it was "run". None: it is to run again,
        /// which counts as a restart. Where intent is "stop" already it comes to [`FinalState::state_if_stopped`], and to
        /// `terminated` where it was to run again.
        then: Option<FinalState>,
        /// When.
        at: Timestamp,
    },
    /// Notes that the run of this epoch is to end and another to follow. Precondition: intent is "run", and the assignment
    /// is open with this epoch.
    RestartAgent {
        /// The agent.
        agent_id: AgentId,
        /// The epoch that is to end.
        epoch: Epoch,
        /// When.
        at: Timestamp,
    },
    /// Wants an agent that rests as failed or quarantined to run again: intent "run", not at rest. Precondition: it
    /// rests so.
    ReviveAgent {
        /// The agent.
        agent_id: AgentId,
        /// When.
        at: Timestamp,
    },
    /// Makes tasks, started where an attempt is given. Precondition of each: the pool exists, and its idempotency key, if any,
    /// is free; otherwise [`TaskOutcome::Replayed`]. The outcome is [`WriteOutcome::Tasks`], as of all that follow.
    AddTasks(Vec<NewTask>),
    /// Gives waiting tasks to agents. Precondition of each: it is queued, and the attempt's number is the next.
    StartTasks(Vec<TaskStart>),
    /// Notes that running tasks are to stop. Precondition of each: it runs as this attempt, and is not being stopped
    /// already; but `Cancelled` overrides every other reason.
    HaltTasks(Vec<TaskHalting>),
    /// Ends attempts. Precondition of each: it runs as this attempt.
    EndTasks(Vec<TaskEnding>),
    /// Ends tasks that wait. Precondition of each: it is queued.
    SettleTasks(Vec<TaskVerdict>),
    /// Lets tasks whose time has come into their lines. Precondition of each: it is delayed.
    PromoteTasks(Vec<TaskId>),
    /// Sends dead or failed tasks to the queue again, ready, with a new tally and without an expiry. Precondition of each: it
    /// is dead or failed, and its pool exists.
    RedriveTasks(Vec<TaskId>),
    /// Removes tasks of which nobody was told that they are stored, whatever their state, and their idempotency keys.
    WithdrawTasks(Vec<TaskId>),
    /// Adds to the sums of accounts. No precondition.
    AddUsage(Vec<UsageAdded>),
    /// Counts attempts that are over. No precondition.
    AddExecutions(Executions),
    /// Moves the ends of waits that are durations, since the clock was set by so much: delays, and waits before another attempt, of
    /// a pool or of all. Some hundreds at a time, and each once for a step of the clock. Precondition: some are left.
    ShiftWaits {
        /// The pool; none is all.
        pool: Option<PoolName>,
        /// By how much, in milliseconds.
        by_millis: i64,
        /// The name of this step of the clock; no other one has it.
        step: String,
    },
    /// Notes that a supervisor lives. No precondition.
    NoteLife(LifeRow),
    /// Writes an event. No precondition.
    Event(EventDraft),
}

/// A new agent.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAgent {
    /// The agent.
    pub spec: AgentSpec,
    /// Its worker, where one has a free slot.
    pub worker: Option<ProcessId>,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// When.
    pub at: Timestamp,
}

/// The key of a request that may be repeated. Kept 24 h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who asked: the name of an API key, or empty.
    pub caller: String,
    /// The route, e.g. `POST /api/v1/agents/spawn`.
    pub route: String,
    /// The header's value.
    pub key: String,
    /// A hash of the body.
    pub body_hash: [u8; 32],
}

/// What became of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was carried out.
    Applied,
    /// Its precondition did not hold; nothing was changed.
    Unchanged,
    /// The agent was made, without an assignment.
    Unplaced,
    /// The idempotency key was used before, for this agent, with the body of this hash.
    Replayed {
        /// The agent of the first request.
        agent_id: AgentId,
        /// The hash of the first request's body.
        body_hash: [u8; 32],
    },
    /// What became of each task of a batch, in order.
    Tasks(Vec<TaskOutcome>),
    /// The engine will never take one of its values; nothing was changed. The words say why.
    Refused(Arc<str>),
}
