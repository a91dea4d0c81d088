//! How many tasks a second are made, started and ended, in batches of several sizes, and whether a long queue slows it:
//! `cargo run --release --example task_cost -- [--waiting N] [postgresql://...]`. Without a URL it is SQLite in a new file.

use std::error::Error;
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use muster_domain::{
    AgentId, Attempt, AttemptEnd, AttemptRecord, Epoch, Fence, FollowUp, Payload, PoolConfig, PoolName, PoolOrigin,
    PoolSpec, Priority, ProcessId, Tally, TaskId, TaskSpec, Timestamp, Usage,
};
use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::sqlite::SqliteStore;
use muster_store::{
    Durability, Leadership, NewTask, QueueKey, QueueSlice, Store, StoreError, TaskEnding, TaskOutcome, TaskStart,
    Write, WriteOutcome,
};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const ROUNDS: usize = 3;
const BATCHES: [usize; 4] = [1, 8, 64, 500];
/// Tasks per round, so that every size of batch works on as much.
const TASKS: usize = 20_000;
/// Looks into a line per round.
const LOOKS: u32 = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let waiting = match args.iter().position(|arg| arg == "--waiting") {
        Some(at) => args.get(at + 1).ok_or("--waiting needs a number")?.parse()?,
        None => 1_000,
    };
    let folder = tempfile::tempdir()?;
    match args.iter().find(|arg| arg.starts_with("postgres")) {
        Some(url) => {
            let url = url.clone();
            let options = PostgresOptions { url, migrate_url: None, pgbouncer: false, max_connections: 4 };
            measure(&PostgresStore::connect(options).await?, waiting).await
        }
        None => {
            let path = folder.path().join("muster.db");
            measure(&SqliteStore::open(&path, Durability::Process).await?, waiting).await
        }
    }
}

async fn measure(store: &impl Store, waiting: usize) -> Result<(), Box<dyn Error>> {
    let Leadership::Leads(fence) = store.lead("example", "", Duration::from_secs(600)).await? else {
        return Err("somebody else leads".into());
    };
    let bench = Bench { store, fence, pool: "dev".parse()? };
    store.apply(fence, &[Write::AddPool { spec: pool_spec(&bench.pool), at: Timestamp::now() }]).await?;
    println!("{}", store.describe());
    let cost = bench.submit(waiting, 500).await?;
    println!("{waiting} tasks wait: submitted in batches of 500, {cost}");
    for round in 1..=ROUNDS {
        println!("round {round}: {} a look into the line", show(bench.look().await?));
        for size in BATCHES {
            let tasks = if size == 1 { TASKS / 10 } else { TASKS };
            let at_once = bench.run_at_once(tasks, size).await?;
            let submitted = bench.submit(tasks, size).await?;
            let queued = bench.run_queued(tasks, size).await?;
            println!(
                "  batches of {size}: made running and ended {at_once};\n    submitted {submitted};\n    started and ended {queued}"
            );
        }
    }
    store.close().await;
    Ok(())
}

struct Bench<'s, S> {
    store: &'s S,
    fence: Fence,
    pool: PoolName,
}

