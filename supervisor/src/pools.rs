//! What callers ask about pools.

use std::sync::Arc;

use muster_domain::lengths::{MAX_ROLE_TYPE, check_length};
use muster_domain::pool::PoolMistake;
use muster_domain::scaling::WorkerTarget;
use muster_domain::{
    EventDraft, EventKind, Gate, PoolConfig, PoolName, PoolOrigin, PoolSpec, Principal, Timestamp, counted, plain,
    runtime, schema,
};
use muster_store::{PoolRow, Write, WriteOutcome};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::access;
use crate::context::Context;
use crate::directory::{LiveSpec, PoolEntry, ask, read, read_at_turn_end};
use crate::error::SupervisorError;
use crate::keeper::Keeper;
use crate::keeper::mailbox::KeeperMessage;
use crate::prometheus::TaskTotals;
use crate::request::NewPool;
use crate::view::{PoolView, QueueView};

/// The pools and their queues. Cloneable.
#[derive(Clone)]
pub struct Pools {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
}

impl Pools {
    /// Every pool, by name.
    pub async fn list(&self) -> Vec<PoolView> {
        let mut views = Vec::new();
        for (_, keeper) in self.context.directory.all() {
            // One that ends meanwhile is a pool that is gone.
            if let Ok(view) = read(&keeper, Keeper::view_pool).await {
                views.push(view);
            }
        }
        views
    }

    /// One pool.
    pub async fn get(&self, name: &PoolName) -> Result<PoolView, SupervisorError> {
        read(&self.context.directory.keeper(name)?, Keeper::view_pool).await
    }

    /// The queues of all pools, by name.
    pub async fn queues(&self) -> Result<Vec<QueueView>, SupervisorError> {
        let mut queues = Vec::new();
        for (pool, keeper) in self.context.directory.all() {
            // One that has gone meanwhile has no queue.
            let Ok(queue) = read_at_turn_end(&keeper, Keeper::view_queue).await else { continue };
            let counts = self.context.store.queue_counts(&pool).await;
            let counts = counts.map_err(|error| self.context.store_failed(&error))?;
            let depth = queue.depth.saturating_sub(counts.delayed);
            queues.push(QueueView { depth, delayed: counts.delayed, dead: counts.dead, ..queue });
        }
        Ok(queues)
    }

    /// What the tasks of all pools came to, by name: each since its keeper began.
    pub async fn task_totals(&self) -> Vec<(PoolName, TaskTotals)> {
        let mut totals = Vec::new();
        for (pool, keeper) in self.context.directory.all() {
            // One that ends meanwhile is a pool that is gone.
            if let Ok(of_pool) = read(&keeper, Keeper::task_totals).await {
                totals.push((pool, of_pool));
            }
        }
        totals
    }

    /// Makes a pool.
    pub async fn create(&self, pool: NewPool) -> Result<PoolView, SupervisorError> {
        let _alone = self.context.directory.pool_lock.lock().await;
        let runtime = pool.runtime.unwrap_or_else(|| runtime::ECHO.to_owned());
        let spec = PoolSpec {
            pool_name: pool.pool_name,
            role_type: pool.role_type,
            runtime,
            config: pool.config,
            origin: PoolOrigin::Api,
        };
        check_spec(&spec, &self.context)?;
        if self.context.directory.get(&spec.pool_name).is_some() {
            return Err(SupervisorError::PoolExists(spec.pool_name));
        }
        self.context.reporting.health.may_store()?;
        let at = self.context.settings.wall.now();
        let event = pool_event(EventKind::PoolCreated, &spec.pool_name, at);
        let writes = [Write::AddPool { spec: spec.clone(), at }, Write::Event(event)];
        match self.context.apply(&writes).await?.first() {
            Some(WriteOutcome::Applied) => {}
            Some(WriteOutcome::Refused(why)) => return Err(SupervisorError::unstorable(why)),
            _ => return Err(SupervisorError::PoolExists(spec.pool_name)),
        }
        let name = spec.pool_name.clone();
        let row = PoolRow {
            spec,
            draining: false,
            created_at: at,
            workers_spawned: 0,
            workers_terminated: 0,
            gate: Gate::default(),
            target: WorkerTarget::default(),
        };
        open(&self.context, row, Vec::new(), Vec::new());
        tracing::info!(pool.name = %name, "a pool was made");
        self.get(&name).await
    }

    /// Changes a pool's bounds by a JSON merge patch: null is back to the default. What runs is not touched: new bounds count for
    /// what is started next.
    pub async fn change(&self, name: &PoolName, patch: &Value) -> Result<PoolView, SupervisorError> {
        let _alone = self.context.directory.pool_lock.lock().await;
        let keeper = self.context.directory.keeper(name)?;
        let spec = self.context.directory.spec(name)?;
        if spec.origin == PoolOrigin::File {
            return Err(SupervisorError::PoolOfFile(name.clone()));
        }
        let config = schema::changed(&spec.config, patch).map_err(|error| {
            SupervisorError::Invalid(format!("{}: {}", error.path(), plain(&error.inner().to_string())))
        })?;
        let spec = PoolSpec { config, ..PoolSpec::clone(&spec) };
        check_spec(&spec, &self.context)?;
        self.context.reporting.health.may_store()?;
        ask(&keeper, |reply| KeeperMessage::Change { spec: Arc::new(spec), reply }).await?
    }

