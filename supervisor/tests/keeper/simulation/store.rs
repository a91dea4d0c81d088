//! The store of a life: in memory, with waits that the life's seed says; where wanted with SQLite beside it, which must give
//! the same answer to every question.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use muster_domain::budget::Scope;
use muster_domain::{AgentId, Executions, Fence, Payload, PoolName, ProcessId, TaskId, Timestamp, Usage};
use muster_store::sqlite::SqliteStore;
use muster_store::{
    AgentFilter, AgentRow, Durability, EventRow, IdempotencyKey, Leadership, Life, LineRow, Outcome, Piece, PoolRow,
    Pruned, Queue, QueueCounts, QueuedTask, RunningTask, Store, StoreError, TaskFilter, TaskRow, WorkerRow, Write,
};

use super::memory::Content;

/// SQLite, asked from outside of the runtime whose time is virtual: its answers take no time there.
pub(super) struct Twin {
    runtime: tokio::runtime::Runtime,
    store: Arc<SqliteStore>,
    _dir: tempfile::TempDir,
}

impl Twin {
    /// To be made and dropped outside of any runtime.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let path = dir.path().join("muster.db");
        let store = runtime.block_on(SqliteStore::open(&path, Durability::Process)).expect("a store");
        Self { runtime, store: Arc::new(store), _dir: dir }
    }

    fn ask<T, F>(&self, call: impl FnOnce(Arc<SqliteStore>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (tell, answer) = mpsc::channel();
        let call = call(self.store.clone());
        self.runtime.spawn(async move { tell.send(call.await) });
        answer.recv().expect("an answer")
    }
}

pub(super) struct LifeStore {
    content: Mutex<Content>,
    twin: Option<Arc<Twin>>,
    rng: Mutex<Rng>,
}

/// Both engines give the same answer.
fn same<T: PartialEq + Debug>(what: &str, ours: &T, theirs: Result<T, StoreError>) {
    let theirs = theirs.expect("SQLite answers");
    assert_eq!(*ours, theirs, "{what}: in memory, and in SQLite");
}

/// Asks both engines the same question.
macro_rules! both {
    ($self:ident, $what:literal, $ours:expr, |$store:ident| $theirs:expr) => {{
        $self.wait().await;
        let ours = $ours;
        if let Some(twin) = &$self.twin {
            same($what, &ours, twin.ask(move |$store| async move { $theirs.await }));
        }
        Ok(ours)
    }};
}

impl LifeStore {
    pub(super) fn new(twin: Option<Arc<Twin>>, rng: Rng) -> Self {
        Self { content: Mutex::default(), twin, rng: Mutex::new(rng) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer takes its time, or not.
    async fn wait(&self) {
        let luck = self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..64);
        match luck {
            0 => tokio::time::sleep(Duration::from_millis(400)).await,
            1..4 => tokio::time::sleep(Duration::from_millis(luck * 5)).await,
            4..20 => tokio::task::yield_now().await,
            _ => {}
        }
    }
}

#[async_trait]
impl Store for LifeStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }
    async fn lead(&self, holder: &str, address: &str, lease: Duration) -> Result<Leadership, StoreError> {
        let ours = || {
            let mut content = self.content();
            (content.fence, content.led) = (content.fence + 1, true);
            Leadership::Leads(Fence(content.fence))
        };
        let (holder, address) = (holder.to_owned(), address.to_owned());
        both!(self, "lead", ours(), |store| store.lead(&holder, &address, lease))
    }
    async fn renew(&self, fence: Fence, _lease: Duration) -> Result<(), StoreError> {
        self.content().admit(fence)
    }
    async fn resign(&self, fence: Fence) -> Result<(), StoreError> {
        let ours = || {
            let mut content = self.content();
            content.led &= content.fence != fence.0;
        };
        both!(self, "resign", ours(), |store| store.resign(fence))
    }
    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        self.wait().await;
        let ours = self.content().apply(fence, writes);
        if let Some(twin) = &self.twin {
            let copy = writes.to_vec();
            let theirs = twin.ask(move |store| async move { store.apply(fence, &copy).await });
            match &ours {
                Ok(ours) => assert_eq!(Some(ours), theirs.as_ref().ok(), "{writes:?}: in memory, and {theirs:?}"),
                Err(_) => assert!(matches!(theirs, Err(StoreError::Fenced { .. })), "{theirs:?}"),
            }
        }
        self.wait().await;
        ours
    }
    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        both!(self, "pools", self.content().pools.values().cloned().collect::<Vec<_>>(), |store| store.pools())
    }
    async fn all_paused(&self) -> Result<bool, StoreError> {
        both!(self, "all_paused", self.content().paused, |store| store.all_paused())
    }
    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let open = |row: &&WorkerRow| row.ended_at.is_none();
        let ours = || self.content().workers.values().filter(open).cloned().collect::<Vec<_>>();
        both!(self, "open_workers", ours(), |store| store.open_workers())
    }
    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        both!(self, "worker", self.content().workers.get(&id).cloned(), |store| store.worker(id))
    }
    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError> {
        let name = pool.cloned();
        let fits = |row: &&WorkerRow| {
            let of_pool = pool.is_none_or(|pool| row.pool_name == *pool);
            row.ended_at.is_some() && of_pool && before.is_none_or(|before| row.process_id < before)
        };
        let ours = || -> Vec<WorkerRow> {
            let mut rows: Vec<_> = self.content().workers.values().filter(fits).cloned().collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.process_id));
            rows.truncate(limit as usize);
            rows
        };
        both!(
            self,
            "ended_workers",
            ours(),
            |store| async move { store.ended_workers(name.as_ref(), before, limit).await }
        )
    }
    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        both!(self, "live_agents", self.content().live_agents(), |store| store.live_agents())
    }
    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        both!(self, "agent", self.content().agent(id), |store| store.agent(id))
    }
    async fn key_holder(&self, _key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError> {
        // No agent of a life has a key.
        Ok(None)
    }
    async fn agents(
        &self,
        _filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError> {
        let live = self.content().live_agents().into_iter();
        Ok(live.filter(|row| after.is_none_or(|after| row.spec.agent_id > after)).take(limit as usize).collect())
    }
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let content = self.content();
        Ok(content.events.iter().filter(|row| row.seq > after).take(limit as usize).cloned().collect())
    }
    async fn event_bounds(&self) -> Result<(u64, u64), StoreError> {
        let last = self.content().events.len() as u64;
        Ok((last.min(1), last))
    }
    async fn prune(&self, fence: Fence, _events: Timestamp, _ended: Timestamp) -> Result<Pruned, StoreError> {
        // A life is too short for anything to be old.
        self.content().admit(fence).map(|()| Pruned::default())
    }
    async fn lives(&self) -> Result<Vec<Life>, StoreError> {
        both!(self, "lives", self.content().lives(), |store| store.lives())
    }
    async fn prune_lives(&self, fence: Fence, _oldest: Life) -> Result<(), StoreError> {
        self.content().admit(fence)
    }
    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        both!(self, "bring back", self.content().bring_back(fence, to)?, |store| store.bring_back(fence, to))
    }
    async fn ping(&self) -> Result<Duration, StoreError> {
        Ok(Duration::ZERO)
    }
    async fn close(&self) {}
}

