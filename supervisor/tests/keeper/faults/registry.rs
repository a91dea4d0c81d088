//! A registry that fails when the test wants.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{Beat, BeatAnswer, Envelope, Generation, PoolName, ProcessId, Report, Tampering};
use muster_registry::memory::MemoryRegistry;
use muster_registry::{
    AgentNews, Bus, CommandStream, FreeSlots, Known, LeaderMirror, Peer, Pictures, Registry, RegistryError, ReportPost,
    ReportStream,
};

/// The master's way to the registry, which fails on demand. Workers have their own.
#[derive(Clone)]
pub(crate) struct FaultyRegistry {
    pub(crate) inner: MemoryRegistry,
    state: std::sync::Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    away: AtomicBool,
    /// Reads are answered, and writes refused.
    read_only: AtomicBool,
    /// Commands are taken and not delivered.
    drops: AtomicBool,
    /// What is forgotten takes its time.
    slow: AtomicBool,
    /// Calls that fail, and a call that panics, by the name of the method.
    failing: Mutex<HashSet<&'static str>>,
    refused: Mutex<HashSet<&'static str>>,
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

    pub(crate) fn refuse_writes(&self, refuses: bool) {
        self.state.read_only.store(refuses, Ordering::SeqCst);
    }

    pub(crate) fn drop_commands(&self, drops: bool) {
        self.state.drops.store(drops, Ordering::SeqCst);
    }

    /// From now on it takes a while to forget a worker.
    pub(crate) fn forget_slowly(&self) {
        self.state.slow.store(true, Ordering::SeqCst);
    }

    /// From now on only this call fails.
    pub(crate) fn fail(&self, call: &'static str) {
        self.state.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
    }

    /// From now on this call is answered with a refusal.
    pub(crate) fn refuse(&self, call: &'static str) {
        self.state.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
    }

    /// No single call fails any more.
    pub(crate) fn mend(&self) {
        self.state.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        if self.state.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(call) {
            return Err(RegistryError::Refused(format!("no right to {call}")));
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
    async fn examine(&self) -> Result<(), RegistryError> {
        self.answer("examine")?;
        self.inner.examine().await
    }
    async fn beat(&self, beat: &Beat, known: &mut Known) -> Result<BeatAnswer, RegistryError> {
        self.inner.beat(beat, known).await
    }
    async fn pictures(&self, workers: &[(ProcessId, u64)]) -> Result<Pictures, RegistryError> {
        self.answer("pictures")?;
        let refusal = self.state.read_only.load(Ordering::SeqCst).then(|| "it is read-only".to_owned());
        Ok(Pictures { refusal, ..self.inner.pictures(workers).await? })
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
        if self.state.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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
    async fn weed(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.answer("weed")?;
        self.inner.weed(pool).await
    }
    fn tampering(&self) -> Tampering {
        self.inner.tampering()
    }
}

#[async_trait]
impl Bus for FaultyRegistry {
    fn introduce(&self, worker: ProcessId, peer: Peer) {
        self.inner.introduce(worker, peer);
    }
    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        self.answer("send")?;
        // A part of it may fail alone.
        let mirror = if slots.is_empty() { Ok(()) } else { self.answer("mirror") };
        let slots = if mirror.is_ok() { slots } else { &[] };
        let batch = if self.state.drops.load(Ordering::SeqCst) { &[] } else { batch };
        self.inner.send(slots, batch).await?;
        mirror
    }
    async fn report(&self, reports: &[Report], agents: &AgentNews, known: &mut Known) -> Result<(), RegistryError> {
        self.inner.report(reports, agents, known).await
    }
    async fn commands(&self, worker: ProcessId) -> Result<CommandStream, RegistryError> {
        self.answer("commands")?;
        self.inner.commands(worker).await
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
