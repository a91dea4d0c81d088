//! Takes away what nobody needs any more: old events and idempotency keys, what ended long ago, with its folder and its log, and
//! what the registry holds of pools that are gone.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{AgentId, Timestamp};

use crate::context::Context;
use crate::launch::remains::{self, Owner, Remain};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(30);

/// How long events and idempotency keys are kept.
const EVENTS_KEPT: Duration = Duration::from_hours(24);

/// How long agents and workers are kept after their end.
const ENDED_KEPT: Duration = Duration::from_hours(4 * 24);

/// Collects for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = HashSet::new();
    tracing::info!(interval_seconds = INTERVAL.as_secs(), "collector");
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        match context.store.prune(context.fence, now.before(EVENTS_KEPT), now.before(ENDED_KEPT)).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "old rows were taken away"),
            Err(error) => drop(context.store_failed(&error)),
        }
        remove_remains(&context, &mut told).await;
        forget_lost_pools(&context).await;
    }
}

/// Removes from the registry what is left of pools that the store does not have: a removal that was lost with its master,
/// or the last words of a worker after it.
async fn forget_lost_pools(context: &Context) {
    let present = match context.registry.pools().await {
        Ok(present) => present,
        Err(error) => return tracing::debug!(%error, "the registry can't be looked through for pools that are gone"),
    };
    // The store is read after the registry, and no pool is made in between: whatever is not there now is gone.
    let _alone = context.pool_lock.lock().await;
    let Ok(rows) = context.store.pools().await else { return };
    for pool in present {
        let known = rows.iter().any(|row| row.spec.pool_name == pool) || context.directory.get(&pool).is_some();
        if !known {
            tracing::info!(pool.name = %pool, "the registry holds a pool that the store does not; it is forgotten");
            context.postman.forget_pool(pool);
        }
    }
}

/// Removes what agents and workers that the store has forgotten have left in the data folder. What can't be removed is told
/// once.
async fn remove_remains(context: &Context, told: &mut HashSet<PathBuf>) {
    let data_dir = context.data_dir.clone();
    let Ok(old) = tokio::task::spawn_blocking(move || remains::old(&data_dir, ENDED_KEPT)).await else { return };
    if old.is_empty() {
        return;
    }
    // Those that live may be many, and may have written nothing for days: they are told apart by one question.
    let Ok(live) = context.store.live_agents().await else { return };
    let live: HashSet<AgentId> = live.into_iter().map(|row| row.spec.agent_id).collect();
    for remain in old {
        if is_forgotten(context, remain.owner, &live).await {
            remove(context, remain, told).await;
        }
    }
}

/// Whether the store has no row of it any more. What can't be known is not forgotten.
async fn is_forgotten(context: &Context, owner: Owner, live: &HashSet<AgentId>) -> bool {
    match owner {
        Owner::Agent(agent) if live.contains(&agent) => false,
        Owner::Agent(agent) => matches!(context.store.agent(agent).await, Ok(None)),
        Owner::Worker(worker) => matches!(context.store.worker(worker).await, Ok(None)),
    }
}

async fn remove(context: &Context, remain: Remain, told: &mut HashSet<PathBuf>) {
    let (data_dir, path) = (context.data_dir.clone(), remain.path(&context.data_dir));
    match tokio::task::spawn_blocking(move || remain.remove(&data_dir)).await {
        Ok(Ok(())) => tracing::debug!(path = %path.display(), "what somebody long gone has left was removed"),
        Ok(Err(error)) => {
            if told.insert(path.clone()) {
                tracing::warn!(%error, path = %path.display(), "what somebody long gone has left can't be removed");
            }
        }
        // The process is ending.
        Err(_) => {}
    }
}
