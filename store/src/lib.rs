//! Durable truth: what somebody asked for, and where it was placed.
//!
//! One trait, [`Store`], two engines: [`sqlite`] (a file in the data folder, the default) and [`postgres`] (also
//! behind PgBouncer in transaction mode). One conformance suite says what an engine must do, and all three pass it.
//!
//! # How writes work
//! A keeper commits a batch: a list of [`Write`]s in one transaction, each a named transition with its precondition.
//! A write whose precondition does not hold changes nothing and says so in its [`Outcome`]; the others go on. The whole
//! batch is conditional on the leader's fence: a leader that was replaced gets [`StoreError::Fenced`] and changes
//! nothing. When [`Store::apply`] returns, the batch survives the death of any process.
//!
//! A write is planned (`plan`) as statements whose conditions are its preconditions; the texts are in one file per
//! subject (`pools`, `workers`, `agents`, `keys`, `events`, `leader`), written once for both engines. No statement is
//! chosen by the answer to another, so SQLite gets a small batch in one journey to its thread. One task (`commit`) takes
//! the batches that wait and commits them together; where that fails, each is tried alone.
//!
//! Writers are one after the other, in SQLite by its one writing connection, in PostgreSQL by a lock on the leader's row.
//! The counting of a worker's slots and the numbering of events rely on it.
//!
//! # What an error means
//! After [`StoreError::Fenced`] nothing of the batch stands. After [`StoreError::Unavailable`] nothing stands either, with
//! one exception: where the connection to PostgreSQL broke, or its answer came too late, during the commit itself, nobody
//! can know. Applying the same writes again is safe but for events, which would be written twice: a write that was carried
//! out finds its precondition gone.
//!
//! # What is kept
//! Rows of pools stay until they are removed; rows of ended workers and agents, events and idempotency keys until
//! [`Store::prune`]. Events are numbered without gaps and pruned from the lowest on, so a reader whose last number is
//! below the lowest kept one minus one has missed something.

mod agent_rows;
mod agents;
mod commit;
mod error;
mod events;
mod keys;
mod leader;
mod migrate;
mod plan;
mod pools;
pub mod postgres;
mod rows;
mod sql;
pub mod sqlite;
mod truth;
mod workers;
mod write;

pub use error::StoreError;
pub use migrate::Migrated;
pub use rows::{AgentFilter, AgentRow, EventRow, PoolRow, Rest, WorkerRow};
pub use write::{AfterRelease, IdempotencyKey, NewAgent, Outcome, Write};

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, Fence, ProcessId, Timestamp};

/// Durable truth.
#[async_trait]
pub trait Store: Send + Sync + 'static {
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
    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError>;

    /// Every pool.
    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError>;

    /// Every worker that may still have a process behind it: starting, ready, draining.
    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError>;

    /// One worker, open or not.
    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError>;

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

    /// The lowest and the highest number of the events kept; (0, 0) where there never was one. The highest number
    /// stays after its event was pruned; where all were, the lowest is the one after it: the number of the next event.
    async fn event_bounds(&self) -> Result<(u64, u64), StoreError>;

    /// Deletes what nobody needs any more, in small steps: idempotency keys and events made before `events_before`,
    /// agents and workers that ended before `ended_before` (a worker stays as long as an agent is assigned to it). Says
    /// who went.
    async fn prune(
        &self,
        fence: Fence,
        events_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<Pruned, StoreError>;

    /// Whether the engine answers, with a read.
    async fn ping(&self) -> Result<Duration, StoreError>;

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
