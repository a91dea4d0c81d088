//! Durable truth: what somebody asked for, and where it was placed.
//!
//! One trait, [`Store`], two engines: [`sqlite`] (a file in the data folder, the default) and [`postgres`] (also
//! behind PgBouncer in transaction mode). One conformance suite says what an engine must do, and all three pass it. So does the
//! store in memory of `testing`, which is built for tests only (the feature `testing`).
//!
//! # How writes work
//! A keeper commits a batch: a list of [`Write`]s in one transaction, each a named transition with its precondition.
//! A write whose precondition does not hold changes nothing and says so in its [`WriteOutcome`]; the others go on. The whole
//! batch is conditional on the leader's fence: a leader that was replaced gets [`StoreError::Fenced`] and changes
//! nothing. When [`Store::apply`] returns, the batch survives the death of any process.
//!
//! A write is planned (`plan`) as statements whose conditions are its preconditions; the texts are in one file per
//! subject (`pools`, `workers`, `agents`, `tasks`, `keys`, `events`, `executions`, `metrics`, `decisions`, `lives`, `leader`), written once for both engines. No statement
//! is chosen by the answer to another, so SQLite gets a small batch in one journey to its thread. Tasks, agents, workers and
//! events change by the hundred, so one statement is about many of them (`gather`, `sql/batch`), and returns the ids of those
//! whose precondition held. One task (`commit`) takes the batches that wait and commits them together.
//!
//! Writers are one after the other, in SQLite by its one writing connection, in PostgreSQL by a lock on the leader's row.
//! The counting of a worker's slots and the numbering of events rely on it.
//!
//! # A value that can't be stored
//! A batch that is refused for a value is carried out again with a savepoint around each row (`sql/apart`): the poisoned row
//! alone is left out, its outcome is [`WriteOutcome::Refused`], and all else is committed. PostgreSQL can't hold everything that
//! programs print: what it lacks is stored as JSON would write it (`postgres/charset`), so that this is rare.
//!
//! # What an error means
//! [`StoreError`] tells apart what is worth waiting for, what somebody must mend, and what will never be taken.
//! After [`StoreError::Fenced`] nothing of the batch stands. After [`StoreError::Unavailable`] nothing stands either, with
//! one exception: where the connection to PostgreSQL broke, or its answer came too late, during the commit itself, nobody
//! can know. Applying the same writes again is safe but for events, which would be written twice: a write that was carried
//! out finds its precondition gone.
//!
//! # What is kept
//! Rows of pools stay until they are removed; rows of ended workers, agents and tasks, events and idempotency keys until
//! [`Store::prune`]. A task may outlive its pool, and a pool that is made again with the same name lists it. Events are numbered without gaps and pruned from the lowest on, so a reader whose last number is
//! below the lowest kept one minus one has missed something.

mod agent_rows;
mod agents;
mod commit;
mod decisions;
mod error;
mod events;
mod executions;
mod gather;
mod keys;
mod leader;
mod lives;
mod metrics;
mod migrate;
mod plan;
mod pools;
pub mod postgres;
mod queue;
mod rows;
mod sql;
mod sql_store;
pub mod sqlite;
mod task_lists;
mod task_pages;
mod task_rows;
mod task_steps;
mod task_writes;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;
mod workers;
mod write;

pub use error::StoreError;
pub use migrate::Migrated;
pub use rows::{AgentFilter, AgentRow, EventRow, LifeRow, Machine, PoolRow, WorkerRow, WorkerSpec};
pub use task_rows::{
    AttemptTotals, ListOrder, QueueCounts, QueueKey, QueueRow, QueueSlice, QueuedTask, RunningTask, SHORT_INPUT,
    TaskFilter, TaskRow,
};
pub use task_writes::{NewTask, TaskEnding, TaskHalting, TaskOutcome, TaskStart, TaskVerdict, UsageAdded};
pub use write::{IdempotencyKey, NewAgent, Write, WriteOutcome};

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::budget::Scope;
use muster_domain::scaling::ScalingRecord;
use muster_domain::{
    AgentId, DecisionId, Executions, Fence, MetricsTier, Payload, PoolMetrics, PoolName, ProcessId, TaskId, Timestamp,
    Usage,
};

