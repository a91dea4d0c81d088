//! Databases that an older version of Muster has left.

use std::path::Path;

use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::sqlite::SqliteStore;
use muster_store::{Durability, Leadership, Migrated, Store, WriteOutcome, postgres, sqlite};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::conformance::{LEASE, NEWEST, add, key, keyed, migrations_after};
use crate::servers::Servers;

/// What one request of the older version has left: a pool, an agent, and the key that made it.
const LEFT: [&str; 2] = [
    "INSERT INTO pools (pool_name, role_type, runtime, config, origin, draining, created_at, workers_spawned, \
     workers_terminated) VALUES ('dev', 'developer', 'echo', '{}', 'api', 0, 1, 0, 0)",
    "INSERT INTO idempotency_keys (caller, route, idempotency_key, body_hash, agent_id, created_at) VALUES \
     ('', 'POST /spawn', 'k', '0707070707070707070707070707070707070707070707070707070707070707', \
     '0198a0a0-0000-7000-8000-000000000001', 1)",
];

/// The first two migrations of an engine.
async fn first_two(engine: &str) -> (Migrator, TempDir) {
    let folder = tempfile::tempdir().expect("a temp folder");
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(engine);
    for file in ["0001_foundation.sql", "0002_restarts.sql"] {
        std::fs::copy(all.join(file), folder.path().join(file)).expect("a migration");
    }
    (Migrator::new(folder.path()).await.expect("two migrations"), folder)
}

/// The key is still in force, and keys work as before.
async fn look_at(store: &impl Store) {
    let holder = store.key_holder(&key("k", 9)).await.expect("a read");
    let agent_id = "0198a0a0-0000-7000-8000-000000000001".parse().expect("an id");
    assert_eq!(holder, Some((agent_id, [7; 32])));
    let Leadership::Leads(fence) = store.lead("the test", "", LEASE).await.expect("an answer") else {
        panic!("nobody leads yet");
    };
    let outcomes = store.apply(fence, &[add(&keyed("k", 7)), add(&keyed("new", 7))]).await.expect("a batch");
    assert_eq!(outcomes, [WriteOutcome::Replayed { agent_id, body_hash: [7; 32] }, WriteOutcome::Unplaced]);
    store.close().await;
}

#[tokio::test]
async fn keys_of_an_older_file_stay_in_force() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut older = options.connect().await.expect("a file");
    let (migrator, _folder) = first_two("sqlite").await;
    migrator.run(&mut older).await.expect("the older schema");
    for statement in LEFT {
        older.execute(statement).await.expect(statement);
    }
    older.close().await.expect("a goodbye");
    let migrated = sqlite::migrate(&path).await.expect("a newer schema");
    assert_eq!(migrated, Migrated { before: 2, after: NEWEST, applied: migrations_after(2) });
    look_at(&SqliteStore::open(&path, Durability::Process).await.expect("a file")).await;
}

#[tokio::test]
async fn keys_of_an_older_database_stay_in_force() {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let mut older = PgConnection::connect(&url).await.expect("a connection");
    let (migrator, _folder) = first_two("postgres").await;
    migrator.run(&mut older).await.expect("the older schema");
    for statement in LEFT {
        older.execute(statement).await.expect(statement);
    }
    older.close().await.expect("a goodbye");
    let migrated = postgres::migrate(&url).await.expect("a newer schema");
    assert_eq!(migrated, Migrated { before: 2, after: NEWEST, applied: migrations_after(2) });
    let options = PostgresOptions { url, migrate_url: None, pgbouncer: false, max_connections: 3 };
    look_at(&PostgresStore::connect(options).await.expect("a database")).await;
}
