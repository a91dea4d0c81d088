//! Takes away what nobody needs any more: old events and idempotency keys, what ended long ago, with its folder and its log, and
//! what the registry holds of pools that are gone.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_files::DataPath;
use muster_policy::retention::{Lived, cutoff};
use muster_registry::RegistryError;
use muster_store::{LifeRow, Pruned, StoreError};

use crate::blocking;
use crate::context::Context;
use crate::health_board::HealthBoard;
use crate::keeper::tasks::TaskAsk;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(30);

/// On the board.
const CLEANING: &str = "registry cleaning";

/// How long events and idempotency keys are kept.
const EVENTS_KEPT: Duration = Duration::from_hours(24);

/// Nothing is from before it.
const NOTHING: Timestamp = Timestamp::from_millis(i64::MIN);

/// Prunes for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match prune(&context).await {
            Ok(pruned) => {
                count_dead_tasks(&context).await;
                remove_leftovers(&context, pruned).await;
            }
            Err(error) => drop(context.store_failed(&error)),
        }
        let cleaned = clean_registry(&context).await;
        tell(&context.reporting.health, cleaned);
    }
}

/// Removes from the registry what is none of ours, or not any more.
async fn clean_registry(context: &Context) -> Result<(), RegistryError> {
    let forgotten = forget_lost_pools(context).await;
    weed_pools(context).await.and(forgotten)
}

/// Whoever may not clean is told so. That the registry is away is said elsewhere.
fn tell(health: &HealthBoard, cleaned: Result<(), RegistryError>) {
    match cleaned {
        Ok(()) => health.recover(CLEANING),
        Err(error @ RegistryError::Unavailable(_)) => tracing::debug!(%error, "the registry is cleaned later"),
        Err(error) => {
            health.degrade(CLEANING, format!("what is none of Muster's can't be removed from Redis: {error}"))
        }
    }
}

/// What was kept for its time, counted in the lives of supervisors, goes.
async fn prune(context: &Context) -> Result<Pruned, StoreError> {
    let (store, now) = (&context.store, context.settings.wall.now());
    let lives = store.lives().await?;
    let lived = lived(&lives);
    let events = cutoff(&lived, EVENTS_KEPT, now);
    let ended = cutoff(&lived, context.settings.clocks.retention, now);
    let before = |cutoff: Option<(Timestamp, usize)>| cutoff.map_or(NOTHING, |(at, _)| at);
    let pruned = store.prune(context.fence, before(events), before(ended)).await?;
    if let Some(oldest) = events.zip(ended).and_then(|((_, one), (_, other))| lives.get(one.max(other))) {
        store.prune_lives(context.fence, oldest.clone()).await?;
    }
    Ok(pruned)
}

/// In which times supervisors lived.
pub(crate) fn lived(lives: &[LifeRow]) -> Vec<Lived> {
    lives.iter().map(|life| (life.began_at, life.seen_at)).collect()
}

/// Tasks that were given up may be among those that went.
async fn count_dead_tasks(context: &Context) {
    for (pool, keeper) in context.directory.all() {
        match context.store.queue_counts(&pool).await {
            // One that ends meanwhile counts no more.
            Ok(counts) => drop(keeper.send(TaskAsk::CountDead(counts.dead).into())),
            Err(error) => return drop(context.store_failed(&error)),
        }
    }
}

/// Removes from the registry what is left of pools that the store does not have: a removal that was lost with its master,
/// or the last words of a worker after it.
async fn forget_lost_pools(context: &Context) -> Result<(), RegistryError> {
    let present = context.registry.pools().await?;
    // The store is read after the registry, and no pool is made in between: whatever is not there now is gone.
    let _alone = context.directory.pool_lock.lock().await;
    let Ok(rows) = context.store.pools().await.map_err(|error| context.store_failed(&error)) else { return Ok(()) };
    for pool in present {
        let known = rows.iter().any(|row| row.spec.pool_name == pool) || context.directory.get(&pool).is_some();
        if !known {
            tracing::info!(pool.name = %pool, "the registry holds a pool that the store does not; it is forgotten");
            context.messages.command_sender.forget_pool(pool);
        }
    }
    Ok(())
}

/// Removes from the registry what somebody else put into the sets of pools.
async fn weed_pools(context: &Context) -> Result<(), RegistryError> {
    for (pool, _) in context.directory.all() {
        context.registry.remove_strangers(&pool).await?;
    }
    Ok(())
}

/// Removes what those that the store has just forgotten left in the data folder. Nothing else: a store that has no row of an
/// agent need not be the one that the agent belongs to.
async fn remove_leftovers(context: &Context, pruned: Pruned) {
    let dir = &context.settings.data_dir;
    let of_agents = pruned.agents.into_iter().flat_map(|agent| DataPath::all_of_agent(dir, agent));
    let of_workers = pruned.workers.into_iter().map(|worker| DataPath::worker_log(dir, worker));
    let leftovers: Vec<DataPath> = of_agents.chain(of_workers).collect();
    if leftovers.is_empty() {
        return;
    }
    let removal = move || {
        for remain in leftovers {
            if let Err(error) = remain.remove() {
                let path = remain.path();
                tracing::warn!(%error, path = %path.display(), "what somebody long gone has left can't be removed");
            }
        }
    };
    // An error means that the process is ending.
    let _ = blocking::run(&blocking::REMOVALS, removal).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::{AlertParts, Alerts};
    use crate::clock::WallClock;

    #[test]
    fn a_refusal_is_named_until_it_is_over_and_an_outage_is_not() {
        let (events, _told) = tokio::sync::mpsc::unbounded_channel();
        let alerts = Arc::new(Alerts::new(&AlertParts::default(), WallClock::default()));
        let health = HealthBoard::new(events, alerts, WallClock::default());
        let away = || Err(RegistryError::Unavailable("no connection".to_owned()));
        tell(&health, away());
        assert!(health.read().is_empty(), "that is said elsewhere");
        tell(&health, Err(RegistryError::Refused("no right to SSCAN".to_owned())));
        assert!(health.read()[0].contains("no right to SSCAN"), "{:?}", health.read());
        tell(&health, away());
        assert_eq!(health.read().len(), 1, "nothing else is known");
        tell(&health, Ok(()));
        assert!(health.read().is_empty());
    }
}
