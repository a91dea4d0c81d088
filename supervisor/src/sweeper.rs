//! Once a minute: ends what still bears the mark of a worker that is dead. The means of ownership see to a tree's end by
//! themselves; this takes what the weakest of them could not hold.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::ProcessId;
use muster_store::WorkerRow;

use crate::context::Context;

/// Between two sweeps.
const INTERVAL: Duration = Duration::from_secs(60);

/// Sweeps for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut dead = Vec::new();
        for worker in context.launchers.marked().await {
            dead.extend(dead_row(&context, worker).await);
        }
        let sweeps = dead.iter().map(|row| context.launchers.sweep(row));
        // What does not die until then is found again by the next one.
        let _ = tokio::time::timeout(INTERVAL, futures_util::future::join_all(sweeps)).await;
    }
}

/// Its row, where it was a worker of this store, and is proven dead. A worker of another supervisor has none here.
async fn dead_row(context: &Context, worker: ProcessId) -> Option<WorkerRow> {
    context.store.worker(worker).await.ok().flatten().filter(|row| !row.state.is_open())
}
