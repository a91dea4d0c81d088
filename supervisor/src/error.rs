//! What the supervisor refuses, and why.

use std::time::Duration;

use muster_domain::{AgentId, Cause, Ending, PoolName, ProcessId, TaskId, TaskState, counted};

/// A refusal. Its words are for the caller and say what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There is no such pool.
    #[error("there is no pool {0}; GET /api/v1/agents/pools lists those there are")]
    UnknownPool(String),
    /// There is no such agent (in that pool).
    #[error("there is no agent {0} (an agent is forgotten 4 days after its end)")]
    UnknownAgent(String),
    /// There is no such task.
    #[error("there is no task {0} (a task is forgotten 4 days after its end)")]
    UnknownTask(TaskId),
    /// There is no such tenant for whoever asks.
    #[error("there is no tenant {0:?} for this key")]
    UnknownTenant(String),
    /// It belongs to no tenant, and whoever asks is of one (403).
    #[error("this needs a key for all tenants, and this one is for {0:?} alone")]
    OfAllTenants(String),
    /// There is no such worker.
    #[error("there is no worker {0}")]
    UnknownWorker(ProcessId),
    /// It was to be declared dead, and is not unreachable.
    #[error("worker {worker} can't be declared dead: {why}")]
    WorkerReachable {
        /// Which.
        worker: ProcessId,
        /// What speaks against it.
        why: String,
    },
    /// It was to be interrupted, and was told to end already, or has ended (409).
    #[error("worker {0} was told to end already, or has ended")]
    WorkerEnds(ProcessId),
    /// There is no such launcher.
    #[error("there is no launcher {name:?}; this supervisor has {}", .known.join(", "))]
    UnknownLauncher {
        /// As it was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// There is no such runtime profile.
    #[error("there is no runtime {name:?}; the configuration has {}", .known.join(", "))]
    UnknownRuntime {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The role is not the pool's.
    #[error("the agents of {pool} are of role {expected:?}, not {asked:?}")]
    WrongRole {
        /// The pool.
        pool: PoolName,
        /// Its role.
        expected: String,
        /// The role asked for.
        asked: String,
    },
    /// A field has a value that it can't have.
    #[error("{0}")]
    Invalid(String),
    /// The pool's name is taken.
    #[error("there is a pool {0} already")]
    PoolExists(PoolName),
    /// The pool belongs to the configuration file.
    #[error("{0} is defined in the configuration file: change it there and restart")]
    PoolOfFile(PoolName),
    /// The pool is going.
    #[error("{0} is being removed and takes no new agents")]
    PoolDraining(PoolName),
    /// The idempotency key was used with another body.
    #[error("the Idempotency-Key was used before with another body: use a new key")]
    KeyReused,
    /// The agent is in a state in which this can't be done.
    #[error("agent {agent_id} is {state}: {why}")]
    WrongState {
        /// The agent.
        agent_id: AgentId,
        /// Its state.
        state: &'static str,
        /// What would help.
        why: String,
    },
    /// The task is in a state in which this can't be done.
    #[error("task {task_id} is {state}: {why}")]
    WrongTaskState {
        /// The task.
        task_id: TaskId,
        /// Its state.
        state: TaskState,
        /// What would help.
        why: String,
    },
    /// As many tasks wait as may (429).
    #[error("{pool} has {waiting} waiting tasks, and takes no more than {max} (max_queued)")]
    QueueFull {
        /// The pool.
        pool: PoolName,
        /// Tasks that wait.
        waiting: u64,
        /// Its bound.
        max: u64,
    },
    /// A tenant has submitted as many tasks as it may (429).
    #[error("tenant {tenant} has submitted as many tasks as it may ({limit}){}", .retry_after.map_or_else(String::new, |wait| format!("; try again in {} s", wait.as_secs_f64().ceil())))]
    QuotaExceeded {
        /// The tenant.
        tenant: String,
        /// The limit's name in the configuration.
        limit: &'static str,
        /// When to try again; none where waiting does not help.
        retry_after: Option<Duration>,
    },
    /// Nothing is left of a budget (429).
    #[error("{0}: nothing is left of that budget")]
    BudgetExceeded(String),
    /// The pool takes no tasks for now (503).
    #[error("{0} is drained and takes no tasks until it is resumed")]
    IntakeClosed(PoolName),
    /// A bound is reached (429).
    #[error("{pool} is full: {workers} workers of {capacity} agents each are all it may have (max_workers){}", and_old(*.outdated))]
    PoolFull {
        /// The pool.
        pool: PoolName,
        /// Its bound on workers.
        workers: u32,
        /// Agents per worker.
        capacity: u32,
        /// Workers that start programs by an older definition of the runtime, and so take none.
        outdated: u32,
    },
    /// The tiers of the pool's capacity hold no more workers now (429).
    #[error("{pool} is full: {why}")]
    TiersFull {
        /// The pool.
        pool: PoolName,
        /// What they hold, and why no more.
        why: String,
    },
    /// The agent's program failed at its first start; the intent is ended (502).
    #[error("agent {agent_id} {}", describe(.ending))]
    StartFailed {
        /// The agent.
        agent_id: AgentId,
        /// How it ended.
        ending: Ending,
    },
    /// The store, the registry or the leadership is away (503). Nothing was changed.
    #[error("{what}; nothing was changed{}", unless_by_hand(*.by_hand, *.retry_after))]
    Unavailable {
        /// What is away, and where only a person can bring it back, how.
        what: String,
        /// When to try again.
        retry_after: Duration,
        /// Whether only a person can bring it back: to try again at once is of no use then.
        by_hand: bool,
    },
    /// The supervisor is stopping (503).
    #[error("the supervisor is stopping")]
    Stopping,
}

fn unless_by_hand(by_hand: bool, retry_after: Duration) -> String {
    if by_hand { String::new() } else { format!(", try again in {} s", retry_after.as_secs()) }
}

fn describe(ending: &Ending) -> String {
    match ending.last_output.trim_end() {
        // Nothing ran that could have printed.
        "" if matches!(ending.cause, Cause::NotStarted { .. }) => ending.cause.to_string(),
        "" => format!("{} and printed nothing", ending.cause),
        output => format!("{}; its last output was:\n{output}", ending.cause),
    }
}

/// That workers with an older definition of the runtime take up room.
fn and_old(outdated: u32) -> String {
    match outdated {
        0 => String::new(),
        some => format!(
            "; {} with an older definition of its runtime must be empty before new ones start (`muster restart` moves an agent)",
            counted(some.into(), "worker")
        ),
    }
}
