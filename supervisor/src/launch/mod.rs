//! Starting worker processes and finding them again: the only place where the supervisor touches processes.
//!
//! | launcher | a worker is |
//! |---|---|
//! | [`process`] | an OS process that outlives its master |
//! | [`closure`] | a task of this process, in single-process mode |
//!
//! A supervisor has several by name ([`Launchers`]); a pool names one.
//!
//! [`server`] owns the private Redis, `asking` says whether it lets anybody in, `last_words` reads what a dead worker said last, `leftovers` ends the processes that dead
//! workers have left.

mod asking;
pub mod closure;
mod last_words;
mod launchers;
mod leftovers;
pub mod process;
mod redis_password;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, ProbeAnswer, ProcessId, WorkerIdentity, WorkerOrders};
use muster_process::ProcessExit;
use muster_store::WorkerRow;

use crate::logs::AgentLog;

pub use launchers::Launchers;

/// Starts workers and finds those of an earlier supervisor: as processes of this host, or by a worker engine, e.g. a cluster.
///
/// Calls may take their time, and are made beside a keeper's turn; what can't be known now is an error or
/// [`Adoption::Elsewhere`], never a death.
#[async_trait]
pub trait Launcher: Send + Sync + 'static {
    /// Starts a worker with these orders. It is not ready yet when this returns.
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError>;

    /// Finds the process behind the row of a worker that another supervisor started. Does not wait for anybody's death.
    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError>;

    /// Workers, dead or alive and of whichever supervisor, whose mark some process of this host bears.
    async fn marked(&self) -> Vec<ProcessId>;

    /// Ends every process that bears the mark of this worker, which is dead. Returns when none is left; whoever stops waiting
    /// stops that.
    async fn sweep(&self, worker: &WorkerRow);

    /// What an agent in one of its workers printed, of whichever supervisor.
    fn agent_log(&self, agent: AgentId) -> Box<dyn AgentLog>;

    /// The life of this supervisor is over: no worker is started any more, and those that can't outlive it are ended.
    /// Returns when all that they owned is dead.
    async fn leave(&self);
}

/// A worker that runs.
#[derive(Clone)]
pub struct Launched {
    /// Who it is for whoever runs it.
    pub identity: WorkerIdentity,
    /// The way to it.
    pub process: Arc<dyn RunningWorker>,
}

/// The way to a worker.
///
/// The invariant of the house is that an agent is placed anew only after its worker, with all that it owned, is proven dead. Who may
/// prove that depends on who runs the worker, and [`Proof`] names it. A launcher that can't prove it does not guess: its `dead` never
/// resolves, the worker is shown as unreachable, and a person may declare it dead.
#[async_trait]
pub trait RunningWorker: Send + Sync + 'static {
    /// Asks it to drain (SIGTERM); the second time it is to hurry. Resolves when it was told, or can't be.
    async fn ask(&self) -> Sent;

    /// Ends it at once (SIGKILL). Resolves when that was ordered, or can't be: that it is dead is told by `dead` alone.
    async fn kill(&self) -> Sent;

    /// Resolves when the worker, and every process that it owned, is proven dead, with what is known of its end.
    async fn dead(&self) -> Death;

    /// Asks it how it is, past the registry, and waits so long at the most. One that is not heard and says nothing here either is
    /// killed; [`WorkerProbe::NoSocket`] says that its silence alone is enough.
    async fn probe(&self, patience: Duration) -> WorkerProbe;
}

/// What came of telling a worker something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was told, or its engine has taken the order.
    Delivered,
    /// There is no such worker any more. `dead` says so too, when all that it owned is gone.
    Gone,
    /// Nobody could tell it, for this reason. Whether it lives is not known.
    Unreachable(String),
}

/// Who has proven that a worker is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kernel of this host: its process has ended, and no process of the host is left that it owned.
    ProcessTable,
    /// The worker engine of this name, which runs it: it has ended all that it ran of it, and will not start it again.
    Engine(String),
    /// The worker's own promise: it ends all that it owns when it can't renew its lease, and that time has passed by more than clocks
    /// may differ. Only an engine whose workers keep that promise may say so.
    Lease,
    /// A person, by name: nobody else could.
    Person(String),
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Who has proven it.
    pub proof: Proof,
    /// Its exit code, or the signal that ended it; `None` where whoever proved it can't know.
    pub exit: Option<ProcessExit>,
    /// The last lines of its log; empty where it said nothing.
    pub last_words: String,
}

impl Death {
    /// One of which nothing else is known.
    pub const fn proven(proof: Proof) -> Self {
        Self { proof, exit: None, last_words: String::new() }
    }
}

/// What a worker said when it was asked past the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerProbe {
    /// How it is. Its loop goes on.
    Lives(ProbeAnswer),
    /// Nothing in time: it hangs.
    Silence,
    /// There is no way to ask it.
    NoSocket,
    /// It could not be asked, for this reason of ours.
    Unasked(String),
}

/// What became of a worker of an earlier supervisor.
pub enum Adoption {
    /// It lives.
    Alive(Launched),
    /// It is dead, or was killed. The way to it tells when every process that it owned is proven dead too.
    Ended(Arc<dyn RunningWorker>),
    /// There is no way to it from here, e.g. since it is of another host: it can be heard, and neither asked nor killed. Its silence
    /// proves nothing.
    Elsewhere,
}

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the worker process could not be started: {0}")]
pub struct LaunchError(pub String);

/// Nobody could look for a worker of an earlier supervisor.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookError(pub String);
