//! What is read from the store.

use muster_domain::scaling::WorkerTarget;
use muster_domain::tiers::WorkerSource;
use muster_domain::{
    AgentSpec, AgentState, Assignment, Ending, Epoch, EventDraft, Fence, FinalState, Gate, Intent, Interruption,
    PoolName, PoolSpec, ProcessId, TierName, Timestamp, WorkerEnding, WorkerIdentity, WorkerKey, WorkerState, launcher,
};

/// A pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRow {
    /// As somebody asked for it.
    pub spec: PoolSpec,
    /// Whether it is going: its agents are being stopped, and it takes no new ones.
    pub draining: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Workers ever ordered for it.
    pub workers_spawned: u64,
    /// Workers of it that ended, however they did.
    pub workers_terminated: u64,
    /// What a person has closed of its queue.
    pub gate: Gate,
    /// How many workers it is to have, where somebody has said so.
    pub target: WorkerTarget,
}

/// A worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    /// Its id.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// Agents that it may hold.
    pub capacity: u32,
    /// Where it stands. `Starting` is stored; that it is ready is an observation, so `Ready` is not.
    pub state: WorkerState,
    /// Who it is for whoever runs it; `None` until the launch was recorded.
    pub identity: Option<WorkerIdentity>,
    /// What its messages are signed with; `None` for one of a version that had no keys.
    pub key: Option<WorkerKey>,
    /// As it was ordered.
    pub spec: WorkerSpec,
    /// The notice that the capacity under it will be taken away, where there is one.
    pub interruption: Option<Interruption>,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// When it was proven dead.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` while it lives, and where an older Muster saw its end.
    pub ending: Option<WorkerEnding>,
}

/// A worker as it was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// The version of the runtime's definition by which it starts programs; `None` where an older Muster started it.
    pub runtime_version: Option<String>,
    /// The launcher that starts it, and the type of instance that it is to run on.
    pub source: WorkerSource,
    /// Of which tier of its pool's capacity it is; `None` where the pool has no tiers.
    pub tier: Option<TierName>,
}

impl WorkerSpec {
    /// One that the supervisor's own host runs, of a pool without tiers.
    pub fn local() -> Self {
        let source = WorkerSource { launcher: launcher::LOCAL.to_owned(), instance_type: None };
        Self { runtime_version: None, source, tier: None }
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRow {
    /// As somebody asked for it.
    pub spec: AgentSpec,
    /// What is wanted of it.
    pub intent: Intent,
    /// Its open assignment.
    pub assignment: Option<Assignment>,
    /// The epoch of its latest assignment, open or not; 0 where it never had one.
    pub epoch: Epoch,
    /// Where it has come to rest.
    pub final_state: Option<FinalState>,
    /// How its latest run ended, if one did.
    pub last_ending: Option<Ending>,
    /// Restarts so far, over all of its life.
    pub restarts: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// Whether the run of the open assignment is to end so that another follows.
    pub restart: bool,
}

/// Which agents to list. An empty filter lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Only this pool's.
    pub pool: Option<PoolName>,
    /// Only this project's.
    pub project: Option<String>,
    /// Only those in this final state (`Some(Some(..))`), or those in none (`Some(None)`).
    pub final_state: Option<Option<AgentState>>,
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its number: rises, never used twice.
    pub seq: u64,
    /// The event.
    pub event: EventDraft,
}

/// A stretch of time in which a supervisor led, and its clock was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeRow {
    /// Of which leader.
    pub fence: Fence,
    /// 0, 1, 2, ...: one more after each step of its clock.
    pub part: u32,
    /// Its beginning.
    pub began_at: Timestamp,
    /// When it was noted last.
    pub seen_at: Timestamp,
    /// By whose clock, as far as that is known.
    pub machine: Option<Machine>,
}

/// A machine with a clock of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// The id of its boot.
    pub boot_id: String,
}

impl Machine {
    /// Whether both are the same: by its boot, which those within containers see too, or by its name.
    pub fn is(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id || self.host == other.host
    }
}
