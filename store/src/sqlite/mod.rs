//! SQLite: a file in the data folder, the default.
//!
//! Its one user is the leader, who holds the lock of the data folder. There is one connection that writes, and a few
//! that read and see the last commit (WAL). A batch of a few writes travels as one text, from `BEGIN` to `COMMIT`, since
//! each statement of its own would be a journey to the connection's thread and back, which costs more than the statement.

mod engine;
mod text;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

pub use engine::SqliteEngine;

use crate::migrate::{self, Migrated};
use crate::truth::Truth;
use crate::{Durability, StoreError};

/// The store in a file.
pub type SqliteStore = Truth<SqliteEngine>;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Connections that read.
const READERS: u32 = 3;
/// How long a lock of the file is waited for. Only a person with a shell or a backup takes one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Texts kept prepared per connection. Batches of the same writes have the same text.
const PREPARED_TEXTS: usize = 128;

impl SqliteStore {
    /// Opens the file, makes it (mode 0600) where there is none, and brings its schema up to date. Its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::InvalidAddress`] where it can't be opened, written or is no database; [`StoreError::TooNew`].
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let mut writer = connect(path, durability).await?;
        run_migrations(path, &mut writer).await?;
        let options = options(path, durability).pragma("query_only", "ON");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self::over(SqliteEngine::new(path, writer, readers)))
    }
}

/// Brings the schema of a file up to date, as opening it does, and says what was done.
///
/// # Errors
/// The same as of opening.
pub async fn migrate(path: &Path) -> Result<Migrated, StoreError> {
    let mut connection = connect(path, Durability::Full).await?;
    let migrated = run_migrations(path, &mut connection).await;
    // What it has done is committed, so a failure to close it properly loses nothing.
    let _ = connection.close().await;
    migrated
}

fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Process => SqliteSynchronous::Normal,
            Durability::Full => SqliteSynchronous::Full,
        })
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(PREPARED_TEXTS)
        .disable_statement_logging()
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
    let planned = migrate::plan(&MIGRATIONS, found)?;
    MIGRATIONS.run(connection).await.map_err(|error| migrate::explain(error, &planned))?;
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
        _ => StoreError::Unavailable(Box::new(error)),
    }
}
