//! The role `worker`: a process of its own, started by the supervisor with its orders on stdin.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context as _;
use muster_domain::WorkerOrders;
use muster_process::identity;
use muster_registry::redis::{RedisOptions, RedisRegistry};
use muster_worker::{Seat, StopSign};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::LogFormat;

/// Runs until the worker has a reason to end.
pub(crate) fn run() -> anyhow::Result<()> {
    // A session of its own: what ends the master's terminal does not end its workers.
    muster_process::detach().context("cannot begin a session")?;
    crate::logging::start(LogFormat::Text, "info", false)?;
    let orders = read_orders()?;
    // One thread: a worker waits, and its agents are processes. A thousand of them must be lean.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(work(orders))?;
    tracing::debug!(?exit, "the worker ended");
    Ok(())
}

fn read_orders() -> anyhow::Result<WorkerOrders> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text).context("cannot read the orders")?;
    serde_json::from_slice(&text).context("the orders on stdin are not understood; workers are started by muster serve")
}

async fn work(orders: WorkerOrders) -> anyhow::Result<muster_worker::WorkerExit> {
    let redis = RedisRegistry::connect(&orders.registry, RedisOptions::default())?;
    let stop = StopSign::new();
    let terminate = signal(SignalKind::terminate())?;
    tokio::spawn(obey(terminate, stop.clone()));
    let seat = Seat {
        registry: Arc::new(redis.clone()),
        bus: Arc::new(redis),
        identity: identity::own()?,
        stop,
        in_process: false,
    };
    Ok(muster_worker::run(orders, seat).await?)
}

/// The first SIGTERM drains, a second one forces.
async fn obey(mut terminate: Signal, stop: StopSign) {
    terminate.recv().await;
    stop.drain();
    terminate.recv().await;
    stop.force();
}
