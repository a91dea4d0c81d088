//! A supervisor with the engines in memory, which fail when the test wants, and fake workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::budget::Budgets;
use muster_domain::{
    Activity, AgentId, AgentState, Clocks, Fence, PoolConfig, PoolName, PoolSpec, Principal, RegistryTarget,
    RestartPolicy, RuntimeProfile, Tenants, Timestamp,
};
use muster_registry::memory::MemoryRegistry;
use muster_registry::testing::FaultyRegistry;
use muster_store::testing::{FaultyStore, MemoryStore};
use muster_store::{Leadership, Store};
use muster_supervisor::launch::Launchers;
use muster_supervisor::{
    AgentView, Agents, AlertParts, Events, Handle, LeadEnd, Metrics, Mode, NewPool, Parts, PoolView, Pools, Scaling,
    Settings, SpawnRequest, Spawned, StopWish, Supervisor, SupervisorError, SupervisorFacts, System, Tasks, WallClock,
    Workers,
};
use tokio_util::sync::CancellationToken;

use crate::launcher::FakeLauncher;
use crate::ledger::Ledger;
use crate::worker::{FakeWorker, PATIENCE};

pub(crate) const POOL: &str = "crew";

pub(crate) struct World {
    pub(crate) handle: Handle,
    admin: Admin,
    pub(crate) supervisor: Supervisor,
    pub(crate) ground: Ground,
}

/// What outlives a supervisor.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) memory: MemoryRegistry,
    pub(crate) registry: FaultyRegistry,
    pub(crate) launcher: Arc<FakeLauncher>,
    pub(crate) ledger: Ledger,
    pub(crate) clocks: Clocks,
    pub(crate) wall: WallClock,
    pub(crate) file_pools: Vec<PoolSpec>,
    dir: Arc<tempfile::TempDir>,
}

/// Short clocks; silence is judged only where a test shortens `stale`.
pub(crate) fn clocks() -> Clocks {
    let ms = Duration::from_millis;
    Clocks {
        heartbeat: ms(20),
        stale: Duration::from_secs(20),
        lease: Duration::from_secs(30),
        orphan_after: Duration::from_secs(600),
        start_timeout: Duration::from_secs(20),
        stop_deadline: Duration::from_secs(2),
        retention: Duration::from_hours(96),
        resend: ms(20),
        pass: ms(25),
    }
}

/// A pool whose restarts do not wait long.
pub(crate) fn config() -> PoolConfig {
    let restart = RestartPolicy {
        max_restarts: 1_000,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        ..RestartPolicy::default()
    };
    PoolConfig { max_agents: 2, restart, ..PoolConfig::default() }
}

impl Ground {
    pub(crate) fn new() -> Self {
        let (memory, ledger) = (MemoryRegistry::new(), Ledger::default());
        Self {
            store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))),
            registry: FaultyRegistry::new(memory.clone()),
            launcher: Arc::new(FakeLauncher::new(memory.clone(), ledger.clone())),
            memory,
            ledger,
            clocks: clocks(),
            wall: WallClock::default(),
            file_pools: Vec::new(),
            dir: Arc::new(tempfile::tempdir().expect("a folder")),
        }
    }

    /// Takes the lead and starts a supervisor.
    pub(crate) async fn lead(&self) -> World {
        self.lead_with(|_| {}).await
    }

    /// The same, with other parts.
    pub(crate) async fn lead_with(&self, change: impl FnOnce(&mut Parts)) -> World {
        let led = self.store.lead("test", "", Duration::from_secs(60)).await.expect("the store answers");
        let Leadership::Leads(fence) = led else { panic!("nobody else leads") };
        let mut parts = self.parts(fence);
        change(&mut parts);
        let supervisor = Supervisor::start(parts).await.expect("a supervisor");
        let handle = supervisor.handle();
        let admin = Admin::of(&handle).expect("an admin may ask for everything");
        World { handle, admin, supervisor, ground: self.clone() }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    fn parts(&self, fence: Fence) -> Parts {
        Parts {
            fence,
            store: self.store.clone(),
            registry: Arc::new(self.registry.clone()),
            bus: Arc::new(self.registry.clone()),
            launchers: Launchers::local(self.launcher.clone()),
            settings: Settings {
                clocks: self.clocks.clone(),
                wall: self.wall.clone(),
                profiles: BTreeMap::from([("echo".to_owned(), RuntimeProfile::Echo)]),
                skip_phrase: None,
                worker_registry: RegistryTarget { url: "memory".to_owned(), prefix: String::new(), roots: None },
                data_dir: self.dir.path().to_owned(),
                metrics_interval: None,
                autoscaler: true,
                lock_file: PathBuf::from("lock"),
            },
            file_pools: self.file_pools.clone(),
            tenants: Tenants::default(),
            budgets: Budgets::default(),
            alerts: AlertParts::default(),
            host: Vec::new(),
            facts: SupervisorFacts {
                mode: Mode::SingleProcess,
                mode_reason: "a test".to_owned(),
                address: "127.0.0.1:0".to_owned(),
                registry_address: None,
                ownership: "fakes".to_owned(),
                ownership_proves: true,
                leads_since: Timestamp::now(),
                started: Instant::now(),
            },
        }
    }
}

/// The supervisor's parts, as an admin of all tenants asks about them.
pub(crate) struct Admin {
    tasks: Tasks,
    agents: Agents,
    pools: Pools,
    events: Events,
    system: System,
    workers: Workers,
    metrics: Metrics,
    scaling: Scaling,
}

