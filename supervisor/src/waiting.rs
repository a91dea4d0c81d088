//! Why a task waits.

use std::fmt;

use muster_domain::{Activity, AgentId, AgentState, PoolName, TaskId, Timestamp, Words, counted};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::{Lack, TaskView};

/// What a queued task waits for. Where it is several things at once: a server that can't go on comes first, then what a person
/// has to do, then the task's own time, then the pool's breaker, then an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// The registry or the store can't be used, and why. One that runs waits for it too: its end is not heard of.
    Recovery(String),
    /// Its pool goes, and it will fail.
    PoolRemoval(PoolName),
    /// The supervisor stops, and the next one goes on.
    NextSupervisor,
    /// The tasks of all pools are held up, until the system is resumed.
    SystemResume,
    /// Those of its pool are, until it is resumed.
    PoolResume(PoolName),
    /// Those of its pool are, and it takes no new ones either, until it is resumed.
    DrainEnd(PoolName),
    /// It is not to be started before.
    Time(Timestamp),
    /// Too many attempts failed in its pool.
    Breaker {
        /// The pool.
        pool: PoolName,
        /// Why the breaker opened.
        reason: String,
        /// When the next tasks are tried; none starts before. None where others are tried now.
        next_probe_at: Option<Timestamp>,
    },
    /// The one agent that is to do it, which is in this state; none where nobody can reach its worker.
    Agent(AgentId, Option<AgentState>),
    /// Its tenant runs as many tasks as it may.
    Tenant {
        /// The tenant.
        tenant: String,
        /// Its bound.
        max_running: u32,
    },
    /// All agents of its pool have work.
    FreeAgent(PoolName),
    /// An agent of its pool is on its way.
    NewAgent(PoolName),
    /// An agent, which its pool has not and won't have without somebody who does something.
    Lacking(MissingAgent),
    /// Nothing: it is next, or others go first.
    Turn,
}

/// Why a pool has no agent for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingAgent {
    /// Its pool may have no more workers, and those that it has start programs by an older definition of the runtime.
    NewWorker(PoolName),
    /// Its pool is to have no more workers than those that have no room.
    MoreWorkers {
        /// The pool.
        pool: PoolName,
        /// How many it is to have.
        workers: u32,
    },
    /// Agents that its pool has started for tasks fail at their start.
    FailingAgents {
        /// The pool.
        pool: PoolName,
        /// When the next one is tried.
        next_start_at: Timestamp,
    },
    /// Its pool has no agent that could do it, and starts none by itself.
    AnyAgent {
        /// The pool.
        pool: PoolName,
        /// Agents that crashed too often, and wait for a person.
        quarantined: usize,
        /// Agents in workers that nobody can reach.
        unreachable: usize,
    },
}

muster_domain::words! {
    /// What a task waits for in one word, but for agents that its pool lacks.
    pub enum WaitKind {
        /// The registry or the store can't be used; a task that runs waits too.
        ServerDegraded = "server_degraded",
        /// Its end, with its pool's.
        PoolRemoved = "pool_removed",
        /// The next supervisor.
        Stopping = "stopping",
        /// A resume of the system.
        AllPaused = "all_paused",
        /// A resume of its pool, which is drained.
        Drained = "drained",
        /// A resume of its pool, which is paused.
        Paused = "paused",
        /// Its time.
        NotBefore = "not_before",
        /// The breaker of its pool.
        BreakerOpen = "breaker_open",
        /// Other tasks that are tried first.
        BreakerHalfOpen = "breaker_half_open",
        /// The one agent that it is for, which has work.
        AgentBusy = "agent_busy",
        /// The one agent that it is for, which can't take work.
        AgentNotReady = "agent_not_ready",
        /// Other tasks of its tenant.
        TenantLimit = "tenant_limit",
        /// An agent without work.
        AgentsBusy = "agents_busy",
        /// An agent that is on its way.
        AgentStarting = "agent_starting",
        /// Nothing but other tasks.
        ItsTurn = "its_turn",
    }
}

/// What a task waits for, in the word that programs may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCode {
    /// This.
    Kind(WaitKind),
    /// Agents, which its pool lacks for this reason.
    Lack(Lack),
}

impl WaitCode {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.as_str(),
            Self::Lack(lack) => lack.as_str(),
        }
    }
}

