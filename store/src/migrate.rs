//! The migrations of both engines, and what they do alike when they migrate: refuse a newer schema, and say what was done.

use std::sync::LazyLock;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::StoreError;

/// The files of an engine's folder by their names. They are part of the binary; sqlx's own macro would build the database drivers a
/// second time, for the compiler.
macro_rules! migrations {
    ($engine:literal) => {
        migrations!($engine: "0001_foundation"
            "0002_restarts"
            "0003_tasks"
            "0004_gates"
            "0005_usage"
            "0006_redrives"
            "0007_worker_runtimes"
            "0008_worker_keys"
            "0009_executions"
            "0010_worker_endings"
            "0011_lives_in_order"
            "0012_clock_steps"
            "0013_worker_launchers"
            "0014_tasks_of_tenants"
            "0015_pool_metrics"
            "0016_pool_targets"
            "0017_scaling"
            "0018_interruptions"
        )
    };
    ($engine:literal: $($name:literal)*) => {
        [$(($name, include_str!(concat!("../../migrations/", $engine, "/", $name, ".sql")))),*]
    };
}

/// SQLite's.
pub(crate) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| migrator(&migrations!("sqlite")));
/// PostgreSQL's.
pub(crate) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| migrator(&migrations!("postgres")));

/// As sqlx reads a folder: a number and a description before the text, whose checksum an existing database holds.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |(name, sql): &(&'static str, &'static str)| {
        let (number, description) = name.split_once('_')?;
        let (version, description) = (number.parse().ok()?, description.replace('_', " ").into());
        Some(Migration::new(version, description, MigrationType::Simple, SqlStr::from_static(sql), false))
    };
    Migrator::with_migrations(files.iter().filter_map(migration).collect())
}

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The newest migration before; 0 for an empty database.
    pub before: i64,
    /// The newest migration now.
    pub after: i64,
    /// What was applied, in this order. Empty where nothing was left to do.
    pub applied: Vec<i64>,
}

/// Plans a migration from the newest one found (0: none), or refuses it.
pub(crate) fn plan(migrator: &Migrator, found: i64) -> Result<Migrated, StoreError> {
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    let applied = migrator.iter().map(|migration| migration.version).filter(|version| *version > found).collect();
    Ok(Migrated { before: found, after: known, applied })
}

/// An error of the migrations themselves.
pub(crate) fn explain(error: MigrateError, planned: &Migrated) -> StoreError {
    match error {
        // A newer version of Muster was faster by a moment.
        MigrateError::VersionMissing(found) => StoreError::TooNew { found, known: planned.after },
        MigrateError::VersionMismatch(version) => StoreError::Corrupt(format!(
            "migration {version} was applied with another content than this version of muster knows"
        )),
        MigrateError::Dirty(version) => StoreError::Corrupt(format!("migration {version} was applied only in part")),
        other => StoreError::unavailable(other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Nothing of a folder is left out, and all of it is as sqlx would read it: what an older version has applied stays valid.
    #[tokio::test]
    async fn the_migrations_are_those_of_the_folders() {
        for (engine, ours) in [("sqlite", &*SQLITE), ("postgres", &*POSTGRES)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(engine);
            let read = Migrator::new(folder).await.expect("a folder");
            let all = |migrator: &Migrator| -> Vec<_> {
                let one = |one: &Migration| {
                    (one.version, one.description.clone(), one.migration_type, one.checksum.clone(), one.no_tx)
                };
                migrator.iter().map(one).collect()
            };
            assert_eq!(all(ours), all(&read), "{engine}");
        }
    }
}
