//! The [`Store`] over any engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use muster_domain::scaling::ScalingRecord;
use muster_domain::{AgentId, DecisionId, Fence, PoolName, ProcessId, Timestamp};

use crate::commit::Committer;
use crate::sql::{Engine, RowFields, Statement, TransactionMode};
use crate::{
    AgentFilter, AgentRow, EventRow, IdempotencyKey, Leadership, LifeRow, PoolRow, Pruned, Store, StoreError,
    WorkerRow, Write, WriteOutcome, agent_rows, agents, decisions, events, keys, leader, lives, pools, tasks, usage,
    workers,
};

/// Rows that one step of [`Store::prune`] and the like changes at the most, so that writers in between wait a few milliseconds.
const FEW: u32 = 500;

/// A store over one engine: [`SqliteStore`](crate::sqlite::SqliteStore) or
/// [`PostgresStore`](crate::postgres::PostgresStore).
#[derive(Debug)]
pub struct SqlStore<E> {
    engine: Arc<E>,
    committer: Committer,
}

impl<E: Engine> SqlStore<E> {
    pub(crate) fn over(engine: E) -> Self {
        let engine = Arc::new(engine);
        let committer = Committer::start(Arc::clone(&engine));
        Self { engine, committer }
    }

    pub(crate) async fn all<T>(
        &self,
        step: Statement,
        read: fn(RowFields) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.engine.read(step).await?.into_iter().map(|row| read(row.into_fields())).collect()
    }

    /// Reads with each of these steps.
    pub(crate) async fn each<T>(
        &self,
        steps: Vec<Statement>,
        read: fn(RowFields) -> Result<T, StoreError>,
    ) -> Result<Vec<Vec<T>>, StoreError> {
        let answers = self.engine.read_all(steps).await?.into_iter();
        answers.map(|rows| rows.into_iter().map(|row| read(row.into_fields())).collect()).collect()
    }

    pub(crate) async fn first<T>(
        &self,
        step: Statement,
        read: fn(RowFields) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.engine.read(step).await?.into_iter().next().map(|row| read(row.into_fields())).transpose()
    }

    /// Commits these steps, whatever they change.
    pub(crate) async fn commit_steps(
        &self,
        fence: Fence,
        steps: Vec<Statement>,
        mode: TransactionMode,
    ) -> Result<(), StoreError> {
        let steps = steps.into_iter().map(Arc::new).collect();
        self.engine.commit(fence, steps, mode).await.map(drop)
    }

    /// Repeats steps until the last of them finds fewer rows than it may change. `take` is given those that it returned; says how
    /// many it has changed.
    async fn exhaust(
        &self,
        fence: Fence,
        steps: Vec<Statement>,
        mut take: impl FnMut(RowFields) -> Result<(), StoreError> + Send,
    ) -> Result<u64, StoreError> {
        let steps: Vec<Arc<Statement>> = steps.into_iter().map(Arc::new).collect();
        let mut changed = 0;
        loop {
            let answer =
                self.engine.commit(fence, steps.clone(), TransactionMode::Together).await?.pop().unwrap_or_default();
            changed += answer.changed;
            for row in answer.rows {
                take(row.into_fields())?;
            }
            if answer.changed < u64::from(FEW) {
                return Ok(changed);
            }
        }
    }
}

#[async_trait]
impl<E: Engine> Store for SqlStore<E> {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    async fn lead(&self, holder: &str, address: &str, lease: Duration) -> Result<Leadership, StoreError> {
        leader::lead(&*self.engine, holder, address, lease).await
    }

    async fn renew(&self, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        leader::renew(&*self.engine, fence, lease).await
    }

    async fn resign(&self, fence: Fence) -> Result<(), StoreError> {
        leader::resign(&*self.engine, fence).await
    }

    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        self.committer.apply(fence, writes).await
    }

    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        self.all(pools::all(), pools::read).await
    }

    async fn all_paused(&self) -> Result<bool, StoreError> {
        Ok(self.first(pools::all_paused(), |mut fields| fields.int()).await?.is_some_and(|paused| paused != 0))
    }

    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.all(workers::open(), workers::read).await
    }

    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        self.first(workers::one(id), workers::read).await
    }

    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError> {
        self.all(workers::ended(pool, before, limit), workers::read).await
    }

    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.all(agent_rows::live(), agent_rows::read).await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.first(agent_rows::one(id), agent_rows::read).await
    }

    async fn key_holder(&self, key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError> {
        self.first(keys::holder(key), keys::read).await
    }

    async fn agents(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError> {
        self.all(agent_rows::page(filter, after, limit), agent_rows::read).await
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.all(events::after(after, limit), events::read).await
    }

    async fn decisions(
        &self,
        pool: &PoolName,
        before: Option<DecisionId>,
        limit: u32,
    ) -> Result<Vec<ScalingRecord>, StoreError> {
        self.all(decisions::page(pool, before, limit), decisions::read).await
    }

    async fn event_bounds(&self) -> Result<(u64, u64), StoreError> {
        let bounds = self.first(events::bounds(), |mut fields| Ok((fields.count()?, fields.count()?))).await?;
        bounds.ok_or_else(|| StoreError::Corrupt("the mark of the events is missing".to_owned()))
    }

    async fn prune(
        &self,
        fence: Fence,
        events_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<Pruned, StoreError> {
        let first_young = self.first(events::first_young(events_before), |mut fields| fields.count()).await?;
        let (mut pruned, nobody) = (Pruned::default(), |_: RowFields| Ok(()));
        pruned.others += self.exhaust(fence, events::prune(first_young.unwrap_or(0), FEW), nobody).await?;
        pruned.others += self.exhaust(fence, vec![keys::prune(events_before, FEW)], nobody).await?;
        let old_agents = agents::prune(ended_before, FEW);
        self.exhaust(fence, old_agents, |mut row| row.parsed().map(|agent| pruned.agents.push(agent))).await?;
        let old_workers = vec![workers::prune(ended_before, FEW)];
        self.exhaust(fence, old_workers, |mut row| row.parsed().map(|worker| pruned.workers.push(worker))).await?;
        pruned.others += self.exhaust(fence, vec![usage::prune(FEW)], nobody).await?;
        pruned.others += self.exhaust(fence, vec![decisions::prune(ended_before, FEW)], nobody).await?;
        pruned.tasks = self.exhaust(fence, tasks::prune(ended_before, FEW), nobody).await?;
        self.engine.shrink().await?;
        Ok(pruned)
    }

    async fn lives(&self) -> Result<Vec<LifeRow>, StoreError> {
        self.all(lives::all(), lives::read).await
    }

    async fn prune_lives(&self, fence: Fence, oldest: LifeRow) -> Result<(), StoreError> {
        self.exhaust(fence, vec![lives::prune(&oldest, FEW)], |_| Ok(())).await.map(drop)
    }

    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        for step in lives::bring_back(to, FEW) {
            self.exhaust(fence, vec![step], |_| Ok(())).await?;
        }
        Ok(())
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        leader::read(self.engine.read(leader::current_step()).await?)?;
        Ok(start.elapsed())
    }

    fn warning(&self) -> Option<String> {
        self.engine.warning()
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}