/// The queue of tasks, read. It is changed by [`Store::apply`].
#[async_trait]
pub trait TaskQueue: Send + Sync + 'static {
    /// One task.
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError>;

    /// Tasks in the order of the filter, those after `after` in it, at most `limit`.
    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError>;

    /// The task that was made with this idempotency key, and the hash of that request's body.
    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError>;

    /// The queues of a pool in which tasks wait.
    async fn task_queues(&self, pool: &PoolName) -> Result<Vec<QueueRow>, StoreError>;

    /// The ready tasks of each of these pieces of a pool's queues, the oldest first.
    async fn queue_slices(&self, pool: &PoolName, slices: &[QueueSlice]) -> Result<Vec<Vec<QueuedTask>>, StoreError>;

    /// Every running task of a pool.
    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError>;

    /// Delayed tasks of a pool whose time came at `by` or before, the earliest first, at most `limit`.
    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError>;

    /// When the next delayed task of a pool is due, of those due after `after`.
    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Queued tasks of a pool, ready or delayed, that were to start by `by` or before, the earliest first, at most `limit`.
    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError>;

    /// When the next queued task of a pool expires, of those that expire after `after`.
    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Queued tasks of a pool, ready or delayed, that are for this agent, the oldest first, at most `limit`.
    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError>;

    /// The inputs of these tasks, at most a few hundred; those that do not exist are left out.
    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError>;

    /// What was used on the accounts of a scope, after the name `after`, in the order of the names, at most `limit`.
    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError>;

    /// Attempts that are over, of all pools, whatever was pruned.
    async fn executions(&self) -> Result<Executions, StoreError>;

    /// How many tasks of a tenant were made since then, of those that were not pruned.
    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError>;

    /// Tasks of a pool that are not in its queues.
    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError>;
}

/// What pools were and did.
#[async_trait]
pub trait MetricsStore: Send + Sync + 'static {
    /// Adds rows and takes away old ones, in one transaction. A row that is there stays as it is.
    async fn record_metrics(&self, fence: Fence, round: &MetricsRound) -> Result<(), StoreError>;

    /// Rows of one pool, or of all together, the newest first, at most `limit`.
    async fn metrics(&self, filter: &MetricsFilter, limit: u32) -> Result<Vec<PoolMetrics>, StoreError>;

    /// Every row of a tier that ends after `after` and not after `until`, of all pools and of all together, the oldest first.
    async fn metrics_of_all(
        &self,
        tier: MetricsTier,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<PoolMetrics>, StoreError>;

    /// The end of the newest row of a tier.
    async fn newest_metrics(&self, tier: MetricsTier) -> Result<Option<Timestamp>, StoreError>;

    /// The end of the oldest row of a tier that ends after `after`.
    async fn next_metrics(&self, tier: MetricsTier, after: Timestamp) -> Result<Option<Timestamp>, StoreError>;
}

/// What [`MetricsStore::record_metrics`] commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsRound {
    /// New rows.
    pub rows: Vec<(MetricsTier, PoolMetrics)>,
    /// Of these tiers, rows that end at that moment or before go, some thousands at a time.
    pub outdated: Vec<(MetricsTier, Timestamp)>,
}

/// Which rows [`MetricsStore::metrics`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsFilter {
    /// Of this pool; none: of all together.
    pub pool: Option<PoolName>,
    /// How fine.
    pub tier: MetricsTier,
    /// That end after it.
    pub after: Timestamp,
    /// That end at it or before.
    pub until: Timestamp,
}

/// Durable truth.
#[async_trait]
pub trait Store: TaskQueue + MetricsStore {
    /// The engine for people: `sqlite` or `postgres`, and where its data is, without secrets.
    fn describe(&self) -> String;

