//! What a commit costs, beside a bare one-row commit over the same library: `cargo run --release --example commit_cost`.

use std::path::Path;
use std::time::{Duration, Instant};

use muster_domain::{
    AgentId, AgentSpec, EventDraft, EventKind, Fence, PoolConfig, PoolName, PoolOrigin, PoolSpec, ProcessId, Timestamp,
    WorkerKey,
};
use muster_store::sqlite::SqliteStore;
use muster_store::{Durability, Leadership, NewAgent, Store, StoreError, WorkerSpec, Write};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, SqliteConnection};

const ROUNDS: usize = 5;
const COMMITS: usize = 2_000;
const SLOTS: u32 = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut bare = bare_connection(&folder.path().join("bare.db")).await?;
    let store = SqliteStore::open(&folder.path().join("muster.db"), Durability::Process).await?;
    let Leadership::Leads(fence) = store.lead("example", "", Duration::from_secs(15)).await? else {
        return Err("somebody else leads".into());
    };
    let pool: PoolName = "dev".parse()?;
    store.apply(fence, &[Write::AddPool { spec: pool_spec(&pool), at: Timestamp::now() }]).await?;
    for round in 1..=ROUNDS {
        let bare_cost = time_bare(&mut bare).await?;
        let add_cost = time_adds(&store, fence, &pool, false).await?;
        let add_and_tell_cost = time_adds(&store, fence, &pool, true).await?;
        println!(
            "round {round}, median of {COMMITS}: bare row {bare_cost:?}, new agent {add_cost:?}, with its event \
             {add_and_tell_cost:?}"
        );
    }
    store.close().await;
    Ok(())
}

async fn bare_connection(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    connection.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, at BIGINT)").await?;
    Ok(connection)
}

async fn time_bare(connection: &mut SqliteConnection) -> Result<Duration, sqlx::Error> {
    let mut costs = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let start = Instant::now();
        let insert = sqlx::query("INSERT INTO bare VALUES ($1, $2)");
        insert.bind(AgentId::generate().to_string()).bind(1_i64).execute(&mut *connection).await?;
        costs.push(start.elapsed());
    }
    Ok(median(costs))
}

async fn time_adds(store: &SqliteStore, fence: Fence, pool: &PoolName, tell: bool) -> Result<Duration, StoreError> {
    let mut costs = Vec::with_capacity(COMMITS);
    let mut worker = ProcessId::generate();
    for n in 0..COMMITS {
        if n % SLOTS as usize == 0 {
            worker = ProcessId::generate();
            let (key, at) = (WorkerKey::generate(), Timestamp::now());
            let add = Write::AddWorker {
                process_id: worker,
                pool: pool.clone(),
                capacity: SLOTS,
                key,
                spec: WorkerSpec::local(),
                at,
            };
            store.apply(fence, &[add]).await?;
        }
        let agent = new_agent(pool, worker);
        let event = event(&agent);
        let mut batch = vec![Write::AddAgent(Box::new(agent))];
        if tell {
            batch.push(Write::Event(event));
        }
        let start = Instant::now();
        store.apply(fence, &batch).await?;
        costs.push(start.elapsed());
    }
    Ok(median(costs))
}

fn median(mut costs: Vec<Duration>) -> Duration {
    costs.sort_unstable();
    costs[costs.len() / 2]
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

fn event(agent: &NewAgent) -> EventDraft {
    EventDraft {
        at: agent.at,
        kind: EventKind::AgentSpawned,
        pool_name: Some(agent.spec.pool_name.clone()),
        agent_id: Some(agent.spec.agent_id),
        process_id: agent.worker,
        reason: String::new(),
    }
}