    /// Says how many workers a pool is to have from now on, whatever its tasks need, or (none) that they are started as agents need them.
    /// Pools of the configuration file too: it is no change of their configuration. Answers the pool as it is when its turn is through.
    ///
    /// # Errors
    /// [`SupervisorError::Invalid`] outside of the pool's bounds.
    pub async fn scale(&self, name: &PoolName, target: Option<u32>) -> Result<PoolView, SupervisorError> {
        let keeper = self.context.directory.keeper(name)?;
        // They may change meanwhile: the target in force is within them whatever was said.
        let config = self.context.directory.spec(name)?.config.clone();
        if let Some(target) = target {
            check_target(target, &config).map_err(SupervisorError::Invalid)?;
        }
        self.context.reporting.health.may_store()?;
        let by = access::by(&self.principal);
        let words = match target {
            Some(target) => format!("{by} wants {}", counted(target.into(), "worker")),
            None => format!("{by} releases it: workers are started as agents need them"),
        };
        ask(&keeper, |reply| KeeperMessage::Scale { target, words, reply }).await??;
        read_at_turn_end(&keeper, Keeper::view_pool).await
    }

    /// Stops a pool's agents (`graceful`: asks them first) and removes it; returns when it is gone.
    pub async fn remove(&self, name: &PoolName, graceful: bool) -> Result<(), SupervisorError> {
        let keeper = self.context.directory.keeper(name)?;
        if self.context.directory.spec(name)?.origin == PoolOrigin::File {
            return Err(SupervisorError::PoolOfFile(name.clone()));
        }
        if let Some(error) = self.context.reporting.health.refusal() {
            return Err(error);
        }
        ask(&keeper, |reply| KeeperMessage::Remove { graceful, reply }).await?
    }
}

/// Says what is wrong with a number of workers.
fn check_target(target: u32, config: &PoolConfig) -> Result<(), String> {
    let (min_workers, max_workers) = (config.least_workers(), config.most_workers());
    let most = if max_workers == 0 { MOST_WORKERS } else { max_workers };
    if (min_workers..=most).contains(&target) {
        return Ok(());
    }
    let bound = if max_workers == 0 { "the most there may be" } else { "max_workers" };
    Err(format!("target_workers is {min_workers} (min_workers) to {most} ({bound}), not {target}"))
}

/// Workers that a pool without a bound may be scaled to: as many as min_workers may be.
const MOST_WORKERS: u32 = 10_000;

fn check_spec(spec: &PoolSpec, context: &Context) -> Result<(), SupervisorError> {
    let launchers = context.launchers.names();
    spec.config.check_under(&context.settings.clocks, &launchers).map_err(|mistake| match mistake {
        PoolMistake::Bounds(message) | PoolMistake::Interval(message) => SupervisorError::Invalid(message),
        PoolMistake::UnknownLauncher { name, known } => SupervisorError::UnknownLauncher { name, known },
    })?;
    check_length("role_type", &spec.role_type, MAX_ROLE_TYPE).map_err(SupervisorError::Invalid)?;
    if !context.settings.profiles.contains_key(&spec.runtime) {
        return Err(SupervisorError::UnknownRuntime {
            name: spec.runtime.clone(),
            known: context.settings.profiles.keys().cloned().collect(),
        });
    }
    Ok(())
}

pub(crate) fn pool_event(kind: EventKind, pool: &PoolName, at: Timestamp) -> EventDraft {
    EventDraft { at, kind, pool_name: Some(pool.clone()), agent_id: None, process_id: None, reason: String::new() }
}

/// Starts the keeper of a pool.
pub(crate) fn open(
    context: &Arc<Context>,
    row: PoolRow,
    agents: Vec<muster_store::AgentRow>,
    workers: Vec<crate::keeper::FoundWorker>,
) {
    let (mailbox, inbox) = mpsc::unbounded_channel();
    let name = row.spec.pool_name.clone();
    let spec = LiveSpec::new(Arc::new(row.spec.clone()));
    let entry = PoolEntry { mailbox: mailbox.clone(), spec: spec.clone() };
    let keeper = Keeper::new(context.clone(), mailbox, (row, spec), agents, workers);
    context.directory.insert(name.clone(), entry);
    let context = context.clone();
    tokio::spawn(async move {
        let end = tokio::spawn(keeper.run(inbox)).await;
        if let Err(error) = end {
            // Its model is gone with it. A successor reads the truth again; the agents do not notice.
            tracing::error!(pool.name = %name, %error, "a keeper failed; this supervisor gives up its lead");
            context.fenced.cancel();
        }
    });
}
