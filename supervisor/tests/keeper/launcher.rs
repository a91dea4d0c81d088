//! A launcher whose workers are fakes of the test.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, ProcessId, WorkerOrders};
use muster_files::DataPath;
use muster_registry::memory::MemoryRegistry;
use muster_store::WorkerRow;
use muster_supervisor::launch::{
    Adoption, Death, LaunchError, Launched, Launcher, LookError, Proof, RunningWorker, Sent, WorkerProbe,
};
use muster_supervisor::{AgentLog, FileLog};

use crate::awaited::AwaitedValue;
use crate::ledger::Ledger;
use crate::worker::{FakeWorker, Habits};

pub(crate) struct FakeLauncher {
    registry: MemoryRegistry,
    pub(crate) ledger: Ledger,
    plan: Mutex<Plan>,
    /// While true no launch returns.
    pub(crate) held: AwaitedValue<bool>,
}

#[derive(Default)]
struct Plan {
    workers: BTreeMap<ProcessId, FakeWorker>,
    /// Habits of the next workers, in order; then of all others.
    next: VecDeque<Habits>,
    habits: Habits,
    failures: u32,
    launches: u32,
    elsewhere: HashSet<ProcessId>,
    swept: HashSet<ProcessId>,
}

impl FakeLauncher {
    pub(crate) fn new(registry: MemoryRegistry, ledger: Ledger) -> Self {
        Self { registry, ledger, plan: Mutex::default(), held: AwaitedValue::default() }
    }

    /// How workers that are launched from now on behave.
    pub(crate) fn habits(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.plan().habits);
    }

    /// How the next worker behaves; calls add up.
    pub(crate) fn next(&self, change: impl FnOnce(&mut Habits)) {
        let mut habits = Habits::default();
        change(&mut habits);
        self.plan().next.push_back(habits);
    }

    /// The next so many launches fail.
    pub(crate) fn fail(&self, times: u32) {
        self.plan().failures = times;
    }

    /// Launches that were tried.
    pub(crate) fn launches(&self) -> u32 {
        self.plan().launches
    }

    /// This worker is found to be on another host.
    pub(crate) fn send_elsewhere(&self, worker: ProcessId) {
        self.plan().elsewhere.insert(worker);
    }

    /// Whether what this worker owned was ended.
    pub(crate) fn has_swept(&self, worker: ProcessId) -> bool {
        self.plan().swept.contains(&worker)
    }

    /// Every worker ever launched, the oldest first.
    pub(crate) fn workers(&self) -> Vec<FakeWorker> {
        self.plan().workers.values().cloned().collect()
    }

    pub(crate) fn living(&self) -> Vec<FakeWorker> {
        self.workers().into_iter().filter(|worker| !worker.is_dead()).collect()
    }

    pub(crate) fn worker(&self, id: ProcessId) -> FakeWorker {
        self.plan().workers.get(&id).expect("a worker of this launcher").clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, orders: WorkerOrders) -> Result<FakeWorker, LaunchError> {
        let mut plan = self.plan();
        plan.launches += 1;
        if plan.failures > 0 {
            plan.failures -= 1;
            return Err(LaunchError("out of memory".to_owned()));
        }
        let habits = plan.next.pop_front().unwrap_or_else(|| plan.habits.clone());
        let worker = FakeWorker::start(orders, habits, self.registry.clone(), self.ledger.clone());
        plan.workers.insert(worker.id(), worker.clone());
        Ok(worker)
    }
}

#[async_trait]
impl Launcher for FakeLauncher {
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        let worker = self.start(orders)?;
        self.held.wait_for(|held| !held).await;
        Ok(Launched { identity: worker.identity(), process: Arc::new(worker) })
    }

    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let plan = self.plan();
        if plan.elsewhere.contains(&row.process_id) {
            return Ok(Adoption::Elsewhere);
        }
        match plan.workers.get(&row.process_id) {
            Some(worker) if !worker.is_dead() => {
                Ok(Adoption::Alive(Launched { identity: worker.identity(), process: Arc::new(worker.clone()) }))
            }
            Some(worker) => Ok(Adoption::Ended(Arc::new(worker.clone()))),
            None => Ok(Adoption::Ended(Arc::new(Nothing))),
        }
    }

    async fn marked(&self) -> Vec<ProcessId> {
        Vec::new()
    }

    async fn sweep(&self, worker: &WorkerRow) {
        self.plan().swept.insert(worker.process_id);
    }

    fn agent_log(&self, agent: AgentId) -> Box<dyn AgentLog> {
        Box::new(FileLog::new(DataPath::agent_log(Path::new("nowhere"), agent)))
    }

    async fn leave(&self) {}
}

/// What is left of a worker that never was.
struct Nothing;

#[async_trait]
impl RunningWorker for Nothing {
    async fn ask(&self) -> Sent {
        Sent::Gone
    }

    async fn kill(&self) -> Sent {
        Sent::Gone
    }

    async fn dead(&self) -> Death {
        Death::proven(Proof::ProcessTable)
    }

    async fn probe(&self, _patience: Duration) -> WorkerProbe {
        WorkerProbe::NoSocket
    }
}
