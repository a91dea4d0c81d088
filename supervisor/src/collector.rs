//! Takes away what nobody needs any more: old events and idempotency keys, what ended long ago, with its log, and what the
//! registry holds of pools that are gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{AgentId, Timestamp};

use crate::context::Context;

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
    tracing::info!(interval_seconds = INTERVAL.as_secs(), "collector");
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        match context.store.prune(context.fence, now.before(EVENTS_KEPT), now.before(ENDED_KEPT)).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "old rows were taken away"),
            Err(error) => drop(context.store_failed(&error)),
        }
        remove_logs(&context).await;
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

/// Removes the logs of agents that the store has forgotten.
async fn remove_logs(context: &Context) {
    let folder = context.data_dir.join("logs").join("agents");
    let Ok(old) = tokio::task::spawn_blocking(move || old_logs(&folder, ENDED_KEPT)).await else { return };
    for (agent, path) in old {
        if matches!(context.store.agent(agent).await, Ok(None))
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(%error, path = %path.display(), "an old log stays");
        }
    }
}

/// Logs to which nothing was written for `kept`, with the agents that wrote them.
fn old_logs(folder: &Path, kept: Duration) -> Vec<(AgentId, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let old = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let age = entry.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let name = entry.file_name().into_string().ok()?;
        let agent = name.split('.').next()?.parse().ok()?;
        (age > kept).then(|| (agent, entry.path()))
    });
    old.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_of_agents_that_are_old_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = AgentId::generate();
        std::fs::write(folder.path().join(format!("{agent}.log")), "out hello\n").expect("a log");
        std::fs::write(folder.path().join("notes.txt"), "mine\n").expect("a file of somebody else");
        assert_eq!(old_logs(folder.path(), Duration::from_secs(3_600)), []);
        let found: Vec<AgentId> = old_logs(folder.path(), Duration::ZERO).into_iter().map(|(id, _)| id).collect();
        assert_eq!(found, [agent]);
    }
}
