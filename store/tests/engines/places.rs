//! Fresh stores, one per test.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::sqlite::SqliteStore;
use muster_store::{Durability, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::servers::Servers;

/// An empty store, and what must live as long as it does.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    door: Door,
    _keep: Box<dyn Any + Send + Sync>,
}

/// The way around the store into the database.
enum Door {
    File(PathBuf),
    Url(String),
}

impl Place {
    /// Does to the database what no store would.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.door {
            Door::File(path) => {
                let mut person = SqliteConnectOptions::new().filename(path).connect().await.expect("a connection");
                person.execute(sql).await.expect(sql);
                person.close().await.expect("a goodbye");
            }
            Door::Url(url) => {
                let mut person = PgConnection::connect(url).await.expect("a connection");
                person.execute(sql).await.expect(sql);
            }
        }
    }
}

pub(crate) async fn sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let store = SqliteStore::open(&path, Durability::Process).await.expect("a new file");
    Place { store: Arc::new(store), door: Door::File(path), _keep: Box::new(folder) }
}

pub(crate) async fn postgres() -> Place {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let options = PostgresOptions { url: url.clone(), migrate_url: None, pgbouncer: false, max_connections: 10 };
    let store = PostgresStore::connect(options).await.expect("a new database");
    Place { store: Arc::new(store), door: Door::Url(url), _keep: Box::new(servers) }
}

pub(crate) async fn pgbouncer() -> Place {
    let servers = Servers::shared().await;
    let direct = servers.make_database().await;
    let url = servers.through_pgbouncer(&direct).replacen("postgresql://", "postgresql+psycopg://", 1);
    let options = PostgresOptions { url, migrate_url: Some(direct.clone()), pgbouncer: true, max_connections: 10 };
    let store = PostgresStore::connect(options).await.expect("a new database");
    Place { store: Arc::new(store), door: Door::Url(direct), _keep: Box::new(servers) }
}
