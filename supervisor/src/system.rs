//! What callers ask about the supervisor itself, and its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::{Executions, Principal};

use crate::alerts::Alert;
use crate::directory::read;
use crate::handle::Handle;
use crate::keeper::Keeper;
use crate::probes::PATIENCE;
use crate::view::{HeldPool, PoolView, ReachView, SystemView};

/// The supervisor itself. Cloneable.
#[derive(Clone)]
pub struct System {
    pub(crate) handle: Handle,
    pub(crate) principal: Principal,
}

impl System {
    /// The supervisor's figures, and whether the registry and the store answer. Within about 2 s, whatever is away.
    pub async fn view(&self) -> SystemView {
        let (context, facts) = (&self.handle.context, &self.handle.facts);
        let (registry, store) = (context.registry.ping(), context.store.ping());
        let ((pools, silent), registry, store) = tokio::join!(self.pools_in_time(), reach(registry), reach(store));
        // A database that was taken away, or written over, answers for as long as it is open.
        let store = context.reporting.health.store_broken().map_or(store, Err);
        let (spawns, spawns_succeeded, spawns_failed) = context.reporting.counters.read();
        let health = self.handle.health();
        let uncounted = format!("pools: {} did not answer in time and are not counted", silent.join(", "));
        let uncounted = Some(uncounted).filter(|_| !silent.is_empty());
        SystemView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: health.mode,
            mode_reason: health.mode_reason,
            fence: context.fence,
            address: facts.address.clone(),
            leads_since: facts.leads_since,
            registry_address: facts.registry_address.clone(),
            registry: ReachView::new("registry", registry),
            store_description: context.store.describe(),
            store: ReachView::new("store", store),
            runs: health.runs,
            ownership: facts.ownership.clone(),
            data_dir: context.settings.data_dir.display().to_string(),
            uptime: facts.started.elapsed(),
            degraded: health.degraded.into_iter().chain(uncounted).collect(),
            paused: context.directory.all_paused.load(Ordering::Relaxed),
            alerts_firing: health.alerts.len(),
            alerts: health.alerts,
            pools: u32::try_from(pools.len()).unwrap_or(u32::MAX),
            workers: pools.iter().map(|pool| pool.process_count).sum(),
            outdated_workers: pools.iter().map(|pool| pool.outdated_workers).sum(),
            agents: pools.iter().map(|pool| pool.agent_count).sum(),
            spawns,
            spawns_succeeded,
            spawns_failed,
            held_pools: pools.into_iter().filter(|pool| pool.holds.is_held()).map(HeldPool::from).collect(),
        }
    }

    /// The pools whose keepers answer in time, and the names of the others: a keeper may be in the middle of a commit.
    async fn pools_in_time(&self) -> (Vec<PoolView>, Vec<String>) {
        let asked = self.handle.context.directory.all().into_iter().map(|(name, keeper)| async move {
            let view = tokio::time::timeout(PATIENCE, read(&keeper, Keeper::view_pool)).await;
            view.map_err(|_| name.to_string())
        });
        let (mut views, mut silent) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                // One that ends meanwhile is a pool that is gone.
                Ok(view) => views.extend(view),
                Err(name) => silent.push(name),
            }
        }
        (views, silent)
    }

    /// Attempts at tasks that are over, whichever supervisor led.
    pub async fn executions(&self) -> Executions {
        self.handle.context.reporting.counters.executions(self.handle.context.store.as_ref()).await
    }

    /// Why nothing new is begun now, if so: what the registry or the store lacked when it was looked at last. It may answer again by now,
    /// and requests are refused until that is noticed.
    pub fn refusal(&self) -> Option<String> {
        self.handle.context.reporting.health.missing()
    }

    /// Asks the supervisor to stop, and returns at once. The first wish counts.
    pub fn stop(&self, keep_workers: bool) {
        self.handle.stop(keep_workers);
    }

    /// What needs a person, or did: the alerts that are kept, the newest first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.handle.context.reporting.alerts.list()
    }
}

/// Whether something answers in time.
async fn reach<E: std::fmt::Display>(ping: impl Future<Output = Result<Duration, E>>) -> Result<Duration, String> {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
