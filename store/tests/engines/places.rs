//! Fresh stores, one per test.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::sqlite::SqliteStore;
use muster_store::testing::{Commit, FaultyStore, MemoryStore};
use muster_store::{Durability, Store, Write};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::servers::Servers;

/// An empty store, and what must live as long as it does.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    direct: DirectAccess,
    _keep: Box<dyn Any + Send + Sync>,
}

/// The way around the store into what is behind it.
enum DirectAccess {
    File(PathBuf),
    Url(String),
    Faults(Arc<FaultyStore>),
}

/// A constraint that is the engine's own, and which no careful caller can foresee.
pub(crate) struct Constraint {
    pub(crate) in_sqlite: &'static str,
    pub(crate) in_postgres: &'static str,
    /// Whether a write is against it.
    pub(crate) refuses: fn(&Write) -> bool,
}

/// Makes the engine refuse every event, as a broken disk or a bug would.
const BREAK_EVENTS: &str = "ALTER TABLE event_mark RENAME TO event_mark_away";
const MEND_EVENTS: &str = "ALTER TABLE event_mark_away RENAME TO event_mark";

impl Place {
    /// From now on every event fails, and with it all that is to be committed together with it.
    pub(crate) async fn break_events(&self) {
        let fails = |writes: &[Write]| writes.iter().any(|write| matches!(write, Write::Event(_)));
        match &self.direct {
            DirectAccess::Faults(store) => {
                store.judge(move |writes| if fails(writes) { Commit::Fail } else { Commit::Pass })
            }
            direct => direct.execute(BREAK_EVENTS).await,
        }
    }

    pub(crate) async fn mend_events(&self) {
        match &self.direct {
            DirectAccess::Faults(store) => store.heal(),
            direct => direct.execute(MEND_EVENTS).await,
        }
    }

    /// From now on the engine never takes what is against this.
    pub(crate) async fn constrain(&self, constraint: Constraint) {
        match &self.direct {
            DirectAccess::File(_) => self.direct.execute(constraint.in_sqlite).await,
            DirectAccess::Url(_) => self.direct.execute(constraint.in_postgres).await,
            DirectAccess::Faults(store) => store.poison(constraint.refuses),
        }
    }
}

impl DirectAccess {
    /// Does to the database what no store would.
    async fn execute(&self, sql: &'static str) {
        match self {
            Self::File(path) => {
                let mut person = SqliteConnectOptions::new().filename(path).connect().await.expect("a connection");
                person.execute(sql).await.expect(sql);
                person.close().await.expect("a goodbye");
            }
            Self::Url(url) => {
                let mut person = PgConnection::connect(url).await.expect("a connection");
                person.execute(sql).await.expect(sql);
            }
            Self::Faults(_) => panic!("it has no SQL: {sql}"),
        }
    }
}

/// The engine in memory behind the wrapper with faults, none of which is turned on but by the suite itself.
pub(crate) async fn memory() -> Place {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    Place { store: store.clone(), direct: DirectAccess::Faults(store), _keep: Box::new(()) }
}

pub(crate) async fn sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let store = SqliteStore::open(&path, Durability::Process).await.expect("a new file");
    Place { store: Arc::new(store), direct: DirectAccess::File(path), _keep: Box::new(folder) }
}

pub(crate) async fn postgres() -> Place {
    let servers = Servers::shared().await;
    let url = servers.make_database().await;
    let options = PostgresOptions { url: url.clone(), migrate_url: None, pgbouncer: false, max_connections: 10 };
    let store = PostgresStore::connect(options).await.expect("a new database");
    Place { store: Arc::new(store), direct: DirectAccess::Url(url), _keep: Box::new(servers) }
}

pub(crate) async fn pgbouncer() -> Place {
    let servers = Servers::shared().await;
    let direct = servers.make_database().await;
    let url = servers.through_pgbouncer(&direct).replacen("postgresql://", "postgresql+psycopg://", 1);
    let options = PostgresOptions { url, migrate_url: Some(direct.clone()), pgbouncer: true, max_connections: 10 };
    let store = PostgresStore::connect(options).await.expect("a new database");
    Place { store: Arc::new(store), direct: DirectAccess::Url(direct), _keep: Box::new(servers) }
}
