//! Keeps the lead: renews the lease in the store and says in the registry who leads, three times a lease.

use std::sync::Arc;

use muster_registry::LeaderMirror;

use crate::context::Context;

/// Renews until the lead is lost.
pub(crate) async fn run(context: Arc<Context>, mirror: LeaderMirror) {
    let lease = context.clocks.lease;
    let mut ticks = tokio::time::interval(lease / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match context.store.renew(context.fence, lease).await {
            Ok(()) => context.board.recover("store"),
            Err(error) => drop(context.store_failed(&error)),
        }
        if context.fenced.is_cancelled() {
            return;
        }
        if let Err(error) = context.registry.announce_leader(&mirror, lease).await {
            tracing::debug!(%error, "the leader's mirror was not written");
        }
    }
}
