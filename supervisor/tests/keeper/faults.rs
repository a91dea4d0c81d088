//! A store and a registry that fail when the test wants.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{
    AgentId, AgentPicture, Beat, BeatAnswer, Envelope, Fence, Generation, PoolName, ProcessId, Report, Timestamp,
};
use muster_registry::memory::MemoryRegistry;
use muster_registry::{
    Bus, CommandStream, FreeSlots, Known, LeaderMirror, Pictures, Registry, RegistryError, ReportPost, ReportStream,
};
use muster_store::sqlite::SqliteStore;
use muster_store::{
    AgentFilter, AgentRow, EventRow, IdempotencyKey, Leadership, Outcome, PoolRow, Pruned, Store, StoreError,
    WorkerRow, Write,
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
}

type Judge = Box<dyn FnMut(&[Write]) -> Commit + Send>;

/// A store that fails on demand.
pub(crate) struct FaultyStore {
    pub(crate) inner: SqliteStore,
    judge: Mutex<Option<Judge>>,
    blind: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn new(inner: SqliteStore) -> Self {
        Self { inner, judge: Mutex::default(), blind: AtomicBool::new(false) }
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

    fn see(&self) -> Result<(), StoreError> {
        if self.blind.load(Ordering::SeqCst) { Err(away()) } else { Ok(()) }
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
            Commit::Refuse => Err(away()),
            Commit::Lie => {
                self.inner.apply(fence, writes).await?;
                Err(away())
            }
        }
    }
    async fn pools(&self) -> Result<Vec<PoolRow>, StoreError> {
        self.see()?;
        self.inner.pools().await
    }
    async fn open_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.see()?;
        self.inner.open_workers().await
    }
    async fn worker(&self, id: ProcessId) -> Result<Option<WorkerRow>, StoreError> {
        self.inner.worker(id).await
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
    async fn ping(&self) -> Result<Duration, StoreError> {
        self.see()?;
        self.inner.ping().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// The master's way to the registry, which fails on demand. Workers have their own.
#[derive(Clone)]
pub(crate) struct FaultyRegistry {
    pub(crate) inner: MemoryRegistry,
    state: std::sync::Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    away: AtomicBool,
    /// Commands are taken and not delivered.
    drops: AtomicBool,
    /// Calls that fail, and a call that panics, by the name of the method.
    failing: Mutex<HashSet<&'static str>>,
    breaking: Mutex<Option<&'static str>>,
}

impl FaultyRegistry {
    pub(crate) fn new(inner: MemoryRegistry) -> Self {
        Self { inner, state: std::sync::Arc::default() }
    }

    pub(crate) fn leave(&self) {
        self.state.away.store(true, Ordering::SeqCst);
    }

    pub(crate) fn come_back(&self) {
        self.state.away.store(false, Ordering::SeqCst);
    }

    pub(crate) fn drop_commands(&self, drops: bool) {
        self.state.drops.store(drops, Ordering::SeqCst);
    }

    /// From now on only this call fails.
    pub(crate) fn fail(&self, call: &'static str) {
        self.state.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
    }

    /// No single call fails any more.
    pub(crate) fn mend(&self) {
        self.state.failing.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The next call of this panics: a bug of the supervisor, as its other parts see it.
    pub(crate) fn break_once(&self, call: &'static str) {
        *self.state.breaking.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
    }

    fn answer(&self, call: &'static str) -> Result<(), RegistryError> {
        let broken =
            self.state.breaking.lock().unwrap_or_else(PoisonError::into_inner).take_if(|broken| *broken == call);
        assert!(broken.is_none(), "{call} breaks, as the test wants it");
        if self.state.failing.lock().unwrap_or_else(PoisonError::into_inner).contains(call) {
            return Err(RegistryError::Unavailable(format!("{call} fails")));
        }
        if self.state.away.load(Ordering::SeqCst) {
            return Err(RegistryError::Unavailable("no connection".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Registry for FaultyRegistry {
    async fn ping(&self) -> Result<Duration, RegistryError> {
        self.answer("ping")?;
        self.inner.ping().await
    }
    async fn beat(&self, beat: &Beat, known: &mut Known) -> Result<BeatAnswer, RegistryError> {
        self.inner.beat(beat, known).await
    }
    async fn pictures(&self, workers: &[(ProcessId, u64)]) -> Result<Pictures, RegistryError> {
        self.answer("pictures")?;
        self.inner.pictures(workers).await
    }
    async fn present(&self) -> Result<Vec<ProcessId>, RegistryError> {
        self.answer("present")?;
        self.inner.present().await
    }
    async fn pools(&self) -> Result<Vec<PoolName>, RegistryError> {
        self.answer("pools")?;
        self.inner.pools().await
    }
    async fn forget(&self, pool: &PoolName, worker: ProcessId) -> Result<(), RegistryError> {
        self.answer("forget")?;
        self.inner.forget(pool, worker).await
    }
    async fn forget_pool(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.answer("forget_pool")?;
        self.inner.forget_pool(pool).await
    }
    async fn condemn(&self, worker: ProcessId) -> Result<(), RegistryError> {
        self.answer("condemn")?;
        self.inner.condemn(worker).await
    }
    async fn announce_leader(&self, leader: &LeaderMirror, lease: Duration) -> Result<(), RegistryError> {
        self.answer("announce_leader")?;
        self.inner.announce_leader(leader, lease).await
    }
    async fn generation(&self) -> Result<Generation, RegistryError> {
        self.answer("generation")?;
        self.inner.generation().await
    }
}

#[async_trait]
impl Bus for FaultyRegistry {
    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        self.answer("send")?;
        // A part of it may fail alone.
        let mirror = if slots.is_empty() { Ok(()) } else { self.answer("mirror") };
        let slots = if mirror.is_ok() { slots } else { &[] };
        let batch = if self.state.drops.load(Ordering::SeqCst) { &[] } else { batch };
        self.inner.send(slots, batch).await?;
        mirror
    }
    async fn send_to_pool(&self, pool: &PoolName, envelope: &Envelope) -> Result<(), RegistryError> {
        self.answer("send_to_pool")?;
        self.inner.send_to_pool(pool, envelope).await
    }
    async fn report(
        &self,
        reports: &[Report],
        pictures: &[AgentPicture],
        gone: &[AgentId],
        known: &mut Known,
    ) -> Result<(), RegistryError> {
        self.inner.report(reports, pictures, gone, known).await
    }
    async fn commands(&self, worker: ProcessId, pool: &PoolName) -> Result<CommandStream, RegistryError> {
        self.answer("commands")?;
        self.inner.commands(worker, pool).await
    }
    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError> {
        self.inner.check_commands(worker).await
    }
    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError> {
        self.answer("reports")?;
        self.inner.reports(pools).await
    }
    async fn settle(&self, entries: &[ReportPost], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        self.answer("settle")?;
        self.inner.settle(entries, settled).await
    }
}
