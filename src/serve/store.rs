//! Which store: the file in the data folder, or a PostgreSQL server.

use std::sync::Arc;

use muster_config::{Config, Database, DurabilitySetting as Wanted};
use muster_store::postgres::PostgresOptions;
use muster_store::{Durability, Store, StoreError, postgres, sqlite};

/// Opens the store, and brings its schema up to date.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match &config.database {
        Database::Sqlite(path) => {
            let durability = match config.durability {
                Wanted::Process => Durability::Process,
                Wanted::Full => Durability::Full,
            };
            sqlite::open(path, durability).await
        }
        Database::Postgres { url, pgbouncer_url } => {
            let options = PostgresOptions {
                url: pgbouncer_url.clone().unwrap_or_else(|| url.clone()),
                migrate_url: pgbouncer_url.is_some().then(|| url.clone()),
                pgbouncer: pgbouncer_url.is_some(),
                max_connections: config.max_connections,
            };
            postgres::open(options).await
        }
    }
}
