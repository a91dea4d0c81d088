//! The handle's calls about pools.

use std::sync::Arc;

use muster_domain::lengths::{MAX_ROLE_TYPE, check_length};
use muster_domain::{EventDraft, EventKind, Gate, PoolName, PoolOrigin, PoolSpec, Timestamp, plain, runtime, schema};
use muster_store::{Outcome, PoolRow, Write};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

use crate::context::Context;
use crate::directory::{Entry, LiveSpec};
use crate::error::SupervisorError;
use crate::handle::{Handle, ask, read};
use crate::keeper::Keeper;
use crate::keeper::mailbox::Ask;
use crate::request::NewPool;
use crate::view::PoolView;

/// Pools are made and changed one at a time, so that two changes of one pool do not overwrite each other.
pub(crate) type PoolLock = Mutex<()>;

impl Handle {
    /// Every pool, by name.
    pub async fn pools(&self) -> Result<Vec<PoolView>, SupervisorError> {
        let mut views = Vec::new();
        for (_, keeper) in self.context.directory.all() {
            // One that ends meanwhile is a pool that is gone.
            if let Ok(view) = read(&keeper, Keeper::view_pool).await {
                views.push(view);
            }
        }
        Ok(views)
    }

    /// One pool.
    pub async fn pool(&self, name: &PoolName) -> Result<PoolView, SupervisorError> {
        read(&self.keeper(name)?, Keeper::view_pool).await
    }

    /// Makes a pool.
    pub async fn create_pool(&self, pool: NewPool) -> Result<PoolView, SupervisorError> {
        let _alone = self.context.pool_lock.lock().await;
        let runtime = pool.runtime.unwrap_or_else(|| runtime::ECHO.to_owned());
        let spec = PoolSpec {
            pool_name: pool.pool_name,
            role_type: pool.role_type,
            runtime,
            config: pool.config,
            origin: PoolOrigin::Api,
        };
        self.check_spec(&spec)?;
        if self.context.directory.get(&spec.pool_name).is_some() {
            return Err(SupervisorError::PoolExists(spec.pool_name));
        }
        self.context.board.may_store()?;
        let at = Timestamp::now();
        let event = pool_event(EventKind::PoolCreated, &spec.pool_name, at);
        let writes = [Write::AddPool { spec: spec.clone(), at }, Write::Event(event)];
        match self.context.apply(&writes).await?.first() {
            Some(Outcome::Applied) => {}
            Some(Outcome::Refused(why)) => return Err(SupervisorError::unstorable(why)),
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
        };
        open(&self.context, row, Vec::new(), Vec::new());
        tracing::info!(pool.name = %name, "a pool was made");
        self.pool(&name).await
    }

    /// Changes a pool's bounds by a JSON merge patch: null is back to the default. What runs is not touched: new bounds count for
    /// what is started next.
    pub async fn change_pool(&self, name: &PoolName, patch: &Value) -> Result<PoolView, SupervisorError> {
        let _alone = self.context.pool_lock.lock().await;
        let keeper = self.keeper(name)?;
        let spec = self.spec(name)?;
        if spec.origin == PoolOrigin::File {
            return Err(SupervisorError::PoolOfFile(name.clone()));
        }
        let config = schema::changed(&spec.config, patch).map_err(|error| {
            SupervisorError::Invalid(format!("{}: {}", error.path(), plain(&error.inner().to_string())))
        })?;
        let spec = PoolSpec { config, ..PoolSpec::clone(&spec) };
        self.check_spec(&spec)?;
        self.context.board.may_store()?;
        ask(&keeper, |reply| Ask::Change { spec: Arc::new(spec), reply }).await?
    }

    /// Stops a pool's agents (`graceful`: asks them first) and removes it; returns when it is gone.
    pub async fn remove_pool(&self, name: &PoolName, graceful: bool) -> Result<(), SupervisorError> {
        let keeper = self.keeper(name)?;
        if self.spec(name)?.origin == PoolOrigin::File {
            return Err(SupervisorError::PoolOfFile(name.clone()));
        }
        if let Some(error) = self.context.board.refusal() {
            return Err(error);
        }
        ask(&keeper, |reply| Ask::Remove { graceful, reply }).await?
    }

    fn check_spec(&self, spec: &PoolSpec) -> Result<(), SupervisorError> {
        check_spec(spec, &self.context)
    }

    /// What a pool is, as it is in force.
    pub(crate) fn spec(&self, pool: &PoolName) -> Result<Arc<PoolSpec>, SupervisorError> {
        let entry = self.context.directory.get(pool);
        entry.map(|entry| entry.spec.get()).ok_or_else(|| SupervisorError::UnknownPool(pool.to_string()))
    }
}

fn check_spec(spec: &PoolSpec, context: &Context) -> Result<(), SupervisorError> {
    spec.config.validate().map_err(SupervisorError::Invalid)?;
    check_length("role_type", &spec.role_type, MAX_ROLE_TYPE).map_err(SupervisorError::Invalid)?;
    let interval = spec.config.health_check_interval;
    interval
        .map_or(Ok(()), |interval| context.settings.clocks.check_interval(interval))
        .map_err(SupervisorError::Invalid)?;
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
    workers: Vec<crate::keeper::Found>,
) {
    let (mailbox, inbox) = mpsc::unbounded_channel();
    let name = row.spec.pool_name.clone();
    let spec = LiveSpec::new(Arc::new(row.spec.clone()));
    let entry = Entry { mailbox: mailbox.clone(), spec: spec.clone() };
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