impl Admin {
    fn of(handle: &Handle) -> Result<Self, SupervisorError> {
        let caller = handle.by(Principal::anonymous());
        let (agents, pools) = (caller.agents()?, caller.pools()?);
        Ok(Self {
            tasks: caller.tasks(),
            agents,
            pools,
            events: caller.events()?,
            system: caller.system()?,
            workers: caller.workers()?,
            metrics: caller.metrics()?,
            scaling: caller.scaling()?,
        })
    }
}

impl World {
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.admin.tasks
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.admin.agents
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.admin.pools
    }

    pub(crate) fn events(&self) -> &Events {
        &self.admin.events
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.admin.workers
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.admin.metrics
    }

    pub(crate) fn scaling(&self) -> &Scaling {
        &self.admin.scaling
    }

    pub(crate) fn system(&self) -> &System {
        &self.admin.system
    }
}

impl World {
    /// A supervisor with one pool of workers of two agents.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub(crate) async fn with(clocks: impl FnOnce(&mut Clocks), pool: impl FnOnce(&mut PoolConfig)) -> Self {
        let mut ground = Ground::new();
        clocks(&mut ground.clocks);
        let world = ground.lead().await;
        let mut config = config();
        pool(&mut config);
        world.create_pool(config).await;
        world
    }

    pub(crate) async fn create_pool(&self, config: PoolConfig) {
        let role_type = "developer".to_owned();
        let pool = NewPool { pool_name: pool(), role_type, runtime: None, config };
        self.pools().create(pool).await.expect("a pool");
    }

    pub(crate) async fn spawn(&self) -> AgentId {
        match self.try_spawn(PATIENCE).await.expect("an agent") {
            Spawned::Running(view) => view.agent_id,
            Spawned::Accepted(view) => panic!("it does not run: {view:?}"),
        }
    }

    pub(crate) async fn spawn_many(&self, count: usize) -> Vec<AgentId> {
        futures_util::future::join_all((0..count).map(|_| self.spawn())).await
    }

    /// Asks for an agent and does not wait for it to run.
    pub(crate) async fn order(&self) -> AgentId {
        match self.try_spawn(Duration::ZERO).await.expect("an agent") {
            Spawned::Running(view) | Spawned::Accepted(view) => view.agent_id,
        }
    }

    pub(crate) async fn try_spawn(&self, wait: Duration) -> Result<Spawned, SupervisorError> {
        self.agents().spawn(request(), wait).await
    }

    pub(crate) async fn terminate(&self, agent: AgentId) -> AgentView {
        self.agents().terminate(None, agent, true, PATIENCE).await.expect("terminated")
    }

    /// Tells it to stop and does not wait for it.
    pub(crate) async fn tell_to_stop(&self, agent: AgentId, graceful: bool) {
        self.agents().terminate(None, agent, graceful, Duration::ZERO).await.expect("told");
    }

    pub(crate) async fn agent(&self, agent: AgentId) -> AgentView {
        self.agents().get(agent).await.expect("an agent")
    }

    pub(crate) async fn state(&self, agent: AgentId) -> AgentState {
        self.agent(agent).await.state
    }

    pub(crate) async fn wait_state(&self, agent: AgentId, state: AgentState) {
        wait_until(&format!("{agent} is {state}"), async || self.state(agent).await == state).await;
    }

    /// Waits until an agent runs with at least this epoch.
    pub(crate) async fn wait_epoch(&self, agent: AgentId, epoch: u64) {
        wait_until(&format!("{agent} runs with epoch {epoch}"), async || {
            let view = self.agent(agent).await;
            view.state == AgentState::Running(Activity::Idle) && view.epoch >= epoch
        })
        .await;
    }

    pub(crate) async fn pool(&self) -> PoolView {
        self.pools().get(&pool()).await.expect("a pool")
    }

    /// The worker that an agent is assigned to.
    pub(crate) async fn worker_of(&self, agent: AgentId) -> FakeWorker {
        let id = self.agent(agent).await.process_id.expect("it has a slot");
        wait_until("its worker was launched", async || {
            self.launcher().workers().iter().any(|worker| worker.id() == id)
        })
        .await;
        self.launcher().worker(id)
    }

    pub(crate) fn launcher(&self) -> &FakeLauncher {
        &self.ground.launcher
    }

    pub(crate) fn store(&self) -> &FaultyStore {
        &self.ground.store
    }

    pub(crate) async fn degraded(&self) -> Vec<String> {
        self.system().view().await.degraded
    }

    /// Ends the supervisor and its workers, and asserts that no promise was broken and nothing is left.
    pub(crate) async fn end(self) {
        let ground = self.ground.clone();
        self.shut_down(false).await;
        assert!(ground.launcher.living().is_empty(), "workers are left");
        assert_eq!(ground.ledger.violations(), Vec::<String>::new());
        assert_eq!(ground.store.open_workers().await.expect("rows"), []);
    }

    pub(crate) async fn shut_down(self, keep_workers: bool) {
        let end = LeadEnd::Asked(StopWish { keep_workers });
        self.supervisor.shut_down(end, CancellationToken::new()).await;
    }
}

pub(crate) fn pool() -> PoolName {
    POOL.parse().expect("a name")
}

pub(crate) fn request() -> SpawnRequest {
    SpawnRequest {
        pool_name: pool(),
        role_type: "developer".to_owned(),
        project_id: "p".to_owned(),
        heartbeat_interval: None,
        max_idle_time: None,
        key: None,
    }
}

/// Looks until it is so, within bounds.
pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets a keeper make some full passes, and with them whatever it would do by mistake.
pub(crate) async fn let_pass(world: &World) {
    tokio::time::sleep(world.ground.clocks.pass * 4).await;
}