    /// Tries to become the leader. SQLite: the caller holds the data folder's lock, so this always succeeds with the
    /// next fence. PostgreSQL: succeeds where nobody leads or the leader's lease has passed, by the database's clock.
    async fn lead(&self, holder: &str, address: &str, lease: Duration) -> Result<Leadership, StoreError>;

    /// Extends the lease of the leader with this fence; [`StoreError::Fenced`] where another one leads.
    async fn renew(&self, fence: Fence, lease: Duration) -> Result<(), StoreError>;

    /// Ends the leadership of this fence, if it still stands, so that a standby need not wait for the lease. The fence
    /// itself is void from then on: what is applied with it is [`StoreError::Fenced`].
    async fn resign(&self, fence: Fence) -> Result<(), StoreError>;

    /// Commits a batch, with one outcome per write, in order. A caller that stops waiting does not stop the batch.
    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError>;

    /// Every pool.
    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError>;

    /// Whether the queues of all pools are paused.
    async fn all_paused(&self) -> Result<bool, StoreError>;

    /// Every worker that may still have a process behind it: starting, ready, draining.
    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError>;

    /// One worker, open or not.
    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError>;

    /// Workers that ended, of one pool or of all, the latest made first, those made before `before`, at most `limit`.
    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError>;

    /// Every agent that a supervisor must know: intent "run", an open assignment, or quarantined.
    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// One agent, live or not.
    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError>;

    /// The agent that was made with this idempotency key (by caller, route and key), and the hash of that request's body;
    /// `None` where the key is free.
    async fn key_holder(&self, key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError>;

    /// Agents in the order of their ids (the order of their making), after `after`, at most `limit`.
    async fn agents(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError>;

    /// Events with a number above `after`, at most `limit`, in order.
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError>;

    /// Decisions about how many workers a pool is to have, the latest first, those before `before`, at most `limit`.
    async fn decisions(
        &self,
        pool: &PoolName,
        before: Option<DecisionId>,
        limit: u32,
    ) -> Result<Vec<ScalingRecord>, StoreError>;

    /// The lowest and the highest number of the events kept; (0, 0) where there never was one. The highest number
    /// stays after its event was pruned; where all were, the lowest is the one after it: the number of the next event.
    async fn event_bounds(&self) -> Result<(u64, u64), StoreError>;

    /// The stretches of time in which a supervisor lived, the latest first.
    async fn lives(&self) -> Result<Vec<LifeRow>, StoreError>;

    /// Deletes what nobody needs any more, in small steps: idempotency keys and events made before `events_before`,
    /// agents, workers and tasks that ended, and decisions that were made before `ended_before` (a worker stays as long as an agent is assigned to it; the
    /// key of an agent or task goes with it). Says who went. SQLite then gives back what its file has too much of.
    async fn prune(
        &self,
        fence: Fence,
        events_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<Pruned, StoreError>;

    /// Deletes the lives before this one.
    async fn prune_lives(&self, fence: Fence, oldest: LifeRow) -> Result<(), StoreError>;

    /// Lets everything that ended after this moment end in it, since the clock was set back: a few hundred rows at a time, so that
    /// nobody waits long for it.
    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError>;

    /// Whether the engine answers, with a read.
    async fn ping(&self) -> Result<Duration, StoreError>;

    /// What somebody should change about the database though it works, in words.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Closes every connection; SQLite also folds its write-ahead log into the file.
    async fn close(&self);
}

/// What [`Store::prune`] has deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events and idempotency keys.
    pub others: u64,
    /// Agents of which there is no row any more.
    pub agents: Vec<AgentId>,
    /// Workers of which there is none.
    pub workers: Vec<ProcessId>,
    /// Tasks of which there is none.
    pub tasks: u64,
}

/// An answer to [`Store::lead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The caller leads, with this fence.
    Leads(Fence),
    /// Somebody else does.
    Held {
        /// Its HTTP address.
        address: String,
        /// Who it is.
        holder: String,
    },
}

/// What a commit survives. PostgreSQL is always `Full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process, but not a power cut: the last commits may be lost then, the file stays whole.
    #[default]
    Process,
    /// A power cut too: every commit is synced.
    Full,
}
