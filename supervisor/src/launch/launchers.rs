//! The launchers of a supervisor, by the names that pools know them by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{AgentId, ProcessId, WorkerOrders, launcher};
use muster_store::WorkerRow;

use crate::logs::AgentLog;

use super::{Adoption, LaunchError, Launched, Launcher, LookError};

/// How long a worker of an earlier supervisor is looked for at a time.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// The launchers that there are. A pool names one of them, and a worker stays with the one that started it.
#[derive(Clone)]
pub struct Launchers(Arc<BTreeMap<String, Arc<dyn Launcher>>>);

impl Launchers {
    /// Only the one that starts workers on this host.
    pub fn local(launcher: Arc<dyn Launcher>) -> Self {
        Self(Arc::new(BTreeMap::from([(launcher::LOCAL.to_owned(), launcher)])))
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, name: &str, launcher: Arc<dyn Launcher>) -> Self {
        let mut all = BTreeMap::clone(&self.0);
        all.insert(name.to_owned(), launcher);
        Self(Arc::new(all))
    }

    /// The launcher of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Launcher>> {
        self.0.get(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Starts a worker by the launcher of this name.
    pub(crate) async fn launch(&self, name: &str, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        let launcher = self.get(name).ok_or_else(|| LaunchError(self.missing(name)))?;
        launcher.launch(orders).await
    }

    /// Finds a worker by the launcher that started it.
    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let launcher =
            self.get(&row.spec.source.launcher).ok_or_else(|| LookError(self.missing(&row.spec.source.launcher)))?;
        launcher.adopt(row).await
    }

    /// The same within bounds: an engine that does not answer holds up nobody.
    pub(crate) async fn find(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let late = |_| Err(LookError(format!("no answer within {} s", LOOK_WITHIN.as_secs())));
        tokio::time::timeout(LOOK_WITHIN, self.adopt(row)).await.unwrap_or_else(late)
    }

    /// Workers whose mark some process bears that a launcher can see.
    pub(crate) async fn marked(&self) -> BTreeSet<ProcessId> {
        let all = self.0.values().map(|launcher| launcher.marked());
        futures_util::future::join_all(all).await.into_iter().flatten().collect()
    }

    /// Ends what a dead worker left where any of them can see it.
    pub(crate) async fn sweep(&self, worker: &WorkerRow) {
        futures_util::future::join_all(self.0.values().map(|launcher| launcher.sweep(worker))).await;
    }

    /// What an agent of a pool with this launcher printed; an error says that there is no such launcher here.
    pub(crate) fn agent_log(&self, name: &str, agent: AgentId) -> Result<Box<dyn AgentLog>, String> {
        let launcher = self.get(name).ok_or_else(|| self.missing(name))?;
        Ok(launcher.agent_log(agent))
    }

    /// The life of this supervisor is over, for all of them.
    pub(crate) async fn leave(&self) {
        futures_util::future::join_all(self.0.values().map(|launcher| launcher.leave())).await;
    }

    fn missing(&self, name: &str) -> String {
        format!("there is no launcher {name:?}; this supervisor has {}", self.names().join(", "))
    }
}
