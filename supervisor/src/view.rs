//! What the supervisor shows: pictures of pools, workers, agents and itself, as the API gives them out.

use std::time::Duration;

use muster_domain::{
    AgentId, AgentState, Ending, EventDraft, Fence, PoolConfig, PoolName, PoolOrigin, ProcessId, Timestamp,
    WorkerEnding, WorkerState,
};
use muster_store::WorkerRow;

use crate::alerts::Alert;

/// A pool with its figures. Slots count from the moment they are taken.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its name.
    pub pool_name: PoolName,
    /// The role of its agents.
    pub role_type: String,
    /// Its runtime profile.
    pub runtime: String,
    /// Its bounds.
    pub config: PoolConfig,
    /// Who made it.
    pub origin: PoolOrigin,
    /// What holds up its tasks.
    pub holds: Holds,
    /// Workers that may have a process: starting, ready, draining.
    pub process_count: u32,
    /// Of these, the ones that start programs by an older definition of the runtime.
    pub outdated_workers: u32,
    /// Of all, the ones that are ready.
    pub active_worker_processes: u32,
    /// Slots of all workers that take agents, and taken slots of those that do not any more.
    pub total_capacity: u32,
    /// Open assignments.
    pub used_capacity: u32,
    /// Agents that are wanted or still hold a slot.
    pub agent_count: u32,
    /// Agents that wait for a slot or for their backoff.
    pub pending_agents: u32,
    /// Agents that wait for a person.
    pub quarantined_agents: u32,
    /// Workers ever ordered.
    pub total_workers_spawned: u64,
    /// Workers that ended.
    pub total_workers_terminated: u64,
    /// For how long this supervisor has kept the pool.
    pub manager_uptime: Duration,
    /// When it was made.
    pub created_at: Timestamp,
}

impl PoolView {
    /// Free slots.
    pub const fn available_capacity(&self) -> u32 {
        self.total_capacity.saturating_sub(self.used_capacity)
    }

    /// Taken slots as a share of all, 0 to 1; 0 where there are none.
    pub fn utilization(&self) -> f64 {
        if self.total_capacity == 0 { 0.0 } else { f64::from(self.used_capacity) / f64::from(self.total_capacity) }
    }
}

/// What holds up the tasks of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Whether the pool is going.
    pub draining: bool,
    /// Whether its tasks are not given to agents, until it is resumed.
    pub paused: bool,
    /// Whether those of no pool are, until the system is resumed.
    pub all_paused: bool,
    /// Whether it takes no new tasks, until it is resumed.
    pub intake_closed: bool,
    /// Its circuit breaker.
    pub breaker: BreakerView,
    /// Why no agent takes its ready tasks, where that is not for one of the reasons above, and none is on its way.
    pub lacks: Option<Lack>,
}

muster_domain::words! {
    /// What a pool with ready tasks has instead of agents.
    pub enum Lack {
        /// Agents that it has started for tasks fail at their start; it tries again, less and less often.
        AgentsFailing = "agents_failing",
        /// None, or only such as wait for a person; it starts none by itself.
        NoAgent = "no_agent",
        /// It may have no more workers, and those that it has start programs by an older definition of the runtime: they are
        /// replaced as their agents end.
        OldRuntime = "old_runtime",
    }
}

impl Holds {
    /// Whether something does that is about this pool alone.
    pub const fn is_held(&self) -> bool {
        let breaker = matches!(self.breaker, BreakerView::Open { .. } | BreakerView::HalfOpen { .. });
        self.draining || self.paused || self.intake_closed || breaker || self.lacks.is_some()
    }
}

/// How the circuit breaker of a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerView {
    /// The pool wants none: its tasks start, however many fail.
    Off,
    /// Tasks start.
    Closed,
    /// Too many attempts failed: no task starts.
    Open {
        /// Why it opened, in words.
        reason: String,
        /// When it opened.
        since: Timestamp,
        /// When some tasks are tried.
        next_probe_at: Timestamp,
    },
    /// Too many attempts failed: some tasks are tried, and the others wait.
    HalfOpen {
        /// Why it opened, in words.
        reason: String,
        /// When it opened.
        since: Timestamp,
    },
}

/// A worker with what was last heard of it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its id.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// Its pid, once it is known.
    pub pid: Option<u32>,
    /// Its host, once it is known.
    pub host: Option<String>,
    /// Its status.
    pub status: WorkerState,
    /// Whether it starts programs by an older definition of the runtime.
    pub outdated: bool,
    /// Open assignments to it.
    pub agent_count: u32,
    /// Agents that it may hold.
    pub max_agents: u32,
    /// CPU of it and its agents, in percent of one core, from the last heartbeat.
    pub cpu_percent: Option<f32>,
    /// Resident memory of it and its agents, from the last heartbeat.
    pub rss_bytes: Option<u64>,
    /// When it was ordered.
    pub started_at: Timestamp,
    /// When it was last heard.
    pub last_heartbeat: Option<Timestamp>,
}

