//! Reads the reports of all pools and hands each to its pool's keeper, which settles it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::PoolName;
use muster_registry::{RegistryError, ReportDelivery, ReportStream};

use crate::context::Context;
use crate::keeper::mailbox::KeeperMessage;

/// The wait before another try where the stream can't be opened.
const RETRY: Duration = Duration::from_millis(200);

/// Reads for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut names = context.directory.names();
    loop {
        let pools = names.borrow_and_update().clone();
        match context.bus.reports(pools).await {
            Ok(mut stream) => {
                context.reporting.health.recover("reports");
                read(&context, stream.as_mut(), &mut names).await;
            }
            Err(error) => {
                context.reporting.health.degrade("reports", format!("what workers say can't be read: {error}"))
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(
    context: &Context,
    stream: &mut dyn ReportStream,
    names: &mut tokio::sync::watch::Receiver<Vec<PoolName>>,
) {
    loop {
        tokio::select! {
            biased;
            changed = names.changed() => {
                if changed.is_err() {
                    return;
                }
                let pools = names.borrow_and_update().clone();
                stream.watch(pools);
            }
            deliveries = stream.next() => deliver(context, deliveries),
        }
    }
}

fn deliver(context: &Context, deliveries: Result<Vec<ReportDelivery>, RegistryError>) {
    let deliveries = match deliveries {
        Ok(deliveries) => deliveries,
        Err(error) => {
            return context.reporting.health.degrade("reports", format!("what workers say can't be read: {error}"));
        }
    };
    context.reporting.health.recover("reports");
    let mut by_pool: BTreeMap<PoolName, Vec<ReportDelivery>> = BTreeMap::new();
    for delivery in deliveries {
        by_pool.entry(delivery.pool.clone()).or_default().push(delivery);
    }
    for (pool, deliveries) in by_pool {
        match context.directory.get(&pool) {
            Some(keeper) => drop(keeper.mailbox.send(KeeperMessage::Reports(deliveries))),
            // A pool is in the directory from before its stream is read until the store has no row of it any more; so this
            // one is gone for good, and nobody will ever settle what its workers said last.
            None => context.messages.command_sender.settle(deliveries, Vec::new()),
        }
    }
}
