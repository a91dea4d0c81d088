//! Who is alive, and the messages between processes.
//!
//! Two traits, two engines each. A [`Registry`] keeps observation: heartbeats, and the mirrors that operators read. A
//! [`Bus`] carries commands to workers and reports back. [`redis`] is for worker processes; [`memory`] is for
//! single-process mode and for tests. One conformance suite (`tests/engines/conformance.rs`) says what an engine
//! must do, and both pass it. So does [`memory`] behind the faults of `testing`, which is built for tests only (the feature
//! `testing`).
//!
//! # What may be lost
//! Everything. A command goes over pub/sub, which forgets what nobody heard, so the master sends it again until it is
//! acknowledged. A report goes over a stream, and its worker keeps it until it is settled. After a flush or an empty
//! restart of Redis the [generation](muster_domain::Generation) differs, and whoever sees that sends all it has again.
//! So the registry is rebuilt from the next heartbeats, and nothing here is the truth about anything but what was seen.
//!
//! # Who is believed
//! Whoever can write to Redis can write in our name, but does not have the workers' keys (`peers`): commands, reports, pictures and
//! what a heartbeat is answered with carry codes (`signer`), and what has none of ours changes nothing and is counted
//! ([`Registry::tampering`]). What is for people only (events, mirrors, copies of commands) has none.
//!
//! # Who writes what
//! A worker writes its own hash, its agents' hashes and sets, and its reports. The leader writes the zset of free
//! slots, the leader's mirror and the settled numbers, and removes what a dead worker left behind.

mod bus;
mod command_filter;
mod copy;
mod error;
mod keys;
pub mod memory;
mod peers;
pub mod redis;
mod signer;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;
mod written_state;

pub use bus::{AgentNews, Bus, CommandDelivery, CommandStream, FreeSlots, ReportDelivery, ReportStream};
pub use error::RegistryError;
pub use keys::Keys;
pub use peers::Peer;
pub use written_state::WrittenState;

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{Fence, Generation, Heartbeat, HeartbeatReply, PoolName, ProcessId, Tampering, Timestamp};

/// What was seen.
///
/// Every call is bounded in time by the engine (default 2 s) and fails with [`RegistryError::Unavailable`] past it.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Whether the engine answers, and how fast.
    async fn ping(&self) -> Result<Duration, RegistryError>;

    /// Whether a newcomer could use it: over a connection of its own, with every right that Muster needs. Leaves nothing.
    async fn examine(&self) -> Result<(), RegistryError>;

    /// A worker's heartbeat: its whole picture, and what changed since the last beat of this generation of its hash and of its agents'
    /// hashes and sets, in one call. The caller keeps `written_state`, what the registry already holds of it.
    async fn beat(&self, beat: &Heartbeat, known: &mut WrittenState) -> Result<HeartbeatReply, RegistryError>;

    /// The latest beats of these workers. Answers in one call for any number of them, and leaves out the picture of a
    /// worker whose beat number is the given one.
    async fn read_heartbeats(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError>;

    /// The ids of all workers that have a hash, for finding workers that the master does not know.
    async fn present(&self) -> Result<Vec<ProcessId>, RegistryError>;

    /// The pools of which there is any trace, by name, for finding those that the master does not know.
    async fn pools(&self) -> Result<Vec<PoolName>, RegistryError>;

    /// Removes all traces of a worker: its hash, its agents' hashes and set, its place in the zset. What its agents
    /// wrote from another worker since (an agent hash that names another process) stays.
    async fn forget(&self, pool: &PoolName, worker: ProcessId) -> Result<(), RegistryError>;

    /// Removes all traces of a pool that is gone: its zset, its sets and its stream.
    async fn forget_pool(&self, pool: &PoolName) -> Result<(), RegistryError>;

    /// Removes from the sets of a pool, and from its zset, what is no id of ours.
    async fn remove_strangers(&self, pool: &PoolName) -> Result<(), RegistryError>;

    /// Gives a worker up: its next beat is answered with `fenced`.
    async fn condemn(&self, worker: ProcessId) -> Result<(), RegistryError>;

    /// Says who leads, for operators and for workers that look for a master; gone after `lease` unless said again.
    async fn announce_leader(&self, leader: &LeaderMirror, lease: Duration) -> Result<(), RegistryError>;

    /// The content's life: made by whoever asks first, another after a flush.
    async fn generation(&self) -> Result<Generation, RegistryError>;

    /// What this engine has met that somebody else wrote under our names.
    fn tampering(&self) -> Tampering;
}

/// An answer to [`Registry::read_heartbeats`].
#[derive(Clone, Debug)]
pub struct HeartbeatReadings {
    /// The content's life at the time of reading.
    pub generation: Generation,
    /// One entry per worker asked for that has a hash; a worker that is missing here was not seen.
    pub seen: Vec<HeartbeatReading>,
    /// Why the registry takes no writes, if so: then workers are silent though they live, and nothing can be told to them.
    pub refusal: Option<String>,
}

/// What is known of one worker.
#[derive(Clone, Debug)]
pub struct HeartbeatReading {
    /// The worker.
    pub process_id: ProcessId,
    /// The number of its latest beat.
    pub number: u64,
    /// How old that beat is, by the registry's own clock, so that no two clocks are compared.
    pub age: Duration,
    /// The beat itself, where its number is not the one the caller knows.
    pub beat: Option<Box<Heartbeat>>,
}

/// The mirror of who leads.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaderMirror {
    /// Its fence.
    pub fence: Fence,
    /// Its HTTP address.
    pub address: String,
    /// Its host.
    pub host: String,
    /// Its pid.
    pub pid: u32,
    /// Since when it leads.
    pub since: Timestamp,
}