/// A worker that ended.
#[derive(Clone, Debug)]
pub struct EndedWorkerView {
    /// Its id.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// The pid that it had, where it was known.
    pub pid: Option<u32>,
    /// Its host, where it was known.
    pub host: Option<String>,
    /// `Stopped` or `Lost`.
    pub status: WorkerState,
    /// Agents that it could hold.
    pub max_agents: u32,
    /// When it was ordered.
    pub started_at: Timestamp,
    /// When it was proven dead.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` where a Muster saw it that did not keep that.
    pub ending: Option<WorkerEnding>,
}

impl From<WorkerRow> for EndedWorkerView {
    fn from(row: WorkerRow) -> Self {
        let (pid, host) = row.identity.map(|identity| (identity.pid, identity.host)).unzip();
        Self {
            process_id: row.process_id,
            pool_name: row.pool_name,
            pid,
            host,
            status: row.state,
            max_agents: row.capacity,
            started_at: row.created_at,
            ended_at: row.ended_at,
            ending: row.ending,
        }
    }
}

/// An agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    /// Its id.
    pub agent_id: AgentId,
    /// Its name for people.
    pub human_name: String,
    /// Its role.
    pub role_type: String,
    /// Its project.
    pub project_id: String,
    /// Its pool.
    pub pool_name: PoolName,
    /// Its worker, where it holds a slot.
    pub process_id: Option<ProcessId>,
    /// The pid of its program, where that is known.
    pub pid: Option<u32>,
    /// Its state.
    pub state: AgentState,
    /// Why it is in that state, in words, where there is something to say.
    pub reason: Option<String>,
    /// The number of its latest assignment.
    pub epoch: u64,
    /// Restarts over its life.
    pub restarts: u64,
    /// How its latest run ended.
    pub last_ending: Option<Ending>,
    /// Seconds after which its registry picture is refreshed at the latest.
    pub heartbeat_interval: Duration,
    /// Seconds of idleness after which it ends.
    pub max_idle_time: Duration,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T, Id = AgentId> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Id>,
}

/// How the supervisor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Worker processes on Redis.
    MultiProcess,
    /// Everything in one process, with the in-memory registry.
    SingleProcess,
}

impl Mode {
    /// The word in JSON and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MultiProcess => "multi-process",
            Self::SingleProcess => "single-process",
        }
    }
}

/// How the supervisor is, as far as it is known without asking.
#[derive(Clone, Debug)]
pub struct HealthView {
    /// How it runs.
    pub mode: Mode,
    /// Why it runs so, in words.
    pub mode_reason: String,
    /// Every way in which it is less than it should be, in words. Empty is healthy.
    pub degraded: Vec<String>,
    /// Alerts that last, the newest first.
    pub alerts: Vec<Alert>,
}

/// The supervisor itself.
#[derive(Clone, Debug)]
pub struct SystemView {
    /// How it runs.
    pub mode: Mode,
    /// Why it runs so, in words.
    pub mode_reason: String,
    /// The fence under which it leads.
    pub fence: Fence,
    /// Its HTTP address.
    pub address: String,
    /// Since when it leads.
    pub leads_since: Timestamp,
    /// Where the registry is, for `redis-cli`: a URL without secrets or a socket's path; none in memory.
    pub registry_address: Option<String>,
    /// Whether the registry answers.
    pub registry: Reach,
    /// The store, in words.
    pub store_description: String,
    /// Whether the store answers.
    pub store: Reach,
    /// How process trees are owned, in words.
    pub ownership: String,
    /// Where everything is written.
    pub data_dir: String,
    /// Since when this process runs.
    pub uptime: Duration,
    /// Every way in which it is less than it should be, in words. Empty is healthy.
    pub degraded: Vec<String>,
    /// Whether the tasks of no pool are given to agents, until it is resumed.
    pub paused: bool,
    /// Alerts that last, the newest first.
    pub alerts: Vec<Alert>,
    /// The pools whose tasks are held up, but for a pause of all.
    pub held_pools: Vec<PoolView>,
    /// Pools.
    pub pools: u32,
    /// Workers.
    pub workers: u32,
    /// Of these, the ones that start programs by an older definition of their runtime.
    pub outdated_workers: u32,
    /// Agents.
    pub agents: u32,
    /// Agents asked for since this supervisor leads.
    pub spawns: u64,
    /// Of these, those that ran.
    pub spawns_succeeded: u64,
    /// Of these, those whose program failed at the first start.
    pub spawns_failed: u64,
}

/// Whether something answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// It does, within this time.
    Ok(Duration),
    /// It does not; the text says what happened.
    Away(String),
}

/// One line of a check of the whole installation.
#[derive(Clone, Debug)]
pub struct CheckLine {
    /// What was checked.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
    /// What was found.
    pub detail: String,
    /// What to do about it, where it is not ok.
    pub remedy: Option<String>,
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// The event.
    pub event: EventDraft,
}