impl<S: Store> Bench<'_, S> {
    /// Makes tasks that run at once, each batch ended by the next commit.
    async fn run_at_once(&self, tasks: usize, size: usize) -> Result<Cost, Box<dyn Error>> {
        let start = Start::now()?;
        for _ in 0..tasks / size {
            let new: Vec<NewTask> = (0..size).map(|_| new_task(&self.pool, true)).collect();
            let ends = new.iter().map(|task| ending(task.spec.task_id)).collect();
            self.apply(Write::AddTasks(new)).await?;
            self.apply(Write::EndTasks(ends)).await?;
        }
        start.cost(tasks)
    }

    async fn submit(&self, tasks: usize, size: usize) -> Result<Cost, Box<dyn Error>> {
        let start = Start::now()?;
        for _ in 0..tasks / size {
            self.apply(Write::AddTasks((0..size).map(|_| new_task(&self.pool, false)).collect())).await?;
        }
        start.cost(tasks)
    }

    /// Works off tasks from the head of the line.
    async fn run_queued(&self, tasks: usize, size: usize) -> Result<Cost, Box<dyn Error>> {
        let start = Start::now()?;
        for _ in 0..tasks / size {
            let head: Vec<TaskId> = self.head(u32::try_from(size)?).await?;
            self.apply(Write::StartTasks(head.iter().map(|id| started(*id)).collect())).await?;
            self.apply(Write::EndTasks(head.into_iter().map(ending).collect())).await?;
        }
        start.cost(tasks)
    }

    async fn look(&self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        for _ in 0..LOOKS {
            self.head(64).await?;
        }
        Ok(start.elapsed() / LOOKS)
    }

    async fn head(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let line = QueueKey::Shared { tenant: "default".to_owned(), priority: Priority::NORMAL };
        let head =
            self.store.queue_slices(&self.pool, &[QueueSlice { queue: line, after: None, limit }]).await?.remove(0);
        Ok(head.into_iter().map(|task| task.task_id).collect())
    }

    async fn apply(&self, write: Write) -> Result<(), Box<dyn Error>> {
        match self.store.apply(self.fence, &[write]).await?.pop() {
            Some(WriteOutcome::Tasks(tasks)) if tasks.iter().all(|task| *task == TaskOutcome::Applied) => Ok(()),
            other => Err(format!("not all of it was carried out: {other:?}").into()),
        }
    }
}

/// The time by the clock and by the processor, of which a busy machine changes only the first.
struct Start {
    at: Instant,
    cpu: Duration,
}

struct Cost {
    a_second: f64,
    cpu_micros: f64,
}

impl Start {
    fn now() -> Result<Self, Box<dyn Error>> {
        Ok(Self { at: Instant::now(), cpu: cpu_time()? })
    }

    fn cost(&self, tasks: usize) -> Result<Cost, Box<dyn Error>> {
        let tasks = tasks as f64;
        let a_second = tasks / self.at.elapsed().as_secs_f64();
        Ok(Cost { a_second, cpu_micros: (cpu_time()? - self.cpu).as_secs_f64() * 1e6 / tasks })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} a second, {:.1} us of this process each", self.a_second, self.cpu_micros)
    }
}

/// What all threads of this process have used.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds()).iter().sum::<i64>();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

fn show(cost: Duration) -> String {
    format!("{:.0} us", cost.as_secs_f64() * 1e6)
}

fn pool_spec(pool: &PoolName) -> PoolSpec {
    PoolSpec {
        pool_name: pool.clone(),
        role_type: "developer".to_owned(),
        runtime: "echo".to_owned(),
        config: PoolConfig::default(),
        origin: PoolOrigin::Api,
    }
}

/// Of the same agent always: making ids is not what is measured.
fn attempt() -> Attempt {
    static AGENT: LazyLock<(AgentId, ProcessId)> = LazyLock::new(|| (AgentId::generate(), ProcessId::generate()));
    Attempt { number: 1, agent_id: AGENT.0, epoch: Epoch(1), process_id: AGENT.1 }
}

fn new_task(pool: &PoolName, start: bool) -> NewTask {
    let spec = TaskSpec {
        task_id: TaskId::generate(),
        pool_name: pool.clone(),
        tenant: "default".to_owned(),
        project_id: None,
        agent_id: None,
        check: false,
        priority: Priority::NORMAL,
        max_attempts: 3,
        timeout: None,
        not_before: None,
        expires_at: None,
    };
    let input = Payload::trusted(r#"{"prompt": "say hello to everybody"}"#);
    NewTask { spec, delay: None, input, key: None, start: start.then(attempt), at: Timestamp::now() }
}

fn started(task_id: TaskId) -> TaskStart {
    TaskStart { task_id, attempt: attempt(), at: Timestamp::now() }
}

fn ending(task_id: TaskId) -> TaskEnding {
    let Attempt { number, agent_id, process_id, .. } = attempt();
    let (started_at, ended_at) = (Timestamp::now(), Timestamp::now());
    let (end, last_output, usage) = (AttemptEnd::Succeeded, String::new(), Usage::default());
    TaskEnding {
        task_id,
        record: AttemptRecord { number, agent_id, process_id, started_at, ended_at, end, last_output, usage },
        then: FollowUp::Succeed,
        output: Some(Payload::trusted(r#"{"prompt": "say hello to everybody"}"#)),
        usage,
        tally: Tally { spent: 1, spoiled: 0 },
    }
}
