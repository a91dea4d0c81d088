//! SQLite: a file in the data folder, the default.
//!
//! Its one user is the leader, who holds the lock of the data folder. There is one connection that writes, and a few
//! that read and see the last commit (WAL). Each is on a thread of its own (`threads`), and a transaction is one journey to
//! it. The log is folded into the file on a connection and a thread of its own too (`folding`), so that no commit waits for
//! the disk to take it. Migrations are the one thing that is left to sqlx, as for PostgreSQL.

mod engine;
mod errors;
mod folding;
#[cfg(test)]
mod indexes;
mod threads;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use rusqlite::OpenFlags;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

pub use engine::SqliteEngine;
use folding::Folding;
pub use folding::log_of;
use threads::Threads;

use crate::migrate::{self, Migrated};
use crate::sql_store::SqlStore;
use crate::{Durability, Store, StoreError};

/// The store in a file.
pub type SqliteStore = SqlStore<SqliteEngine>;

/// Connections that read.
const READERS: u32 = 3;
/// How long a lock of the file is waited for. Only a person with a shell or a backup takes one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Texts kept prepared per connection. Batches of the same writes have the same text.
const PREPARED_TEXTS: usize = 256;

impl SqliteStore {
    /// Opens the file, makes it (mode 0600) where there is none, and brings its schema up to date. Its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::InvalidAddress`] where it can't be opened, written or is no database; [`StoreError::TooNew`].
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        migrate_with(path, durability).await?;
        let writer = connection(path, durability)?;
        let readers = (0..READERS).map(|_| reader(path, durability)).collect::<Result<_, _>>()?;
        let start = |name, connections| Threads::start(name, connections).map_err(StoreError::unavailable);
        let folder = connection(path, durability)?;
        folder.busy_timeout(folding::STALL).map_err(errors::explain)?;
        let (writer, readers) = (start("sqlite-writer", vec![writer])?, start("sqlite-reader", readers)?);
        let folding = Folding::start(path, start("sqlite-folder", vec![folder])?);
        Ok(Self::over(SqliteEngine { path: path.to_owned(), writer, readers, folding }))
    }
}

/// Opens a file as `SqliteStore::open` does. The engine is then compiled here alone, not once more where it is used.
///
/// # Errors
/// The same as of `SqliteStore::open`.
pub fn open(path: &Path, durability: Durability) -> LocalBoxFuture<'_, Result<Arc<dyn Store>, StoreError>> {
    Box::pin(async move { Ok(Arc::new(SqliteStore::open(path, durability).await?) as Arc<dyn Store>) })
}

fn reader(path: &Path, durability: Durability) -> Result<rusqlite::Connection, StoreError> {
    let connection = connection(path, durability)?;
    connection.pragma_update(None, "query_only", true).map_err(errors::explain)?;
    Ok(connection)
}

/// A connection to a file whose schema is up to date.
fn connection(path: &Path, durability: Durability) -> Result<rusqlite::Connection, StoreError> {
    // Nobody but its thread uses it, so it needs no lock of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "synchronous", synchronous(durability))?;
        // Else whoever commits would fold the log, and wait for the disk. The answer is what is now in force.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        connection.set_prepared_statement_cache_capacity(PREPARED_TEXTS);
        Ok(connection)
    };
    open().map_err(errors::explain)
}

/// Brings the schema of a file up to date, as opening it does, and says what was done.
///
/// # Errors
/// The same as of opening.
pub fn migrate(path: &Path) -> LocalBoxFuture<'_, Result<Migrated, StoreError>> {
    Box::pin(migrate_with(path, Durability::Full))
}

async fn migrate_with(path: &Path, durability: Durability) -> Result<Migrated, StoreError> {
    let mut connection = connect(path, durability).await?;
    let migrated = run_migrations(path, &mut connection).await;
    // What it has done is committed, so a failure to close it properly loses nothing.
    let _ = connection.close().await;
    migrated
}

fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // Of effect in a new file only.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("synchronous", synchronous(durability))
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

const fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "NORMAL",
        Durability::Full => "FULL",
    }
}

async fn connect(path: &Path, durability: Durability) -> Result<SqliteConnection, StoreError> {
    make_private(path).map_err(|error| refuse(path, &error))?;
    options(path, durability).connect().await.map_err(|error| explain(path, error))
}

/// Makes the file with mode 0600; its log and shared memory take over its mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

async fn run_migrations(path: &Path, connection: &mut SqliteConnection) -> Result<Migrated, StoreError> {
    let found = newest_migration(connection).await.map_err(|error| explain(path, error))?;
    let planned = migrate::plan(&migrate::SQLITE, found)?;
    migrate::SQLITE.run(connection).await.map_err(|error| migrate::explain(error, &planned))?;
    Ok(planned)
}

async fn newest_migration(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let table = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'";
    if sqlx::query_scalar::<_, i64>(table).fetch_one(&mut *connection).await? == 0 {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").fetch_one(connection).await
}

fn refuse(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::InvalidAddress(format!("the database {} can't be opened: {error}", path.display()))
}

/// Tells what the file is to blame for from what may pass.
fn explain(path: &Path, error: sqlx::Error) -> StoreError {
    // The primary result codes SQLITE_READONLY, SQLITE_CANTOPEN and SQLITE_NOTADB; SQLITE_CORRUPT is 11.
    const OF_THE_FILE: [i32; 4] = [8, 11, 14, 26];
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i32>().ok());
    match code {
        Some(code) if OF_THE_FILE.contains(&(code & 0xff)) => refuse(path, &error),
        _ => StoreError::unavailable(error),
    }
}
