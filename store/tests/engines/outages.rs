//! PostgreSQL that is away and comes back, and databases that are not what they must be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{Fence, ProcessId};
use muster_store::postgres::{self, PostgresOptions, PostgresStore};
use muster_store::{Leadership, Migrated, Store, StoreError, Write};
use sqlx::{Connection, Executor, PgConnection};

use crate::conformance::{LEASE, NEWEST, add, add_pool, add_worker, event, migrations_after, new_agent};
use crate::servers::{Postgres, Servers};

pub(crate) fn options(url: &str) -> PostgresOptions {
    PostgresOptions { url: url.to_owned(), migrate_url: None, pgbouncer: false, max_connections: 3 }
}

pub(crate) async fn lead(store: &PostgresStore) -> Fence {
    match store.lead("the test", "", LEASE).await.expect("an answer") {
        Leadership::Leads(fence) => fence,
        held @ Leadership::Held { .. } => panic!("{held:?}"),
    }
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again() {
    let server = Postgres::start().await;
    let url = server.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("one")]).await.expect("a batch");

    server.stop();
    let start = Instant::now();
    let away = store.apply(fence, &[add_pool("two")]).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    assert!(start.elapsed() < Duration::from_secs(6), "it is said quickly");
    assert!(matches!(store.pools().await, Err(StoreError::Unavailable(_))));
    let refused = PostgresStore::connect(options(&url)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");

    server.resume().await;
    store.apply(fence, &[add_pool("two")]).await.expect("it is back");
    assert_eq!(store.pools().await.expect("it is back").len(), 2);
    store.close().await;
}

/// A person's transaction holds the leader's row: the batch gives up in time, and works afterwards.
#[tokio::test]
async fn a_lock_is_not_waited_for_for_ever() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;
    let mut person = PgConnection::connect(&url).await.expect("a connection");
    let mut holding = person.begin().await.expect("a transaction");
    holding.execute("SELECT fence FROM leader FOR UPDATE").await.expect("a lock");
    let start = Instant::now();
    let result = store.apply(fence, &[add_pool("one")]).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(9));
    holding.rollback().await.expect("the lock is given back");
    store.apply(fence, &[add_pool("one")]).await.expect("a batch");
    store.close().await;
}

/// A batch that is under way is carried out, and its connection is not kept from the close that waits for it.
#[tokio::test]
async fn a_close_waits_for_the_batch_that_is_under_way_and_for_nothing_else() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let store = Arc::new(PostgresStore::connect(options(&url)).await.expect("a new database"));
    let fence = lead(&store).await;
    let [mut person, mut watcher] = [
        PgConnection::connect(&url).await.expect("a connection"),
        PgConnection::connect(&url).await.expect("a connection"),
    ];
    let mut holding = person.begin().await.expect("a transaction");
    holding.execute("SELECT fence FROM leader FOR UPDATE").await.expect("a lock");
    let batch = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.apply(fence, &[add_pool("one")]).await }
    });
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watcher).await.expect("a count") == 0 {}
    let close = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });
    while store.pools().await.is_ok() {}
    holding.rollback().await.expect("the lock is given back");
    batch.await.expect("no panic").expect("the batch");
    tokio::time::timeout(Duration::from_secs(20), close).await.expect("it closes").expect("no panic");
}

/// Whatever the server is set to, a commit is written before it is answered, and a supervisor that stands still in the
/// middle of a transaction loses its lock on the leader's row. A trigger notes both settings from within the transaction.
#[tokio::test]
async fn a_transaction_brings_its_own_settings() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let mut person = PgConnection::connect(&url).await.expect("a connection");
    let spy = "CREATE TABLE noted (sync TEXT, idle TEXT); \
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted VALUES \
        (current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')); \
        RETURN NEW; END $$; CREATE TRIGGER note BEFORE INSERT ON pools FOR EACH ROW EXECUTE FUNCTION note(); \
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
    sqlx::raw_sql(spy).execute(&mut person).await.expect("a trigger");
    store.close().await;

    let store = PostgresStore::connect(options(&url)).await.expect("with the new setting");
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("one")]).await.expect("a batch");
    let noted: (String, String) =
        sqlx::query_as("SELECT sync, idle FROM noted").fetch_one(&mut person).await.expect("a note");
    assert_eq!(noted, ("on".to_owned(), "5s".to_owned()));
    store.close().await;
}

#[tokio::test]
async fn migrations_are_reported_and_newer_ones_refused() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let first = postgres::migrate(&url).await.expect("an empty database");
    assert_eq!(first, Migrated { before: 0, after: NEWEST, applied: migrations_after(0) });
    let second = postgres::migrate(&url).await.expect("nothing to do");
    assert_eq!(second, Migrated { before: NEWEST, after: NEWEST, applied: vec![] });

    let mut person = PgConnection::connect(&url).await.expect("a connection");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (99, 'newer', true, '', 0)";
    person.execute(newer).await.expect("a newer migration");
    let refused = PostgresStore::connect(options(&url)).await;
    assert!(matches!(refused, Err(StoreError::TooNew { found: 99, known: NEWEST })), "{refused:?}");
    assert!(matches!(postgres::migrate(&url).await, Err(StoreError::TooNew { .. })));
}

/// Two supervisors with one fence, as around a takeover: one store alone commits one batch at a time, so only two of them
/// show that the leader's row keeps writers apart. Slots are not given twice, and numbers become visible in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_two_supervisors_are_one_after_the_other() {
    const BATCHES: u64 = 60;
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let stores = [
        Arc::new(PostgresStore::connect(options(&url)).await.expect("one")),
        Arc::new(PostgresStore::connect(options(&url)).await.expect("two")),
    ];
    let fence = lead(&stores[0]).await;
    let worker = ProcessId::generate();
    stores[0].apply(fence, &[add_pool("dev"), add_worker(worker, "dev", 50)]).await.expect("a batch");
    let writers: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| {
            tokio::spawn(async move {
                for n in 0..BATCHES {
                    let batch = [Write::Event(event(n.cast_signed())), add(&new_agent("dev", Some(worker)))];
                    store.apply(fence, &batch).await.expect("a batch");
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 2 * BATCHES && !(writers.iter().all(|w| w.is_finished()) && seen == bound(&stores[0]).await) {
        for row in stores[1].events(seen, 10).await.expect("events") {
            assert_eq!(row.seq, seen + 1, "a number became visible before a lower one");
            seen = row.seq;
        }
    }
    for writer in writers {
        writer.await.expect("no batch failed");
    }
    let live = stores[0].live_agents().await.expect("agents");
    assert_eq!(live.iter().filter(|row| row.assignment.is_some()).count(), 50, "as many as the worker holds");
    assert_eq!(bound(&stores[1]).await, 2 * BATCHES);
    for store in stores {
        store.close().await;
    }
}

async fn bound(store: &PostgresStore) -> u64 {
    store.event_bounds().await.expect("bounds").1
}

#[tokio::test]
async fn two_supervisors_may_start_at_once() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let (one, two) = tokio::join!(PostgresStore::connect(options(&url)), PostgresStore::connect(options(&url)));
    let (one, two) = (one.expect("one"), two.expect("two"));
    lead(&one).await;
    let held = two.lead("the other", "", LEASE).await.expect("an answer");
    assert!(matches!(held, Leadership::Held { .. }), "{held:?}");
    assert!(one.describe().starts_with("postgres at /"), "{}", one.describe());
    one.close().await;
    two.close().await;
}
