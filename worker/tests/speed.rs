//! Prints figures. Run with `cargo test --release -p muster-worker --test speed -- --ignored --nocapture`.

mod bench;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Bench, FENCE, spawn};
use muster_domain::{
    AgentId, Command, Envelope, Epoch, Payload, ProcessId, ReportBody, RuntimeProfile, TaskId, TaskOrder,
};
use muster_registry::memory::MemoryRegistry;
use muster_registry::{Bus, ReportStream};
use muster_worker::{StopSign, WorkerDeps};

/// Orders in one command.
const BATCH: usize = 100;
const AGENTS: usize = 10;

/// A worker with echo agents on a thread and a runtime of its own, as its process has, and the master's side of it.
struct Side {
    registry: MemoryRegistry,
    worker: ProcessId,
    agents: Vec<AgentId>,
    reports: Box<dyn ReportStream>,
    stop: StopSign,
    thread: std::thread::JoinHandle<()>,
    /// Whether reports are settled as they come.
    settles: bool,
}

impl Side {
    async fn start(settles: bool) -> Self {
        let (registry, data) = (MemoryRegistry::new(), tempfile::tempdir().expect("a folder"));
        let mut orders = Bench::orders(data.path(), RuntimeProfile::Echo);
        orders.capacity = AGENTS as u32;
        let (worker, pool, stop) = (orders.process_id, orders.pool_name.clone(), StopSign::new());
        let mut reports = registry.reports(vec![pool]).await.expect("reports");
        let (bus, sign) = (Arc::new(registry.clone()), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let identity = bench::identity();
            let probe_socket = muster_process::ProbeSocket::closed();
            let deps = WorkerDeps {
                registry: bus.clone(),
                bus,
                identity,
                probe_socket,
                alarm: muster_process::Alarm::of_runtime(),
                stop: sign,
                in_process: true,
            };
            runtime.block_on(muster_worker::run(orders, deps)).expect("no error");
            drop(data);
        });
        reports.next().await.expect("ready");
        let agents: Vec<AgentId> = (0..AGENTS).map(|_| AgentId::generate()).collect();
        let spawns: Vec<_> = agents.iter().map(|agent| (worker, Envelope::new(FENCE, spawn(*agent, 1)))).collect();
        registry.send(&[], &spawns).await.expect("sent");
        let mut started = 0;
        while started < AGENTS {
            started += reports.next().await.expect("starts").len();
        }
        Self { registry, worker, agents, reports, stop, thread, settles }
    }

    async fn send(&self, number: usize) {
        let input = Payload::trusted(r#"{"text":"hello"}"#);
        let order = |at: usize| TaskOrder {
            task_id: TaskId::generate(),
            attempt: 1,
            agent_id: self.agents[at % AGENTS],
            epoch: Epoch(1),
            input: input.clone(),
            timeout: None,
            sole_tenant: Some("acme".to_owned()),
            check: None,
        };
        let command = Command::RunTasks { tasks: (0..number).map(order).collect() };
        self.registry.send(&[], &[(self.worker, Envelope::new(FENCE, command))]).await.expect("sent");
    }

    /// Waits for the next ends, and says how many there are and in how many reports.
    async fn ends(&mut self) -> (usize, usize) {
        let deliveries = self.reports.next().await.expect("reports");
        let over = |body: &ReportBody| if let ReportBody::Tasks { over, .. } = body { over.len() } else { 0 };
        let reports = deliveries.iter().filter_map(|delivery| delivery.report.as_ref());
        let ends = reports.clone().map(|report| over(&report.body)).sum();
        let last = reports.map(|report| report.seq).max().unwrap_or(0);
        if self.settles {
            self.registry.settle(&deliveries, &[(self.worker, last)]).await.expect("settled");
        } else {
            self.registry.settle(&deliveries, &[]).await.expect("deleted");
        }
        (ends, deliveries.len())
    }

    /// Has so many tasks done, with so many under way at a time.
    async fn run(&mut self, tasks: usize, under_way: usize) -> (Duration, usize) {
        let begin = Instant::now();
        let (mut sent, mut done, mut reports) = (0, 0, 0);
        while done < tasks {
            while sent < tasks && sent - done < under_way {
                let number = BATCH.min(under_way).min(tasks - sent);
                self.send(number).await;
                sent += number;
            }
            let (ends, deliveries) = self.ends().await;
            (done, reports) = (done + ends, reports + deliveries);
        }
        (begin.elapsed(), reports)
    }

    fn end(self) {
        self.stop.kill();
        self.thread.join().expect("no panic");
    }
}

async fn measure(what: &str, settles: bool, tasks: usize, under_way: usize) -> f64 {
    let mut side = Side::start(settles).await;
    let (took, reports) = side.run(tasks, under_way).await;
    side.end();
    let rate = tasks as f64 / took.as_secs_f64();
    println!("{what}, {under_way} under way: {rate:.0} a second, {:.1} in a report", tasks as f64 / reports as f64);
    rate
}

#[tokio::test]
#[ignore = "prints figures"]
async fn echo_tasks() {
    for under_way in [1, 100, 1000, 10_000] {
        measure("echo tasks", true, if under_way == 1 { 20_000 } else { 300_000 }, under_way).await;
    }
    // Nothing is ever settled: what a worker keeps must not make it slower.
    let few = measure("echo tasks without a settlement, 50,000", false, 50_000, 1000).await;
    let many = measure("echo tasks without a settlement, 400,000", false, 400_000, 1000).await;
    assert!(many > few / 3.0, "{many:.0} a second of many, {few:.0} of few");
}
