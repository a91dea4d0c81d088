//! The transitions: every change of the truth is one of these, with its precondition.

use muster_domain::{
    AgentId, AgentSpec, Assignment, Ending, Epoch, EventDraft, PoolName, PoolSpec, ProcessId, StopReason, Timestamp,
    WorkerIdentity,
};

/// One transition. Each says its precondition; where that does not hold, the outcome is [`Outcome::Unchanged`] unless
/// said otherwise.
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
    /// Removes a pool. Precondition: it has no open worker, and no agent with an open assignment or not at rest.
    RemovePool {
        /// The pool.
        pool: PoolName,
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
        /// When.
        at: Timestamp,
    },
    /// Records who a worker is for the operating system. Precondition: the row is open.
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
    /// Records that a worker is proven dead, and counts it as terminated. Precondition: the row is open. Its agents'
    /// assignments are not touched: each is released by its own write.
    EndWorker {
        /// The worker.
        process_id: ProcessId,
        /// Whether it ended by itself (`lost`) or by order (`stopped`).
        lost: bool,
        /// When.
        at: Timestamp,
    },
    /// Makes an agent with intent "run", assigned with epoch 1 where a worker is given. Precondition: its idempotency
    /// key, if any, is free; otherwise [`Outcome::Replayed`]. Where the worker has no free slot or takes no agents, the
    /// agent is made without an assignment: [`Outcome::Unplaced`], as where no worker is given. Where the pool does not
    /// exist, or the id is taken, nothing is made: [`Outcome::Unchanged`].
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
        /// What comes next. Where intent is "stop" the agent rests as `terminated`, whatever this says, unless it says
        /// `Failed`.
        then: AfterRelease,
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

/// What comes after a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRelease {
    /// It is to run again (counts as a restart).
    RunAgain,
    /// It rests as terminated; intent becomes "stop" with this reason, if it was "run".
    Terminated(StopReason),
    /// It rests as failed; intent becomes "stop" with this reason, if it was "run".
    Failed(StopReason),
    /// It rests as quarantined; intent stays "run".
    Quarantined,
}

/// What became of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
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
}
