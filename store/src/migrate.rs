//! What both engines do alike when they migrate: refuse a newer schema, and say what was done.

use sqlx::migrate::{MigrateError, Migrator};

use crate::StoreError;

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
