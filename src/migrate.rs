//! The role `migrate`: brings the store's schema up to date, and says what was done.

use std::os::unix::fs::DirBuilderExt;

use muster_config::{Config, Database};
use muster_store::{postgres, sqlite};

/// Migrates the configured store. SQLite: the data folder must not be in use by another version.
pub(crate) fn run(config: &Config) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let migrated = runtime.block_on(async {
        match &config.database {
            Database::Sqlite(path) => {
                if let Some(folder) = path.parent() {
                    // As `serve` makes it: closed to other users.
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                anyhow::Ok(sqlite::migrate(path).await?)
            }
            Database::Postgres { url, .. } => Ok(postgres::migrate(url).await?),
        }
    })?;
    Ok(match migrated.applied.as_slice() {
        [] => format!("the schema is up to date (migration {})", migrated.after),
        applied => format!("applied {} migrations: {} to {}", applied.len(), migrated.before, migrated.after),
    })
}
