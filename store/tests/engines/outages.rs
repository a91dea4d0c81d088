//! PostgreSQL that is away and comes back, and databases that are not what they must be.

use std::time::{Duration, Instant};

use muster_domain::Fence;
use muster_store::postgres::{self, PostgresOptions, PostgresStore};
use muster_store::{Leadership, Migrated, Store, StoreError};
use sqlx::{Connection, Executor, PgConnection};

use crate::conformance::{LEASE, add_pool};
use crate::servers::{Postgres, Servers};

fn options(url: &str) -> PostgresOptions {
    PostgresOptions { url: url.to_owned(), migrate_url: None, pgbouncer: false, max_connections: 3 }
}

async fn lead(store: &PostgresStore) -> Fence {
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

/// A supervisor that stands still in the middle of a transaction holds the leader's row. The server takes it back.
#[tokio::test]
async fn a_commit_is_synced_and_bounded_whatever_the_server_is_set_to() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;

    // A person's transaction holds the row: the batch gives up in time, and works afterwards.
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

#[tokio::test]
async fn migrations_are_reported_and_newer_ones_refused() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let first = postgres::migrate(&url).await.expect("an empty database");
    assert_eq!(first, Migrated { before: 0, after: 1, applied: vec![1] });
    let second = postgres::migrate(&url).await.expect("nothing to do");
    assert_eq!(second, Migrated { before: 1, after: 1, applied: vec![] });

    let mut person = PgConnection::connect(&url).await.expect("a connection");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (99, 'newer', true, '', 0)";
    person.execute(newer).await.expect("a newer migration");
    let refused = PostgresStore::connect(options(&url)).await;
    assert!(matches!(refused, Err(StoreError::TooNew { found: 99, known: 1 })), "{refused:?}");
    assert!(matches!(postgres::migrate(&url).await, Err(StoreError::TooNew { .. })));
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