#[async_trait]
impl Queue for LifeStore {
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        both!(self, "task", self.content().shelf.task(id), |store| store.task(id))
    }
    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        let copy = filter.clone();
        both!(self, "tasks", self.content().shelf.page(filter, after, limit), |store| store.tasks(&copy, after, limit))
    }
    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError> {
        let copy = key.clone();
        both!(self, "task_key_holder", self.content().shelf.holder(key), |store| store.task_key_holder(&copy))
    }
    async fn task_lines(&self, pool: &PoolName) -> Result<Vec<LineRow>, StoreError> {
        let copy = pool.clone();
        both!(self, "task_lines", self.content().shelf.lines(pool), |store| async move {
            let mut lines = store.task_lines(&copy).await?;
            lines.sort();
            Ok(lines)
        })
    }
    async fn pieces(&self, pool: &PoolName, pieces: &[Piece]) -> Result<Vec<Vec<QueuedTask>>, StoreError> {
        let (name, copy) = (pool.clone(), pieces.to_vec());
        let ours = || pieces.iter().map(|piece| self.content().shelf.piece(pool, piece)).collect::<Vec<_>>();
        both!(self, "pieces", ours(), |store| store.pieces(&name, &copy))
    }
    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError> {
        let copy = pool.clone();
        both!(self, "running_tasks", self.content().shelf.running_tasks(pool), |store| store.running_tasks(&copy))
    }
    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        let copy = pool.clone();
        both!(self, "due_tasks", self.content().shelf.due(pool, by, limit), |store| store.due_tasks(&copy, by, limit))
    }
    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let copy = pool.clone();
        both!(self, "next_due", self.content().shelf.next_due(pool, after), |store| store.next_due(&copy, after))
    }
    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        let copy = pool.clone();
        let ours = || self.content().shelf.expired(pool, by, limit);
        both!(self, "expired_tasks", ours(), |store| store.expired_tasks(&copy, by, limit))
    }
    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let copy = pool.clone();
        both!(self, "next_expiry", self.content().shelf.next_expiry(pool, after), |store| store
            .next_expiry(&copy, after))
    }
    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        let copy = pool.clone();
        let ours = || self.content().shelf.of_agent(pool, agent, limit);
        both!(self, "tasks_for", ours(), |store| store.tasks_for(&copy, agent, limit))
    }
    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError> {
        let mut ids = tasks.to_vec();
        ids.sort_unstable();
        let copy = ids.clone();
        let ours = || -> Vec<(TaskId, Payload)> {
            let content = self.content();
            ids.iter().filter_map(|id| Some((*id, content.shelf.task(*id)?.input))).collect()
        };
        both!(self, "inputs", ours(), |store| async move {
            let mut inputs = store.inputs(&copy).await?;
            inputs.sort_by_key(|(id, _)| *id);
            Ok(inputs)
        })
    }
    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        let copy = after.to_owned();
        let ours = || -> Vec<(String, Usage)> {
            let content = self.content();
            let of_scope = content.usage.iter().filter(|((of, name), _)| *of == scope && name.as_str() > after);
            of_scope.take(limit as usize).map(|((_, name), usage)| (name.clone(), *usage)).collect()
        };
        both!(self, "usage", ours(), |store| store.usage(scope, &copy, limit))
    }
    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError> {
        let copy = tenant.to_owned();
        let ours = || self.content().shelf.made_since(tenant, since);
        both!(self, "made_since", ours(), |store| store.made_since(&copy, since))
    }
    async fn executions(&self) -> Result<Executions, StoreError> {
        both!(self, "executions", self.content().executions, |store| store.executions())
    }
    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError> {
        let copy = pool.clone();
        both!(self, "queue_counts", self.content().shelf.counts(pool), |store| store.queue_counts(&copy))
    }
}
