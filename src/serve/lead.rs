//! One life as the leader.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_api::Stage;
use muster_config::Database;
use muster_domain::{Fence, Timestamp};
use muster_process::Ownership;
use muster_store::{Leadership, Store, StoreError};
use muster_supervisor::{Facts, LeadEnd, Parts, Settings, Supervisor, SupervisorError, WallClock};

use super::engines::{self, Engines};
use super::{Site, courier, truth, waiting, watch};

/// Between two looks at a store that is away, or at a leader that may be gone.
const RETRY: Duration = Duration::from_millis(250);

/// How long a store that hangs is waited for once this process is to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a life as the leader ended.
pub(crate) enum Ended {
    /// As somebody asked.
    Asked,
    /// Another one leads.
    Fenced,
    /// It could not begin, for this reason.
    Hindered(String),
}

/// Becomes the leader and stays it as long as it may.
pub(crate) async fn run(site: &Site) -> anyhow::Result<Ended> {
    // The private Redis takes some milliseconds to start, and the store to open: neither waits for the other.
    let (store, engines) = tokio::try_join!(open_store(site), engines::choose(site))?;
    let (Some(store), Some(engines)) = (store, engines) else { return Ok(Ended::Asked) };
    let ended = match take_lead(site, store.as_ref()).await? {
        Some(fence) => lead(site, store.clone(), engines, fence).await,
        None => Ok(Ended::Asked),
    };
    // A server that hangs is not waited for: what was committed is stored, and it finds out that we are gone.
    if tokio::time::timeout(PATIENCE, store.close()).await.is_err() {
        tracing::warn!(store = store.describe(), "the store does not answer; its connections are left");
    }
    ended
}

/// Opens the store. A file that can't be opened is a mistake to be told; a server that is away is waited for.
async fn open_store(site: &Site) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let mut told = false;
    loop {
        let opened = tokio::select! {
            opened = truth::open(&site.config) => opened,
            () = past_patience(site) => return Ok(None),
        };
        let error = match opened {
            Ok(store) => return Ok(Some(store)),
            // It may come back, or somebody mends it.
            Err(error @ (StoreError::Unavailable(_) | StoreError::Failed(_) | StoreError::Conflict(_))) => error,
            Err(error) => return Err(error).context("cannot open the store"),
        };
        if !told {
            tracing::warn!(%error, "waiting for the store");
            told = true;
        }
        site.door.set(waiting("store_away", &error.to_string()));
        if site.signals.stop_within(RETRY).await {
            return Ok(None);
        }
    }
}

/// Resolves when this process was told to end and the store has had its time. What still runs is stopped by whoever leads, so
/// it gets that time also where it is opened for that.
async fn past_patience(site: &Site) {
    site.signals.stop.cancelled().await;
    tokio::time::sleep(PATIENCE).await;
}

/// Waits for the lead; `None` where it was told to end meanwhile.
async fn take_lead(site: &Site, store: &dyn Store) -> anyhow::Result<Option<Fence>> {
    let holder = format!("pid {} on {}", std::process::id(), nix::unistd::gethostname()?.to_string_lossy());
    let (mut stands_by, mut is_away) = (false, false);
    loop {
        match store.lead(&holder, &site.address, site.config.clocks.lease).await {
            Ok(Leadership::Leads(fence)) => {
                if is_away {
                    tracing::info!(store = store.describe(), "the store answers");
                }
                // No standby any more: see where the data folder's lock is taken.
                site.door.set(site.starts());
                if stands_by && site.signals.stop.is_cancelled() {
                    // Told to end as a standby, which stops no agents. Nobody need wait for the lease of a leader that
                    // never was.
                    store.resign(fence).await?;
                    return Ok(None);
                }
                return Ok(Some(fence));
            }
            Ok(Leadership::Held { address, holder }) => {
                if !stands_by {
                    tracing::info!(leader = address, holder, "another supervisor leads; standing by");
                    stands_by = true;
                }
                site.door.set(Stage::Standby { leader: address });
            }
            Err(error) => {
                if !is_away {
                    tracing::warn!(%error, store = store.describe(), "waiting for the store");
                    is_away = true;
                }
                site.door.set(waiting("store_away", &error.to_string()));
            }
        }
        if site.signals.stop_within(RETRY).await {
            return Ok(None);
        }
    }
}

async fn lead(site: &Site, store: Arc<dyn Store>, mut engines: Engines, fence: Fence) -> anyhow::Result<Ended> {
    tracing::info!(mode = engines.mode.as_str(), reason = engines.reason, redis = engines.address, "mode");
    tracing::info!(store = store.describe(), fence = fence.0, "store");
    if engines.server.is_some() && matches!(site.config.database, Database::Postgres { .. }) {
        tracing::warn!("a standby with another data folder can't reach these workers: give both the same redis.url");
    }
    let mut supervisor = match Supervisor::start(parts(site, store, &engines, fence)).await {
        Ok(supervisor) => supervisor,
        Err(SupervisorError::Unavailable { what, .. }) => {
            // The store went away between the lead and here, or it takes the lead and nothing else: begin again.
            tracing::warn!(what, "could not start to lead");
            return Ok(Ended::Hindered(what));
        }
        Err(error) => return Err(error.into()),
    };
    site.note_hindrance(None);
    let handle = supervisor.handle();
    site.door.set(Stage::Leading(handle.clone()));
    let (stop, asked) = (site.signals.stop.clone(), handle.clone());
    let signal = tokio::spawn(async move {
        stop.cancelled().await;
        asked.stop(false);
    });
    let fallback = engines.fallback.take().map(|fallback| tokio::spawn(fallback.watch(handle)));
    let end = supervisor.ended().await;
    signal.abort();
    if let Some(fallback) = fallback {
        fallback.abort();
    }
    site.door.set(waiting("stopping", "the supervisor is stopping"));
    supervisor.shut_down(end, site.signals.hurry.clone()).await;
    // The private Redis goes last: workers have said their last words over it.
    if let Some(server) = engines.server.take() {
        server.stop().await;
    }
    Ok(match end {
        LeadEnd::Asked(_) => Ended::Asked,
        LeadEnd::Fenced => Ended::Fenced,
    })
}

fn parts(site: &Site, store: Arc<dyn Store>, engines: &Engines, fence: Fence) -> Parts {
    let config = &site.config;
    let ownership = muster_process::ownership();
    Parts {
        fence,
        store,
        registry: engines.registry.clone(),
        bus: engines.bus.clone(),
        launchers: engines.launchers.clone(),
        settings: Settings {
            clocks: config.clocks.clone(),
            wall: WallClock::default(),
            profiles: config.runtimes.clone(),
            skip_phrase: config.skip_phrase.clone(),
            worker_registry: engines.target.clone(),
            data_dir: config.data_dir.clone(),
            lock_file: site.house.lock_file(),
        },
        file_pools: config.pools.clone(),
        tenants: config.tenants.clone(),
        budgets: config.budgets.clone(),
        alerts: courier::alert_parts(&config.alerts),
        host: watch::checks(site),
        facts: Facts {
            mode: engines.mode,
            mode_reason: engines.reason.clone(),
            address: site.address.clone(),
            registry_address: engines.address.clone(),
            ownership: ownership.to_string(),
            ownership_proves: matches!(ownership, Ownership::PidNamespace { .. }),
            leads_since: Timestamp::now(),
            started: site.started,
        },
    }
}