impl Words for WaitCode {
    fn all() -> impl Iterator<Item = Self> {
        WaitKind::all().map(Self::Kind).chain(Lack::all().map(Self::Lack))
    }

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl WaitingFor {
    /// The same in one word.
    pub const fn code(&self) -> WaitCode {
        WaitCode::Kind(match self {
            Self::Recovery(_) => WaitKind::ServerDegraded,
            Self::PoolRemoval(_) => WaitKind::PoolRemoved,
            Self::NextSupervisor => WaitKind::Stopping,
            Self::SystemResume => WaitKind::AllPaused,
            Self::PoolResume(_) => WaitKind::Paused,
            Self::DrainEnd(_) => WaitKind::Drained,
            Self::Time(_) => WaitKind::NotBefore,
            Self::Breaker { next_probe_at: Some(_), .. } => WaitKind::BreakerOpen,
            Self::Breaker { next_probe_at: None, .. } => WaitKind::BreakerHalfOpen,
            Self::Agent(_, Some(state)) if state.has_work() => WaitKind::AgentBusy,
            Self::Agent(..) => WaitKind::AgentNotReady,
            Self::Tenant { .. } => WaitKind::TenantLimit,
            Self::FreeAgent(_) => WaitKind::AgentsBusy,
            Self::NewAgent(_) => WaitKind::AgentStarting,
            Self::Lacking(missing) => return WaitCode::Lack(missing.lack()),
            Self::Turn => WaitKind::ItsTurn,
        })
    }
}

/// What a task waits for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitingForJson)]
pub(crate) struct WaitingWords {
    /// A word that programs may rely on. A task that runs waits too where it is `server_degraded`: Redis or the store can't be used.
    #[schema(value_type = String, example = "breaker_open", extensions(("x-enum" = json!(WaitCode::words()))))]
    code: &'static str,
    /// The same in words, which go behind "it waits for".
    message: String,
}

impl From<&WaitingFor> for WaitingWords {
    fn from(waiting: &WaitingFor) -> Self {
        Self { code: waiting.code().as_str(), message: waiting.to_string() }
    }
}

/// What goes behind "it waits for".
impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovery(reason) => write!(f, "the server to recover: {reason}"),
            Self::PoolRemoval(pool) => write!(f, "its end: {pool} is being removed"),
            Self::NextSupervisor => write!(f, "the next supervisor: this one is stopping"),
            Self::SystemResume => write!(f, "a resume of the system: all pools are paused"),
            Self::PoolResume(pool) => write!(f, "a resume of {pool}, which is paused"),
            Self::DrainEnd(pool) => write!(f, "a resume of {pool}, which is drained"),
            Self::Time(at) => write!(f, "its time: {at}"),
            Self::Breaker { pool, reason, next_probe_at: Some(next_probe_at) } => {
                write!(f, "the circuit breaker of {pool}, which is open until {next_probe_at}: {reason}")
            }
            Self::Breaker { pool, reason, next_probe_at: None } => {
                write!(f, "the circuit breaker of {pool}, which lets single tasks through: {reason}")
            }
            // Its worker takes no commands now, or the agent is about to end.
            Self::Agent(agent, Some(AgentState::Running(Activity::Idle))) => {
                write!(f, "agent {agent}, which takes no tasks now")
            }
            Self::Agent(agent, Some(state)) => write!(f, "agent {agent}, which is {state}"),
            Self::Agent(agent, None) => {
                write!(f, "agent {agent}, whose worker nobody can reach (`muster ps -w` says why, and what to do)")
            }
            Self::Tenant { tenant, max_running } => {
                write!(f, "other tasks of tenant {tenant}, which runs as many as it may (max_running = {max_running})")
            }
            Self::FreeAgent(pool) => write!(f, "an agent: those of {pool} are busy"),
            Self::NewAgent(pool) => write!(f, "an agent: one of {pool} is to start"),
            Self::Lacking(missing) => missing.fmt(f),
            Self::Turn => write!(f, "its turn"),
        }
    }
}

impl MissingAgent {
    /// What the pool lacks.
    const fn lack(&self) -> Lack {
        match self {
            Self::NewWorker(_) => Lack::OldRuntime,
            Self::MoreWorkers { .. } => Lack::TargetWorkers,
            Self::FailingAgents { .. } => Lack::AgentsFailing,
            Self::AnyAgent { .. } => Lack::NoAgent,
        }
    }
}

impl fmt::Display for MissingAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MoreWorkers { pool, workers } => write!(
                f,
                "more workers: {pool} is to have {} (target_workers); `muster scale {pool} N` gives it more, `--release` as many as it needs",
                counted((*workers).into(), "worker")
            ),
            Self::NewWorker(pool) => write!(
                f,
                "a new worker: max_workers of {pool} is reached by workers with an older definition of the runtime, which are \
                 replaced as their agents end (`muster ps -w` shows them, `muster restart` moves an agent)"
            ),
            Self::FailingAgents { pool, next_start_at } => {
                write!(
                    f,
                    "an agent: those of {pool} fail at their start (`muster ps -a` says why), and the next is tried at \
                     {next_start_at}"
                )
            }
            Self::AnyAgent { pool, unreachable: 1.., .. } => {
                write!(
                    f,
                    "an agent: those of {pool} are in workers that nobody can reach (`muster ps -w` says why, and what to do)"
                )
            }
            Self::AnyAgent { pool, quarantined: 0, .. } => {
                write!(f, "an agent: {pool} has none, and starts none by itself (on_demand)")
            }
            Self::AnyAgent { pool, quarantined, .. } => {
                let agents = counted(*quarantined as u64, "agent");
                write!(f, "an agent: {pool} has only {agents} in quarantine, until `muster restart` releases one")
            }
        }
    }
}

/// A queued task, as far as it matters for what it waits for.
pub(crate) struct QueuedTaskQuery {
    pub(crate) task_id: TaskId,
    pub(crate) tenant: String,
    /// The one agent that is to do it.
    pub(crate) agent_id: Option<AgentId>,
    /// It is not to be started before.
    pub(crate) not_before: Option<Timestamp>,
}

impl From<&TaskView> for QueuedTaskQuery {
    fn from(view: &TaskView) -> Self {
        Self { task_id: view.task_id, tenant: view.tenant.clone(), agent_id: view.agent_id, not_before: view.due_at }
    }
}
