//! A store that fails when the test wants.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::budget::Scope;
use muster_domain::{AgentId, Executions, Fence, Payload, PoolName, ProcessId, TaskId, Timestamp, Usage};
use muster_store::{
    AgentFilter, AgentRow, EventRow, IdempotencyKey, Leadership, Life, LineRow, Outcome, Piece, PoolRow, Pruned, Queue,
    QueueCounts, QueuedTask, RunningTask, Store, StoreError, TaskFilter, TaskOutcome, TaskRow, WorkerRow, Write,
};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It goes through.
    Pass,
    /// It fails, and nothing is changed.
    Refuse,
    /// It goes through, and the caller is told that it failed.
    Lie,
    /// It goes through, but for ends of agents' runs and of attempts: these have a value that the store never takes.
    RefuseEnds,
}

type Judge = Box<dyn FnMut(&[Write]) -> Commit + Send>;

/// A store that fails on demand.
pub(crate) struct FaultyStore {
    pub(crate) inner: Arc<dyn Store>,
    judge: Mutex<Option<Judge>>,
    blind: AtomicBool,
    /// Whether workers are as an earlier version made them: without keys.
    keyless: AtomicBool,
    /// Calls that were tried while it is away.
    tried: AtomicU32,
    /// Reads of inputs that fail.
    hidden_inputs: AtomicU32,
    /// How long a read of inputs takes, in milliseconds.
    inputs_take: AtomicU32,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            judge: Mutex::default(),
            blind: AtomicBool::new(false),
            keyless: AtomicBool::new(false),
            tried: AtomicU32::new(0),
            hidden_inputs: AtomicU32::new(0),
            inputs_take: AtomicU32::new(0),
        }
    }

    /// From now on the workers that are there have no keys, as those of an earlier version.
    pub(crate) fn forget_keys(&self) {
        self.keyless.store(true, Ordering::SeqCst);
    }

    /// From now on each commit is judged so.
    pub(crate) fn judge(&self, judge: impl FnMut(&[Write]) -> Commit + Send + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(judge));
    }

    /// The next commit with a write like this has this end, all others go through. A batch is counted once.
    pub(crate) fn once(&self, like: impl Fn(&Write) -> bool + Send + 'static, end: Commit) {
        let mut done = false;
        self.judge(move |writes| {
            if done || !writes.iter().any(&like) {
                return Commit::Pass;
            }
            done = true;
            end
        });
    }

    /// Away: neither reads nor writes.
    pub(crate) fn leave(&self) {
        self.blind.store(true, Ordering::SeqCst);
        self.judge(|_| Commit::Refuse);
    }

    pub(crate) fn heal(&self) {
        self.blind.store(false, Ordering::SeqCst);
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How often somebody has tried to read or write while it was away.
    pub(crate) fn times_tried(&self) -> u32 {
        self.tried.load(Ordering::SeqCst)
    }

    /// The next so many reads of inputs fail.
    pub(crate) fn fail_inputs(&self, times: u32) {
        self.hidden_inputs.store(times, Ordering::SeqCst);
    }

    /// From now on reads of inputs take so long.
    pub(crate) fn slow_inputs(&self, millis: u32) {
        self.inputs_take.store(millis, Ordering::SeqCst);
    }

    fn see(&self) -> Result<(), StoreError> {
        if !self.blind.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.tried.fetch_add(1, Ordering::SeqCst);
        Err(away())
    }
}

