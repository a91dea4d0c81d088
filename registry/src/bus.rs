//! The post between the master and its workers.

use async_trait::async_trait;
use muster_domain::{AgentPicture, Envelope, PoolName, ProcessId, Report};

use crate::{Known, RegistryError};

/// Free slots of some of a pool's workers. Those that are not among them keep what the mirror says until they are forgotten.
/// Written by the leader only.
pub type FreeSlots = (PoolName, Vec<(ProcessId, u32)>);

/// Commands to workers, reports from them.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Writes free slots into the pools' zsets, where they mirror the store's, then publishes commands to workers; all in
    /// one round trip. So whoever hears what became of a command finds its slot taken. Nobody may be listening; that is
    /// no error. After an error any part of it may have been carried out.
    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError>;

    /// Publishes one command to every worker of a pool.
    async fn send_to_pool(&self, pool: &PoolName, envelope: &Envelope) -> Result<(), RegistryError>;

    /// Puts reports of one worker on its pool's stream, together with the hashes and sets of the agents that they are
    /// about (`pictures`: those that the worker now holds; an agent of `gone` is removed), so that an agent is in the
    /// registry when its start is known. Also publishes each on the pool's event channel, but for
    /// those about tasks. One call.
    async fn report(
        &self,
        reports: &[Report],
        pictures: &[AgentPicture],
        gone: &[muster_domain::AgentId],
        known: &mut Known,
    ) -> Result<(), RegistryError>;

    /// Subscribes a worker to its own and its pool's commands. Resolves when the subscription stands, so that what is
    /// sent afterwards is heard.
    async fn commands(&self, worker: ProcessId, pool: &PoolName) -> Result<CommandStream, RegistryError>;

    /// Tests that the subscription behind a command stream still stands, and renews it where it does not.
    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError>;

    /// Starts reading the reports of these pools, from the oldest that was not settled. One reader: the leader.
    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError>;

    /// Settles reports: deletes their entries, and lets each worker's next beat know the number up to which all of its
    /// reports are settled.
    async fn settle(&self, entries: &[ReportPost], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError>;
}

/// The receiving end of a worker's subscription. Ends only when the engine is dropped.
pub type CommandStream = tokio::sync::mpsc::UnboundedReceiver<CommandPost>;

/// What comes over a subscription.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandPost {
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
    async fn next(&mut self) -> Result<Vec<ReportPost>, RegistryError>;

    /// From now on reads these pools.
    fn watch(&mut self, pools: Vec<PoolName>);
}

/// A report with its place on the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportPost {
    /// The pool whose stream it was on.
    pub pool: PoolName,
    /// The engine's id of the entry.
    pub entry: String,
    /// The report; `None` where the entry could not be read, which is logged by the engine and only to be settled.
    pub report: Option<Report>,
}
