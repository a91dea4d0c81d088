//! PostgreSQL databases and roles with settings that are not the usual ones.

use muster_domain::{Cause, Ending, Epoch, Payload};
use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::{AgentFilter, NewTask, Store, StoreError, TaskOutcome, TaskQueue, Write, WriteOutcome};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::conformance::tasks::new_task;
use crate::conformance::{add, add_pool, add_worker, at, event, new_agent};
use crate::outages::{lead, options};
use crate::servers::Servers;

async fn person(url: &str, sql: &str) {
    let mut person = PgConnection::connect(url).await.expect("a connection");
    person.execute(AssertSqlSafe(sql.to_owned())).await.expect(sql);
}

/// Characters that the database lacks are stored all the same, in a form that can be, and somebody is told.
#[tokio::test]
async fn a_database_of_another_encoding_takes_every_text() {
    let servers = Servers::shared().await;
    let url = servers.make_database_of("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0").await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let warning = store.warning().expect("a warning");
    assert!(warning.contains("LATIN1") && warning.contains("UTF8"), "{warning}");
    let fence = lead(&store).await;
    let worker = muster_domain::ProcessId::generate();
    let mut agent = new_agent("dev", Some(worker));
    agent.spec.project_id = "caf\u{e9} \u{1f600}".to_owned();
    let ending = Ending { cause: Cause::WorkerLost, last_output: "\u{65e5}\0 \u{1f600}".to_owned(), at: at(5) };
    let release = Write::Release {
        agent_id: agent.spec.agent_id,
        epoch: Epoch(1),
        ending: ending.clone(),
        then: None,
        at: at(6),
    };
    let task = NewTask { input: Payload::quoted("\u{1f600}"), ..new_task("dev") };
    let id = task.spec.task_id;
    let writes = [add_pool("dev"), add_worker(worker, "dev", 1), add(&agent), release, Write::AddTasks(vec![task])];
    let outcomes = store.apply(fence, &writes).await.expect("a batch");
    assert_eq!(outcomes[4], WriteOutcome::Tasks(vec![TaskOutcome::Applied]));
    let row = store.agent(agent.spec.agent_id).await.expect("a read").expect("an agent");
    assert_eq!(row.last_ending, Some(ending), "JSON is read back as it was");
    assert_eq!(row.spec.project_id, "caf\u{e9} \\ud83d\\ude00", "other text shows what it was");
    let input = store.inputs(&[id]).await.expect("inputs").remove(0).1;
    assert_eq!(serde_json::from_str::<String>(input.as_str()).expect("JSON"), "\u{1f600}");
    let filter = AgentFilter { project: Some(agent.spec.project_id.clone()), ..AgentFilter::default() };
    assert_eq!(store.agents(&filter, None, 9).await.expect("a page").len(), 1, "it is found by what was asked for");
    store.close().await;

    let utf8 = PostgresStore::connect(options(&servers.make_database().await)).await.expect("a new database");
    assert_eq!(utf8.warning(), None);
    utf8.close().await;
}

/// A role may be serializable by default; many callers at once are all served.
#[tokio::test]
async fn a_stricter_isolation_refuses_nobody() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', \
        current_database()); END $$";
    person(&url, set).await;
    let wide = PostgresOptions { max_connections: 10, ..options(&url) };
    let store = std::sync::Arc::new(PostgresStore::connect(wide).await.expect("a new database"));
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("dev")]).await.expect("a batch");
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store.apply(fence, &[add(&new_agent("dev", None)), Write::Event(event(n))]).await.expect("stored");
                store.live_agents().await.expect("read");
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    assert_eq!(store.event_bounds().await.expect("bounds"), (1, 40));
    store.close().await;
}

/// A database that takes no writes for now is away, and says why.
#[tokio::test]
async fn a_read_only_database_is_named() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;
    store.close().await;
    let store = PostgresStore::connect(options(&url)).await.expect("the same database");
    let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
        current_database()); END $$";
    person(&url, set).await;
    let error = store.apply(fence, &[add_pool("dev")]).await.expect_err("nothing is written");
    assert!(matches!(&error, StoreError::Unavailable(_)) && error.to_string().contains("read-only"), "{error:?}");
    assert!(store.pools().await.expect("reads go on").is_empty());
    store.close().await;
}