impl FaultyStore {
    async fn apply_but_ends(&self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        let why = || "poisoned".into();
        let refusal = |write: &Write| match write {
            Write::EndTasks(endings) => {
                Some(Outcome::Tasks(endings.iter().map(|_| TaskOutcome::Refused(why())).collect()))
            }
            Write::Release { .. } => Some(Outcome::Refused(why())),
            _ => None,
        };
        let refusals: Vec<Option<Outcome>> = writes.iter().map(refusal).collect();
        let is_taken = |(write, refusal): (&Write, &Option<Outcome>)| refusal.is_none().then(|| write.clone());
        let taken: Vec<Write> = writes.iter().zip(&refusals).filter_map(is_taken).collect();
        let mut outcomes = self.inner.apply(fence, &taken).await?.into_iter();
        Ok(refusals.into_iter().filter_map(|refusal| refusal.or_else(|| outcomes.next())).collect())
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("the disk is full".into())
}

#[async_trait]
impl Store for FaultyStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn lead(&self, holder: &str, address: &str, lease: Duration) -> Result<Leadership, StoreError> {
        self.inner.lead(holder, address, lease).await
    }
    async fn renew(&self, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        self.see()?;
        self.inner.renew(fence, lease).await
    }
    async fn resign(&self, fence: Fence) -> Result<(), StoreError> {
        self.inner.resign(fence).await
    }
    async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        let end = match self.judge.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(judge) => judge(writes),
            None => Commit::Pass,
        };
        match end {
            Commit::Pass => self.inner.apply(fence, writes).await,
            Commit::Refuse => self.see().and(Err(away())),
            Commit::Lie => {
                self.inner.apply(fence, writes).await?;
                Err(away())
            }
            Commit::RefuseEnds => self.apply_but_ends(fence, writes).await,
        }
    }
    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        self.see()?;
        self.inner.pools().await
    }
    async fn all_paused(&self) -> Result<bool, StoreError> {
        self.see()?;
        self.inner.all_paused().await
    }
    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.see()?;
        let mut rows = self.inner.open_workers().await?;
        if self.keyless.load(Ordering::SeqCst) {
            rows.iter_mut().for_each(|row| row.key = None);
        }
        Ok(rows)
    }
    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        self.see()?;
        self.inner.worker(id).await
    }
    async fn ended_workers(
        &self,
        pool: Option<&PoolName>,
        before: Option<ProcessId>,
        limit: u32,
    ) -> Result<Vec<WorkerRow>, StoreError> {
        self.see()?;
        self.inner.ended_workers(pool, before, limit).await
    }
    async fn live_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.see()?;
        self.inner.live_agents().await
    }
    async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.see()?;
        self.inner.agent(id).await
    }
    async fn key_holder(&self, key: &IdempotencyKey) -> Result<Option<(AgentId, [u8; 32])>, StoreError> {
        self.see()?;
        self.inner.key_holder(key).await
    }
    async fn agents(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, StoreError> {
        self.inner.agents(filter, after, limit).await
    }
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.inner.events(after, limit).await
    }
    async fn event_bounds(&self) -> Result<(u64, u64), StoreError> {
        self.inner.event_bounds().await
    }
    async fn prune(&self, fence: Fence, events: Timestamp, ended: Timestamp) -> Result<Pruned, StoreError> {
        self.see()?;
        self.inner.prune(fence, events, ended).await
    }
    async fn lives(&self) -> Result<Vec<Life>, StoreError> {
        self.see()?;
        self.inner.lives().await
    }
    async fn prune_lives(&self, fence: Fence, oldest: Life) -> Result<(), StoreError> {
        self.see()?;
        self.inner.prune_lives(fence, oldest).await
    }
    async fn bring_back(&self, fence: Fence, to: Timestamp) -> Result<(), StoreError> {
        self.see()?;
        self.inner.bring_back(fence, to).await
    }
    async fn ping(&self) -> Result<Duration, StoreError> {
        self.see()?;
        self.inner.ping().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Queue for FaultyStore {
    async fn task(&self, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        self.see()?;
        self.inner.task(id).await
    }
    async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<Vec<TaskRow>, StoreError> {
        self.see()?;
        self.inner.tasks(filter, after, limit).await
    }
    async fn task_key_holder(&self, key: &IdempotencyKey) -> Result<Option<(TaskId, [u8; 32])>, StoreError> {
        self.see()?;
        self.inner.task_key_holder(key).await
    }
    async fn task_lines(&self, pool: &PoolName) -> Result<Vec<LineRow>, StoreError> {
        self.see()?;
        self.inner.task_lines(pool).await
    }
    async fn pieces(&self, pool: &PoolName, pieces: &[Piece]) -> Result<Vec<Vec<QueuedTask>>, StoreError> {
        self.see()?;
        self.inner.pieces(pool, pieces).await
    }
    async fn running_tasks(&self, pool: &PoolName) -> Result<Vec<RunningTask>, StoreError> {
        self.see()?;
        self.inner.running_tasks(pool).await
    }
    async fn due_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.see()?;
        self.inner.due_tasks(pool, by, limit).await
    }
    async fn next_due(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.see()?;
        self.inner.next_due(pool, after).await
    }
    async fn expired_tasks(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.see()?;
        self.inner.expired_tasks(pool, by, limit).await
    }
    async fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.see()?;
        self.inner.next_expiry(pool, after).await
    }
    async fn tasks_for(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        self.see()?;
        self.inner.tasks_for(pool, agent, limit).await
    }
    async fn inputs(&self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Payload)>, StoreError> {
        self.see()?;
        let less = |times: u32| times.checked_sub(1);
        if self.hidden_inputs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(away());
        }
        tokio::time::sleep(Duration::from_millis(self.inputs_take.load(Ordering::SeqCst).into())).await;
        self.inner.inputs(tasks).await
    }
    async fn made_since(&self, tenant: &str, since: Timestamp) -> Result<u64, StoreError> {
        self.see()?;
        self.inner.made_since(tenant, since).await
    }
    async fn usage(&self, scope: Scope, after: &str, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        self.see()?;
        self.inner.usage(scope, after, limit).await
    }
    async fn executions(&self) -> Result<Executions, StoreError> {
        self.see()?;
        self.inner.executions().await
    }
    async fn queue_counts(&self, pool: &PoolName) -> Result<QueueCounts, StoreError> {
        self.see()?;
        self.inner.queue_counts(pool).await
    }
}
