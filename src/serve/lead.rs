//! One life as the leader.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_api::ApiStage;
use muster_config::Database;
use muster_domain::{Fence, Timestamp};
use muster_process::Ownership;
use muster_store::{Leadership, Store, StoreError};
use muster_supervisor::{LeadEnd, Parts, Settings, Supervisor, SupervisorError, SupervisorFacts, WallClock};

use super::engines::{self, Engines};
use super::{ServeContext, store, waiting, watch, webhook_client};

/// Between two looks at a store that is away, or at a leader that may be gone.
const RETRY: Duration = Duration::from_millis(250);

/// How long a store that hangs is waited for once this process is to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a life as the leader ended.
pub(crate) enum LeadOutcome {
    /// As somebody asked.
    Asked,
    /// Another one leads.
    Fenced,
    /// It could not begin, for this reason.
    Hindered(String),
}

/// Becomes the leader and stays it as long as it may.
pub(crate) async fn run(context: &ServeContext) -> anyhow::Result<LeadOutcome> {
    // The private Redis takes some milliseconds to start, and the store to open: neither waits for the other.
    let (store, engines) = tokio::try_join!(open_store(context), engines::choose(context))?;
    let (Some(store), Some(engines)) = (store, engines) else { return Ok(LeadOutcome::Asked) };
    let ended = match take_lead(context, store.as_ref()).await? {
        Some(fence) => lead(context, store.clone(), engines, fence).await,
        None => Ok(LeadOutcome::Asked),
    };
    // A server that hangs is not waited for: what was committed is stored, and it finds out that we are gone.
    if tokio::time::timeout(PATIENCE, store.close()).await.is_err() {
        tracing::warn!(store = store.describe(), "the store does not answer; its connections are left");
    }
    ended
}

/// Opens the store. A file that can't be opened is a mistake to be told; a server that is away is waited for.
async fn open_store(context: &ServeContext) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let mut told = false;
    loop {
        let opened = tokio::select! {
            opened = store::open(&context.config) => opened,
            () = past_patience(context) => return Ok(None),
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
        context.state.set(waiting("store_away", &error.to_string()));
        if context.signals.stop_within(RETRY).await {
            return Ok(None);
        }
    }
}

/// Resolves when this process was told to end and the store has had its time. What still runs is stopped by whoever leads, so
/// it gets that time also where it is opened for that.
async fn past_patience(context: &ServeContext) {
    context.signals.stop.cancelled().await;
    tokio::time::sleep(PATIENCE).await;
}

/// Waits for the lead; `None` where it was told to end meanwhile.
async fn take_lead(context: &ServeContext, store: &dyn Store) -> anyhow::Result<Option<Fence>> {
    let holder = format!("pid {} on {}", std::process::id(), nix::unistd::gethostname()?.to_string_lossy());
    let (mut stands_by, mut is_away) = (false, false);
    loop {
        match store.lead(&holder, &context.address, context.config.clocks.lease).await {
            Ok(Leadership::Leads(fence)) => {
                if is_away {
                    tracing::info!(store = store.describe(), "the store answers");
                }
                // No standby any more: see where the data folder's lock is taken.
                context.state.set(context.starts());
                if stands_by && context.signals.stop.is_cancelled() {
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
                context.state.set(ApiStage::Standby { leader: address });
            }
            Err(error) => {
                if !is_away {
                    tracing::warn!(%error, store = store.describe(), "waiting for the store");
                    is_away = true;
                }
                context.state.set(waiting("store_away", &error.to_string()));
            }
        }
        if context.signals.stop_within(RETRY).await {
            return Ok(None);
        }
    }
}

async fn lead(
    context: &ServeContext,
    store: Arc<dyn Store>,
    mut engines: Engines,
    fence: Fence,
) -> anyhow::Result<LeadOutcome> {
    tracing::info!(mode = engines.mode.as_str(), reason = engines.reason, redis = engines.address, "mode");
    tracing::info!(store = store.describe(), fence = fence.0, "store");
    if engines.server.is_some() && matches!(context.config.database, Database::Postgres { .. }) {
        tracing::warn!("a standby with another data folder can't reach these workers: give both the same redis.url");
    }
    let mut supervisor = match Supervisor::start(parts(context, store, &engines, fence)).await {
        Ok(supervisor) => supervisor,
        Err(SupervisorError::Unavailable { what, .. }) => {
            // The store went away between the lead and here, or it takes the lead and nothing else: begin again.
            tracing::warn!(what, "could not start to lead");
            return Ok(LeadOutcome::Hindered(what));
        }
        Err(error) => return Err(error.into()),
    };
    context.note_hindrance(None);
    let handle = supervisor.handle();
    context.state.set(ApiStage::Leading(handle.clone()));
    let (stop, asked) = (context.signals.stop.clone(), handle.clone());
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
    context.state.set(waiting("stopping", "the supervisor is stopping"));
    supervisor.shut_down(end, context.signals.hurry.clone()).await;
    // The private Redis goes last: workers have said their last words over it.
    if let Some(server) = engines.server.take() {
        server.stop().await;
    }
    Ok(match end {
        LeadEnd::Asked(_) => LeadOutcome::Asked,
        LeadEnd::Fenced => LeadOutcome::Fenced,
    })
}

fn parts(context: &ServeContext, store: Arc<dyn Store>, engines: &Engines, fence: Fence) -> Parts {
    let config = &context.config;
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
            metrics_interval: config.metrics_interval,
            autoscaler: config.autoscaler,
            lock_file: context.data_dir.lock_file(),
        },
        file_pools: config.pools.clone(),
        tenants: config.tenants.clone(),
        budgets: config.budgets.clone(),
        alerts: webhook_client::alert_parts(&config.alerts),
        host: watch::checks(context),
        facts: SupervisorFacts {
            mode: engines.mode,
            mode_reason: engines.reason.clone(),
            address: context.address.clone(),
            registry_address: engines.address.clone(),
            ownership: ownership.to_string(),
            ownership_proves: matches!(ownership, Ownership::PidNamespace { .. }),
            leads_since: Timestamp::now(),
            started: context.started,
        },
    }
}
