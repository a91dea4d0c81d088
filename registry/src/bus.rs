//! The messages between the master and its workers.

use async_trait::async_trait;
use muster_domain::{AgentId, AgentSnapshot, Envelope, PoolName, ProcessId, Report};

use crate::{Peer, RegistryError, WrittenState};

/// Free slots of some of a pool's workers. Those that are not among them keep what the mirror says until they are forgotten.
/// Written by the leader only.
pub type FreeSlots = (PoolName, Vec<(ProcessId, u32)>);

/// What goes into the registry with reports, so that whoever reads a report finds what it says.
#[derive(Clone, Debug, Default)]
pub struct AgentNews {
    /// The agents that the reports are about and that the worker now holds.
    pub pictures: Vec<AgentSnapshot>,
    /// Those that it does not hold any more.
    pub gone: Vec<AgentId>,
    /// How many it holds in all.
    pub held: usize,
}

/// Commands to workers, reports from them.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Says who a worker is, before anything is sent to it or read of it: a leader of each worker that it starts or finds, a
    /// worker of itself. What is signed with its key is believed, and nothing else; of a worker that nobody introduced no report
    /// is believed at all.
    fn introduce(&self, worker: ProcessId, peer: Peer);

    /// Writes free slots into the pools' zsets, where they mirror the store's, then publishes commands to workers; all in
    /// one round trip. So whoever hears what became of a command finds its slot taken. Nobody may be listening; that is
    /// no error. After an error any part of it may have been carried out. A copy of each command, without what is to be worked on, goes to
    /// the pool's channel for people who watch.
    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError>;

    /// Puts reports of one worker on its pool's stream, together with the hashes and sets of the agents that they are
    /// about and the number of those that the worker holds, so that an agent is in the registry, and counted, when its start
    /// is known. Also publishes each on the pool's event channel, but for those about tasks. One call.
    async fn report(
        &self,
        reports: &[Report],
        agents: &AgentNews,
        known: &mut WrittenState,
    ) -> Result<(), RegistryError>;

    /// Subscribes a worker to its commands. Resolves when the subscription stands, so that what is
    /// sent afterwards is heard.
    async fn commands(&self, worker: ProcessId) -> Result<CommandStream, RegistryError>;

    /// Tests that the subscription behind a command stream still stands, and renews it where it does not.
    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError>;

    /// Starts reading the reports of these pools, from the oldest that was not settled. One reader: the leader.
    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError>;

    /// Settles reports: deletes their entries, and lets each worker's next beat know the number up to which all of its
    /// reports are settled.
    async fn settle(&self, entries: &[ReportDelivery], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError>;
}

/// The receiving end of a worker's subscription. Ends only when the engine is dropped.
pub type CommandStream = tokio::sync::mpsc::UnboundedReceiver<CommandDelivery>;

/// What comes over a subscription.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandDelivery {
    /// A command.
    Command(Box<Envelope>),
    /// The connection was away and stands again: what was sent meanwhile is lost, so beat and send reports again.
    Resubscribed,
    /// Something that is no command of a known version; the text says what.
    Unreadable(String),
}

/// Reads the reports of all pools.
#[async_trait]
pub trait ReportStream: Send {
    /// The next reports, in the order of each worker. Waits while there are none, and through outages: an error is returned
    /// once per outage, and the next call goes on where it can; it answers with no report where the outage is over. Cancel-safe.
    async fn next(&mut self) -> Result<Vec<ReportDelivery>, RegistryError>;

    /// From now on reads these pools.
    fn watch(&mut self, pools: Vec<PoolName>);
}

/// A report with its place on the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportDelivery {
    /// The pool whose stream it was on.
    pub pool: PoolName,
    /// The engine's id of the entry.
    pub entry: String,
    /// The report; `None` where the entry could not be read, which is logged by the engine and only to be settled.
    pub report: Option<Report>,
}
