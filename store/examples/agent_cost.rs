//! What many agents cost on each engine: `cargo run --release --example agent_cost`, or with the URL of an empty PostgreSQL
//! database, and of a PgBouncer before it: `... -- postgresql://server/db postgresql://bouncer:6432/db`.
//!
//! They are made in batches as large as a keeper's turn, each agent with its event; then all lose their workers and are placed
//! anew, as when everything was killed; then all are stopped and leave.

use std::time::{Duration, Instant};

use muster_domain::{
    AgentId, AgentSpec, Assignment, Cause, Ending, Epoch, EventDraft, EventKind, Fence, FinalState, PoolConfig,
    PoolName, PoolOrigin, PoolSpec, ProcessId, StopReason, Timestamp,
};
use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::sqlite::SqliteStore;
use muster_store::{Durability, Leadership, NewAgent, Store, WorkerSpec, Write, WriteOutcome};

const AGENTS: usize = 10_000;
const SLOTS: usize = 10;
/// Messages of one turn, and transitions of one commit.
const TURN: usize = 512;
const MOVES: usize = 1_000;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let folder = tempfile::tempdir()?;
    let sqlite = SqliteStore::open(&folder.path().join("muster.db"), Durability::Process).await?;
    let base = measure(&sqlite, "SQLite").await?;
    sqlite.close().await;
    if let Some(url) = urls.first() {
        let bouncer = urls.get(1);
        let options = PostgresOptions {
            url: bouncer.unwrap_or(url).clone(),
            migrate_url: bouncer.map(|_| url.clone()),
            pgbouncer: bouncer.is_some(),
            max_connections: 10,
        };
        let postgres = PostgresStore::connect(options).await?;
        let name = if bouncer.is_some() { "PostgreSQL through PgBouncer" } else { "PostgreSQL" };
        let took = measure(&postgres, name).await?;
        postgres.close().await;
        println!("{name}: {:.1} times SQLite's time", took.as_secs_f64() / base.as_secs_f64());
    }
    Ok(())
}

async fn measure(store: &dyn Store, name: &str) -> Result<Duration, Failure> {
    let Leadership::Leads(fence) = store.lead("example", "", Duration::from_secs(600)).await? else {
        return Err("somebody else leads".into());
    };
    let pool: PoolName = "dev".parse()?;
    let config = PoolConfig::default();
    let (role_type, runtime) = ("developer".to_owned(), "echo".to_owned());
    let spec = PoolSpec { pool_name: pool.clone(), role_type, runtime, config, origin: PoolOrigin::Api };
    store.apply(fence, &[Write::AddPool { spec, at: Timestamp::now() }]).await?;
    let begun = Instant::now();
    let agents = spawn(store, fence, &pool).await?;
    let spawned = begun.elapsed();
    restore(store, fence, &pool, &agents).await?;
    let restored = begun.elapsed();
    stop(store, fence, &agents).await?;
    let stopped = begun.elapsed();
    println!(
        "{name}: {AGENTS} agents spawned in {spawned:.2?}, restored in {:.2?}, stopped in {:.2?}, together {stopped:.2?}",
        restored - spawned,
        stopped - restored
    );
    Ok(stopped)
}

async fn spawn(store: &dyn Store, fence: Fence, pool: &PoolName) -> Result<Vec<AgentId>, Failure> {
    let mut agents = Vec::with_capacity(AGENTS);
    while agents.len() < AGENTS {
        let count = TURN.min(AGENTS - agents.len());
        let workers = add_workers(pool, count.div_ceil(SLOTS));
        let mut writes: Vec<Write> =
            workers.iter().flat_map(|(write, event, _)| [write.clone(), event.clone()]).collect();
        for number in 0..count {
            let agent = new_agent(pool, workers[number / SLOTS].2);
            let id = agent.spec.agent_id;
            agents.push(id);
            writes.push(Write::AddAgent(Box::new(agent)));
            writes.push(event(EventKind::AgentSpawned, pool, Some(id)));
        }
        apply(store, fence, &writes).await?;
    }
    Ok(agents)
}

