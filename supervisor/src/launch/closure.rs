//! Workers as tasks of this process: single-process mode. Their pid is the master's; they end with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use muster_domain::{ProcessId, WorkerIdentity, WorkerOrders};
use muster_process::identity;
use muster_store::WorkerRow;
use tokio::sync::watch;

use super::process::ProcessLauncher;
use super::{Adoption, LaunchError, Launched, Launcher, RunningWorker};

/// A worker's entry, as the composition root gives it: this crate does not know the worker's.
pub type Entry = Box<dyn Fn(WorkerOrders) -> Task + Send + Sync>;

/// A worker that is to run as a task.
pub struct Task {
    /// Runs until the worker has ended and its agents' trees are gone.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Asks it to drain; the second time it is to hurry.
    pub ask: Box<dyn Fn() + Send + Sync>,
    /// Ends it at once, with its trees.
    pub kill: Box<dyn Fn() + Send + Sync>,
}

/// Starts workers as tasks.
pub struct ClosureLauncher {
    entry: Entry,
    identity: WorkerIdentity,
    /// For worker processes that an earlier supervisor in the other mode has left.
    processes: ProcessLauncher,
}

impl ClosureLauncher {
    /// `processes` finds workers that were left in the other mode.
    pub fn new(entry: Entry, processes: ProcessLauncher) -> Result<Self, LaunchError> {
        let identity = identity::own().map_err(|error| LaunchError(error.to_string()))?;
        Ok(Self { entry, identity, processes })
    }
}

#[async_trait]
impl Launcher for ClosureLauncher {
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        let task = (self.entry)(orders);
        let (done, dead) = watch::channel(false);
        let run = tokio::spawn(task.run);
        tokio::spawn(async move {
            if let Err(error) = run.await {
                tracing::error!(%error, "a worker's task failed");
            }
            done.send_replace(true);
        });
        let process = Arc::new(WorkerTask { ask: task.ask, kill: task.kill, dead });
        Ok(Launched { identity: self.identity.clone(), process })
    }

    /// A task dies with its process. A worker process of the other mode can't be reached without its registry, so it
    /// is ended, and its agents are placed anew when it is proven dead.
    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LaunchError> {
        let adoption = self.processes.adopt(row).await?;
        if let Adoption::Alive(launched) = &adoption {
            launched.process.kill();
            launched.process.dead().await;
            return Ok(Adoption::Dead);
        }
        Ok(adoption)
    }

    async fn marked(&self) -> Vec<ProcessId> {
        self.processes.marked().await
    }

    async fn sweep(&self, worker: ProcessId) {
        self.processes.sweep(worker).await;
    }
}

struct WorkerTask {
    ask: Box<dyn Fn() + Send + Sync>,
    kill: Box<dyn Fn() + Send + Sync>,
    dead: watch::Receiver<bool>,
}

#[async_trait]
impl RunningWorker for WorkerTask {
    fn ask(&self) {
        (self.ask)();
    }

    fn kill(&self) {
        (self.kill)();
    }

    async fn dead(&self) {
        let mut dead = self.dead.clone();
        // An error means that the task that tells is gone, and with it the worker.
        let _ = dead.wait_for(|dead| *dead).await;
    }
}
