//! A worker on a bench: run as a task, with the in-memory engine, and with the test in the master's place.
#![allow(dead_code, unreachable_pub, reason = "each test crate uses a part of it")]

pub mod lines;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{
    AgentId, AgentSpec, Clocks, Command, Ending, Envelope, Epoch, Fence, Heartbeat, LocalIdentity, PoolName, ProcessId,
    RegistryTarget, Report, ReportBody, RuntimeProfile, SpawnOrder, Timestamp, WorkerIdentity, WorkerKey, WorkerOrders,
};
use muster_process::{Alarm, ProbeSocket};
use muster_registry::testing::FaultyRegistry;
use muster_registry::{Bus, LeaderMirror, Registry, ReportDelivery, ReportStream};
use muster_worker::{StopSign, WorkerDeps, WorkerError, WorkerExit};
use tokio::task::JoinHandle;

pub const FENCE: Fence = Fence(3);
/// Longer than anything here takes: a test that waits for this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(1000);

/// A worker, and what its master has.
pub struct Bench {
    /// The worker's way to the registry. Its master has its own, which no fault is on.
    pub engine: FaultyRegistry,
    pub worker: ProcessId,
    pub pool: PoolName,
    pub stop: StopSign,
    pub data: tempfile::TempDir,
    heard: Vec<ReportDelivery>,
    taken: usize,
    highest: u64,
    reports: Box<dyn ReportStream>,
    task: JoinHandle<Result<WorkerExit, WorkerError>>,
}

pub fn exec(profile: serde_json::Value) -> RuntimeProfile {
    RuntimeProfile::Exec(serde_json::from_value(profile).expect("a profile"))
}

/// A profile that runs a shell script.
pub fn sh(script: &str) -> serde_json::Value {
    serde_json::json!({"command": ["sh", "-c", script]})
}

impl Bench {
    pub async fn echo() -> Self {
        Self::start(RuntimeProfile::Echo, |_| {}).await
    }

    /// Starts a worker with two slots and waits until it is ready.
    pub async fn start(profile: RuntimeProfile, change: impl FnOnce(&mut WorkerOrders)) -> Self {
        let mut bench = Self::begin(FaultyRegistry::default(), profile, change).await;
        assert_eq!(bench.next().await.body, ReportBody::Ready);
        assert_eq!(bench.heard[0].report.as_ref().map(|report| report.seq), Some(1));
        assert_eq!(bench.picture().await.number, 1, "the first beat comes before the first report");
        bench
    }

