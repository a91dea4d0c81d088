//! The role `worker`: a process of its own, started by the supervisor with its orders on stdin.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use muster_domain::{ProcessId, RuntimeProfile, WorkerOrders};
use muster_files::DataPath;
use muster_process::{Alarm, ProbeSocket, identity, mark, template};
use muster_registry::redis::{RedisOptions, RedisRegistry};
use muster_supervisor::launch::process::TEMPLATE;
use muster_worker::{StopSign, WorkerDeps};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What this process was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerRole {
    /// A worker.
    Worker,
    /// One of which workers are copies.
    Template,
}

/// Whether this process was started as a worker, or as a template of workers. It is asked before anything else, since a fleet starts hundreds of
/// workers a second, and the command line of people would be a tenth of a start.
pub(crate) fn role() -> Option<WorkerRole> {
    let word = std::env::args_os().nth(1)?;
    if word == "worker" {
        return Some(WorkerRole::Worker);
    }
    (word == TEMPLATE).then_some(WorkerRole::Template)
}

impl WorkerRole {
    /// Runs until the worker has a reason to end.
    pub(crate) fn run(self) -> ExitCode {
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                crate::logging::say_last(format!("muster worker: {error:#}\n"));
                ExitCode::FAILURE
            }
        }
    }

    fn serve(self) -> anyhow::Result<()> {
        if std::io::stdin().is_terminal() {
            bail!("workers are started by muster serve");
        }
        // A thousand workers must be lean, and the threads of one only write logs.
        muster_process::memory::share_one_heap();
        // For the registry, and for what checks try.
        crate::tls::choose();
        let _log = crate::logging::start_plain()?;
        if self == Self::Template {
            become_one_of_many()?;
        }
        serve()
    }
}

/// Makes copies of this process, and returns in each of them. What a worker does before it knows whose it is, is done once.
fn become_one_of_many() -> anyhow::Result<()> {
    let parent =
        std::env::args().nth(2).and_then(|pid| pid.parse().ok()).context("templates are started by muster serve")?;
    muster_registry::redis::warm_up();
    identity::own()?;
    template::serve(parent).context("workers can't be copied here")
}

fn serve() -> anyhow::Result<()> {
    // A session of its own: what ends the master's terminal does not end its workers.
    muster_process::detach().context("cannot begin a session")?;
    if let Some(id) = std::env::var_os(mark::WORKER) {
        mark::bear_limit(&id);
    }
    let orders = read_orders()?;
    crate::logging::stands_at(DataPath::worker_log(&orders.data_dir, orders.process_id));
    if let Some(soft) = orders.open_files {
        muster_process::limits::set_for_programs(soft);
    }
    // One thread: a worker waits, and its agents are processes. A thousand of them must be lean.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(THREAD_STAYS).build()?;
    // A task: the future of `block_on` itself is woken over a descriptor, though it runs on the same thread.
    let exit = runtime.block_on(async { tokio::spawn(work(orders)).await? });
    // Nobody can stop the look-up of a name, and nobody waits for its end any more.
    runtime.shutdown_background();
    let exit = exit?;
    tracing::debug!(?exit, "the worker ended");
    Ok(())
}

fn read_orders() -> anyhow::Result<WorkerOrders> {
    // Room for most, so that it is read at once.
    let mut text = Vec::with_capacity(8192);
    std::io::stdin().lock().read_to_end(&mut text).context("cannot read the orders")?;
    serde_json::from_slice(&text).context("the orders on stdin are not understood; workers are started by muster serve")
}

async fn work(orders: WorkerOrders) -> anyhow::Result<muster_worker::WorkerExit> {
    let redis = RedisRegistry::connect(&orders.registry, RedisOptions::default())?;
    let stop = StopSign::new();
    tokio::spawn(obey(signal(SignalKind::terminate())?, stop.clone()));
    tokio::spawn(outlive_hangups(signal(SignalKind::hangup())?));
    tokio::spawn(keep_a_thread(match orders.profile {
        RuntimeProfile::Echo => NO_HURRY,
        RuntimeProfile::Exec(_) => Duration::ZERO,
    }));
    let deps = WorkerDeps {
        registry: Arc::new(redis.clone()),
        bus: Arc::new(redis),
        identity: identity::own()?.into(),
        probe_socket: open_state(orders.process_id),
        alarm: Alarm::of_kernel().unwrap_or_else(|_| Alarm::of_runtime()),
        stop,
        in_process: false,
    };
    Ok(muster_worker::run(orders, deps).await?)
}

/// How long a thread for work that waits for the disk stays without any. By default it is 10 s, for which a thousand workers that
/// rest would wake up four hundred times a second.
const THREAD_STAYS: Duration = Duration::from_secs(120);

/// What has no programs needs no such thread before an agent ends, so a fleet that starts is not kept up by them.
const NO_HURRY: Duration = Duration::from_secs(1);

/// Keeps one thread for work that waits for the disk, from this time on. Where the host gives no more threads such work waits for this
/// one; without it tokio panics.
async fn keep_a_thread(after: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + after, THREAD_STAYS / 2);
    loop {
        ticks.tick().await;
        // An error means that the process is ending.
        let _ = tokio::task::spawn_blocking(|| {}).await;
    }
}

/// One that nobody can ask is judged by its heartbeats alone.
fn open_state(id: ProcessId) -> ProbeSocket {
    ProbeSocket::open(id).unwrap_or_else(|error| {
        tracing::warn!(%error, "this worker can't be asked how it is");
        ProbeSocket::closed()
    })
}

/// The first SIGTERM drains, a second one forces.
async fn obey(mut terminate: Signal, stop: StopSign) {
    terminate.recv().await;
    stop.drain();
    terminate.recv().await;
    stop.force();
}

/// A worker has no terminal whose end could be meant, and is not to die, with all its agents, of a signal that reached it
/// by a broad `pkill -HUP muster`.
async fn outlive_hangups(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP changes nothing for a worker; SIGTERM drains it");
    }
}
