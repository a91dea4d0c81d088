//! Which registry and which launcher, and why: a configured Redis, else a private one, else everything in one process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_config::RedisConfig;
use muster_domain::orders::redact_url;
use muster_domain::{RegistryTarget, WorkerIdentity, WorkerOrders};
use muster_process::{Alarm, ProbeSocket, identity};
use muster_registry::memory::MemoryRegistry;
use muster_registry::redis::{RedisOptions, RedisRegistry};
use muster_registry::{Bus, Registry, RegistryError};
use muster_supervisor::Mode;
use muster_supervisor::launch::Launchers;
use muster_supervisor::launch::closure::{ClosureLauncher, ClosureWorker, WorkerEntry};
use muster_supervisor::launch::process::ProcessLauncher;
use muster_supervisor::launch::server::{PrivateServer, ServerPlan, find_server};
use muster_worker::{StopSign, WorkerDeps};

use super::fallback::MissingRedis;
use super::{ServeContext, waiting};

/// Connections that the private Redis is to accept: two a worker, and some for the master and for people.
const MAX_CLIENTS: u32 = 20_000;

/// Between two looks at a Redis that is away.
const RETRY: Duration = Duration::from_millis(250);

/// The engines of one life as the leader.
pub(crate) struct Engines {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) launchers: Launchers,
    pub(crate) target: RegistryTarget,
    pub(crate) mode: Mode,
    pub(crate) reason: String,
    /// Where people find the registry.
    pub(crate) address: Option<String>,
    /// The private server; it ends with this.
    pub(crate) server: Option<PrivateServer>,
    /// The configured Redis, where it did not answer and is done without.
    pub(super) fallback: Option<MissingRedis>,
}

/// Chooses the engines; `None` where it was told to end meanwhile.
pub(crate) async fn choose(context: &ServeContext) -> anyhow::Result<Option<Engines>> {
    let redis = &context.config.redis;
    if context.config.single_process {
        return single_process(context, "single_process is set").map(Some);
    }
    if let Some(url) = &redis.url {
        return configured(context, url).await;
    }
    let path = std::env::var_os("PATH");
    let muster = std::env::current_exe().ok();
    match find_server(redis.server.as_deref(), path.as_deref(), &context.config.data_dir, muster.as_deref()) {
        Some(program) => private(context, &program).await.map(Some),
        None => {
            single_process(context, "no Redis is configured, and no valkey-server or redis-server was found").map(Some)
        }
    }
}

async fn configured(context: &ServeContext, url: &str) -> anyhow::Result<Option<Engines>> {
    let shown = redact_url(url);
    let RedisConfig { prefix, roots, .. } = &context.config.redis;
    let target = RegistryTarget { url: url.to_owned(), prefix: prefix.clone(), roots: roots.clone() };
    let reason = "a Redis is configured".to_owned();
    let engines = processes(context, target, reason, shown.clone(), None)?;
    let mut told = false;
    while let Err(error) = engines.registry.examine().await {
        if context.config.redis.fallback == muster_config::Fallback::SingleProcess {
            let reason = format!("the Redis at {shown} {}, and redis.fallback says so", failure(&error));
            let heal = context.config.redis.fallback_heal;
            let fallback = MissingRedis { registry: engines.registry.clone(), shown, heal };
            return Ok(Some(Engines { fallback: Some(fallback), ..single_process(context, &reason)? }));
        }
        if !told {
            tracing::warn!(%error, "waiting for the Redis at {shown}");
            told = true;
        }
        context.state.set(waiting("registry_away", &format!("the Redis at {shown} {}", failure(&error))));
        if context.signals.stop_within(RETRY).await {
            return Ok(None);
        }
    }
    Ok(Some(engines))
}

fn failure(error: &RegistryError) -> String {
    match error {
        RegistryError::Refused(why) => format!("can't be used: {why}"),
        error => format!("does not answer: {error}"),
    }
}

async fn private(context: &ServeContext, program: &Path) -> anyhow::Result<Engines> {
    let plan = ServerPlan {
        program: program.to_owned(),
        folder: context.config.data_dir.join("redis"),
        max_clients: MAX_CLIENTS,
        worker_logs: worker_logs(context),
    };
    let socket = plan.socket()?;
    let told = |end: Option<String>| match end {
        Some(reason) => tracing::error!(reason, "the private Redis is away"),
        None => tracing::info!("the private Redis is back"),
    };
    let server = PrivateServer::start(context.spawner.clone(), plan, told)
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    let socket = socket.display().to_string();
    let target =
        RegistryTarget { url: server.url().to_owned(), prefix: context.config.redis.prefix.clone(), roots: None };
    let reason = format!("a private {} runs", program.display());
    processes(context, target, reason, socket, Some(server))
}

fn processes(
    context: &ServeContext,
    target: RegistryTarget,
    reason: String,
    address: String,
    server: Option<PrivateServer>,
) -> anyhow::Result<Engines> {
    let redis = RedisRegistry::connect(&target, RedisOptions::default())?;
    Ok(Engines {
        registry: Arc::new(redis.clone()),
        bus: Arc::new(redis),
        launchers: Launchers::local(Arc::new(process_launcher(context))),
        target,
        mode: Mode::MultiProcess,
        reason,
        address: Some(address),
        server,
        fallback: None,
    })
}

fn process_launcher(context: &ServeContext) -> ProcessLauncher {
    ProcessLauncher::new(context.spawner.clone(), context.config.data_dir.clone())
}

fn worker_logs(context: &ServeContext) -> PathBuf {
    context.config.data_dir.join("logs").join("workers")
}

fn single_process(context: &ServeContext, reason: &str) -> anyhow::Result<Engines> {
    let memory = MemoryRegistry::new();
    let (registry, bus): (Arc<dyn Registry>, Arc<dyn Bus>) = (Arc::new(memory.clone()), Arc::new(memory));
    let launcher = ClosureLauncher::new(entry(registry.clone(), bus.clone())?, process_launcher(context))?;
    Ok(Engines {
        registry,
        bus,
        launchers: Launchers::local(Arc::new(launcher)),
        target: RegistryTarget { url: "memory".to_owned(), prefix: String::new(), roots: None },
        mode: Mode::SingleProcess,
        reason: reason.to_owned(),
        address: None,
        server: None,
        fallback: None,
    })
}

/// The worker's entry for single-process mode: the supervisor does not know the worker's crate.
fn entry(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>) -> anyhow::Result<WorkerEntry> {
    let identity = WorkerIdentity::from(identity::own()?);
    Ok(Box::new(move |orders: WorkerOrders| {
        let stop = StopSign::new();
        let (asked, killed) = (stop.clone(), stop.clone());
        let deps = WorkerDeps {
            registry: registry.clone(),
            bus: bus.clone(),
            identity: identity.clone(),
            probe_socket: ProbeSocket::closed(),
            alarm: Alarm::of_runtime(),
            stop,
            in_process: true,
        };
        let id = orders.process_id;
        ClosureWorker {
            run: Box::pin(async move {
                match muster_worker::run(orders, deps).await {
                    Ok(exit) => tracing::debug!(process.id = %id, ?exit, "a worker's task ended"),
                    Err(error) => tracing::error!(process.id = %id, %error, "a worker's task failed"),
                }
            }),
            ask: Box::new(move || asked.drain()),
            kill: Box::new(move || killed.kill()),
        }
    }))
}