    /// Starts a worker.
    pub async fn begin(
        engine: FaultyRegistry,
        profile: RuntimeProfile,
        change: impl FnOnce(&mut WorkerOrders),
    ) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut orders = Self::orders(data.path(), profile);
        change(&mut orders);
        let (worker, pool, stop) = (orders.process_id, orders.pool_name.clone(), StopSign::new());
        let reports = engine.memory().reports(vec![pool.clone()]).await.expect("reports");
        let deps = WorkerDeps {
            registry: Arc::new(engine.clone()),
            bus: Arc::new(engine.clone()),
            identity: identity(),
            probe_socket: ProbeSocket::open(worker).expect("a probe socket"),
            alarm: Alarm::of_runtime(),
            stop: stop.clone(),
            in_process: false,
        };
        let task = tokio::spawn(muster_worker::run(orders, deps));
        Self { engine, worker, pool, stop, data, heard: Vec::new(), taken: 0, highest: 0, reports, task }
    }

    /// What a worker with two slots is told.
    pub fn orders(data: &Path, profile: RuntimeProfile) -> WorkerOrders {
        WorkerOrders {
            process_id: ProcessId::generate(),
            pool_name: "developer_pool".parse().expect("a name"),
            capacity: 2,
            fence: FENCE,
            key: WorkerKey::generate(),
            registry: RegistryTarget { url: String::new(), prefix: String::new(), roots: None },
            data_dir: data.to_owned(),
            lock_file: data.join("lock"),
            profile,
            clocks: Clocks::default(),
            open_files: None,
        }
    }

    pub async fn send(&self, command: Command) {
        self.send_by(FENCE, command).await;
    }

    pub async fn send_by(&self, fence: Fence, command: Command) {
        self.engine.memory().send(&[], &[(self.worker, Envelope::new(fence, command))]).await.expect("sent");
    }

    pub async fn spawn(&self, agent_id: AgentId, epoch: u64) {
        self.send(spawn(agent_id, epoch)).await;
    }

    pub async fn terminate(&self, agent_id: AgentId, epoch: u64, graceful: bool) {
        self.send(Command::Terminate { agent_id, epoch: Epoch(epoch), graceful }).await;
    }

    /// The next report that was not heard before: any may come twice.
    pub async fn next(&mut self) -> Report {
        loop {
            let report = self.next_of_any().await;
            if report.seq > self.highest {
                self.highest = report.seq;
                return report;
            }
        }
    }

    /// The next report, one that is sent again too.
    pub async fn next_of_any(&mut self) -> Report {
        while self.taken == self.heard.len() {
            let deliveries = tokio::time::timeout(PATIENCE, self.reports.next()).await.expect("a report in time");
            self.heard.extend(deliveries.expect("the engine is there"));
        }
        self.taken += 1;
        self.heard[self.taken - 1].report.clone().expect("a readable report")
    }

    /// The next reports in short words, e.g. `started 1`.
    pub async fn words(&mut self, count: usize) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(word(&self.next().await.body));
        }
        words
    }

    /// The ending that the next report tells.
    pub async fn ending(&mut self) -> (bool, Ending) {
        match self.next().await.body {
            ReportBody::Ended { ready, ending, .. } => (ready, ending),
            other => panic!("an ending, not {other:?}"),
        }
    }

    /// Settles everything that was heard.
    pub async fn settle(&mut self) {
        let last = self.heard.iter().filter_map(|delivery| delivery.report.as_ref()).map(|report| report.seq).max();
        self.engine.memory().settle(&self.heard, &[(self.worker, last.unwrap_or(0))]).await.expect("settled");
    }

    /// The worker's latest beat.
    pub async fn picture(&self) -> Heartbeat {
        let pictures = self.engine.memory().read_heartbeats(&[(self.worker, 0)]).await.expect("pictures");
        *pictures.seen.into_iter().next().expect("the worker is there").beat.expect("a beat")
    }

    /// Waits for the next beat that is so.
    pub async fn beat_where(&self, is_so: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        wait_until("the beat", async || {
            let beat = self.picture().await;
            is_so(&beat).then_some(beat)
        })
        .await
    }

    pub async fn lead(&self, lease: Duration) {
        let address = "127.0.0.1:1".to_owned();
        let leader = LeaderMirror { fence: FENCE, address, host: "here".into(), pid: 1, since: Timestamp::now() };
        self.engine.memory().announce_leader(&leader, lease).await.expect("announced");
    }

    pub fn log(&self, agent_id: AgentId) -> String {
        std::fs::read_to_string(muster_files::DataPath::agent_log(self.data.path(), agent_id).path())
            .unwrap_or_default()
    }

    pub fn switch(&self, away: bool) {
        if away { self.engine.leave() } else { self.engine.come_back() }
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the worker's failure, and says what it was.
    pub async fn fail(mut self) -> String {
        let task = tokio::time::timeout(PATIENCE, &mut self.task).await.expect("an end in time");
        task.expect("no panic").expect_err("a failure").to_string()
    }

    /// Waits for the worker's end.
    pub async fn exit(&mut self) -> WorkerExit {
        let task = tokio::time::timeout(PATIENCE, &mut self.task).await.expect("an end in time");
        task.expect("no panic").expect("no error")
    }
}

/// Kills the agents of a test that failed.
impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks again and again until there is an answer.
pub async fn wait_until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = tokio::time::Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn word(body: &ReportBody) -> String {
    match body {
        ReportBody::Ready => "ready".into(),
        ReportBody::Started { epoch, .. } => format!("started {epoch}"),
        ReportBody::Ended { epoch, ending, .. } => format!("ended {epoch}: {}", ending.cause),
        ReportBody::Refused { epoch, refusal, .. } => format!("refused {epoch}: {refusal}"),
        ReportBody::IdleTooLong { epoch, .. } => format!("idle {epoch}"),
        ReportBody::Probed { .. } => "probed".into(),
        ReportBody::Tasks { begun, over } => {
            let begun = begun.iter().map(|begun| format!("begun {}", begun.attempt));
            let over = over.iter().map(|over| format!("over {}: {}", over.attempt, over.end));
            begun.chain(over).collect::<Vec<_>>().join(", ")
        }
    }
}

pub fn spawn(agent_id: AgentId, epoch: u64) -> Command {
    let agent = AgentSpec {
        agent_id,
        pool_name: "developer_pool".parse().expect("a name"),
        role_type: "developer".into(),
        project_id: "shop".into(),
        human_name: "Ada Brook".into(),
        heartbeat_interval: Duration::from_secs(30),
        max_idle_time: Duration::from_secs(300),
        on_demand: false,
    };
    Command::Spawn(Box::new(SpawnOrder { agent, epoch: Epoch(epoch) }))
}

pub fn identity() -> WorkerIdentity {
    let (host, boot_id) = ("here".into(), "boot".into());
    LocalIdentity { host, machine_id: None, boot_id, pid_namespace: 1, pid: std::process::id(), start_time: 1 }.into()
}
