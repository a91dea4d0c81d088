//! Starting worker processes and finding them again: the only place where the supervisor touches processes.
//!
//! | engine | a worker is |
//! |---|---|
//! | [`process`] | an OS process that outlives its master |
//! | [`closure`] | a task of this process, in single-process mode |
//!
//! [`server`] owns the private Redis, `asking` says whether it lets anybody in, `last_words` reads what a dead worker said last, `remnants` ends the processes that dead
//! workers have left.

mod asking;
pub mod closure;
mod last_words;
pub mod process;
mod remnants;
mod secret;
pub mod server;

use std::sync::Arc;

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, ProcessId, Vitals, WorkerIdentity, WorkerOrders};
use muster_process::Exit;
use muster_store::WorkerRow;

use crate::logs::AgentLog;

/// Starts workers and finds those of an earlier supervisor.
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
    /// Who it is for the operating system.
    pub identity: WorkerIdentity,
    /// The way to it.
    pub process: Arc<dyn RunningWorker>,
}

/// The way to a worker's process.
#[async_trait]
pub trait RunningWorker: Send + Sync + 'static {
    /// Asks it to drain (SIGTERM); the second time it is to hurry.
    fn ask(&self);

    /// Ends it at once (SIGKILL).
    fn kill(&self);

    /// Resolves when the worker, and every process that it owned, is proven dead, with what is known of its end.
    async fn dead(&self) -> Death;

    /// Asks it how it is, past the registry, and waits so long at the most.
    async fn probe(&self, _patience: Duration) -> Said {
        Said::NoDoor
    }
}

/// How a worker ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// Its exit code, or the signal that ended it; `None` where this process is not its parent, and so can't know.
    pub exit: Option<Exit>,
    /// The last lines of its log; empty where it said nothing.
    pub last_words: String,
}

/// What a worker said when it was asked past the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// How it is. Its loop goes on.
    Lives(Vitals),
    /// Nothing in time: it hangs.
    Silence,
    /// There is no way to ask it.
    NoDoor,
    /// It could not be asked, for this reason of ours.
    Unasked(String),
}

/// What became of a worker of an earlier supervisor.
pub enum Adoption {
    /// It lives.
    Alive(Launched),
    /// It is dead, or was killed. The way to it tells when every process that it owned is proven dead too.
    Ended(Arc<dyn RunningWorker>),
    /// It is not of this host: only its heartbeats can say.
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
