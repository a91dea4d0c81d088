//! Keeps the lead: renews the lease in the store and says in the registry who leads, three times a lease.

use std::sync::Arc;

use muster_domain::time::later;
use muster_registry::LeaderMirror;

use crate::clock;
use crate::context::Context;

/// Renews until the lead is lost.
pub(crate) async fn run(context: Arc<Context>, mirror: LeaderMirror) {
    let lease = context.settings.clocks.lease;
    let mut due = clock::now();
    loop {
        tokio::time::sleep_until(due.min(later(clock::now(), context.settings.clocks.pass)).into()).await;
        // A store that was missed is tried more often: intake waits for it.
        if due > clock::now() && !context.reporting.health.is_degraded("store") {
            continue;
        }
        due = later(clock::now(), lease / 3);
        let begun = clock::now();
        match context.store.renew(context.fence, lease).await {
            Ok(()) => {
                context.reporting.health.recover("store");
                context.reporting.health.commit_took(begun, clock::now());
            }
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