/// All have lost their workers, and get new ones.
async fn restore(store: &dyn Store, fence: Fence, pool: &PoolName, agents: &[AgentId]) -> Result<(), Failure> {
    for agents in agents.chunks(MOVES) {
        apply(store, fence, &leave(pool, agents, 1, Cause::WorkerLost, None)).await?;
        let workers = add_workers(pool, agents.len().div_ceil(SLOTS));
        let mut writes: Vec<Write> =
            workers.iter().flat_map(|(write, event, _)| [write.clone(), event.clone()]).collect();
        for (number, agent_id) in agents.iter().enumerate() {
            let to = Assignment { process_id: workers[number / SLOTS].2, epoch: Epoch(2) };
            writes.push(Write::Assign { agent_id: *agent_id, to, at: Timestamp::now() });
        }
        apply(store, fence, &writes).await?;
    }
    Ok(())
}

async fn stop(store: &dyn Store, fence: Fence, agents: &[AgentId]) -> Result<(), Failure> {
    let pool: PoolName = "dev".parse()?;
    for agents in agents.chunks(MOVES) {
        let (reason, at) = (StopReason::Requested, Timestamp::now());
        let stop = |agent_id: &AgentId| {
            [
                Write::StopAgent { agent_id: *agent_id, reason, at },
                event(EventKind::AgentStopping, &pool, Some(*agent_id)),
            ]
        };
        apply(store, fence, &agents.iter().flat_map(stop).collect::<Vec<_>>()).await?;
        let then = Some(FinalState::Terminated(reason));
        apply(store, fence, &leave(&pool, agents, 2, Cause::Stopped, then)).await?;
    }
    Ok(())
}

fn leave(pool: &PoolName, agents: &[AgentId], epoch: u64, cause: Cause, then: Option<FinalState>) -> Vec<Write> {
    let at = Timestamp::now();
    let leave = |agent_id: &AgentId| {
        let ending = Ending { cause: cause.clone(), last_output: String::new(), at };
        [
            Write::Release { agent_id: *agent_id, epoch: Epoch(epoch), ending, then, at },
            event(EventKind::AgentTerminated, pool, Some(*agent_id)),
        ]
    };
    agents.iter().flat_map(leave).collect()
}

async fn apply(store: &dyn Store, fence: Fence, writes: &[Write]) -> Result<(), Failure> {
    let outcomes = store.apply(fence, writes).await?;
    match outcomes.iter().position(|outcome| *outcome != WriteOutcome::Applied) {
        Some(place) => Err(format!("{:?}: {:?}", writes[place], outcomes[place]).into()),
        None => Ok(()),
    }
}

/// Writes that make workers, each with its event, and their ids.
fn add_workers(pool: &PoolName, count: usize) -> Vec<(Write, Write, ProcessId)> {
    let worker = |_| {
        let process_id = ProcessId::generate();
        let add = Write::AddWorker {
            process_id,
            pool: pool.clone(),
            capacity: 10,
            key: muster_domain::WorkerKey::generate(),
            spec: WorkerSpec::local(),
            at: Timestamp::now(),
        };
        (add, event(EventKind::WorkerStarting, pool, None), process_id)
    };
    (0..count).map(worker).collect()
}

fn new_agent(pool: &PoolName, worker: ProcessId) -> NewAgent {
    let spec = AgentSpec {
        agent_id: AgentId::generate(),
        pool_name: pool.clone(),
        role_type: "developer".to_owned(),
        project_id: "example".to_owned(),
        human_name: "Ada".to_owned(),
        heartbeat_interval: Duration::from_secs(30),
        max_idle_time: Duration::from_secs(300),
        on_demand: false,
    };
    NewAgent { spec, worker: Some(worker), key: None, at: Timestamp::now() }
}

fn event(kind: EventKind, pool: &PoolName, agent_id: Option<AgentId>) -> Write {
    Write::Event(EventDraft {
        at: Timestamp::now(),
        kind,
        pool_name: Some(pool.clone()),
        agent_id,
        process_id: None,
        reason: "an example".to_owned(),
    })
}
