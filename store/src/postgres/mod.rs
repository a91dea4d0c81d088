//! PostgreSQL, also behind PgBouncer in transaction mode.
//!
//! # PgBouncer
//! In transaction mode the bouncer may change the server between any two messages that are not in one transaction. The
//! protocol prepares and executes a statement in two messages, so outside of a transaction the execution may meet another
//! statement of the same name, on another server, and return rows of a question that somebody else asked. Behind it every
//! statement therefore runs between `BEGIN` and `COMMIT`, and none is kept prepared.
//!
//! # One writer at a time
//! A transaction begins with a lock on the leader's row, and compares the fence under it. So transactions that write are
//! one after the other, which the numbering of events and the counting of slots rely on. A supervisor commits one batch at
//! a time anyway; the lock matters when two of them believe that they lead. Should one stop in the middle of a transaction
//! (a suspended machine), the server ends it after a few seconds, so that the next leader is not kept out by the lock.

mod address;
mod charset;
mod connections;
mod engine;
mod errors;
mod limit;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

pub use engine::PostgresEngine;

use crate::migrate::{self, Migrated};
use crate::sql_store::SqlStore;
use crate::{Store, StoreError};

/// The store in a PostgreSQL database.
pub type PostgresStore = SqlStore<PostgresEngine>;

/// The most connections that a supervisor may hold.
pub const MAX_CONNECTIONS: u32 = 10;
/// How long a new connection is waited for, and its first answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long migrations may take, another supervisor's included, for whom they wait.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings of connections that keep statements prepared. A plan is kept with its statement, and one that was made while the
/// queue was short would read the whole table also when that has a million rows a minute later. Every statement here
/// is meant to find few rows, each by an index. Behind PgBouncer each is planned anew.
const PLANNING: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// Where the database is.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The URL for all statements but migrations: `postgresql://user:password@host:port/database`. The schemes of other
    /// libraries (`postgresql+psycopg`, `postgresql+asyncpg`) are understood.
    pub url: String,
    /// The server's own URL, for migrations, where `url` is a PgBouncer's: they take a lock of the session.
    pub migrate_url: Option<String>,
    /// Whether `url` is a PgBouncer's.
    pub pgbouncer: bool,
    /// Connections at the most, 1 to [`MAX_CONNECTIONS`]; more are taken as that.
    pub max_connections: u32,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::InvalidAddress`] where a URL is none; [`StoreError::Unavailable`] where the server does not answer
    /// within a few seconds or refuses; [`StoreError::TooNew`].
    pub async fn connect(options: PostgresOptions) -> Result<Self, StoreError> {
        let mut target = address::parse(&options.url)?;
        let (_, encoding) = prepare(options.migrate_url.as_deref().unwrap_or(&options.url)).await?;
        if options.pgbouncer {
            // A parameter that the bouncer does not know would be refused; Muster stores no fractions.
            target = target.statement_cache_capacity(0).extra_float_digits(None);
        }
        let most = options.max_connections.clamp(1, MAX_CONNECTIONS);
        Ok(Self::over(PostgresEngine::new(target, options.pgbouncer, most, encoding)))
    }
}

/// Connects as `PostgresStore::connect` does. The engine is then compiled here alone, not once more where it is used.
///
/// # Errors
/// The same as of `PostgresStore::connect`.
pub fn open(options: PostgresOptions) -> LocalBoxFuture<'static, Result<Arc<dyn Store>, StoreError>> {
    Box::pin(async move { Ok(Arc::new(PostgresStore::connect(options).await?) as Arc<dyn Store>) })
}

/// Brings the schema of a database up to date, as connecting does, and says what was done. The URL must be
/// the server's own, not a PgBouncer's.
///
/// # Errors
/// The same as of connecting.
pub fn migrate(url: &str) -> LocalBoxFuture<'_, Result<Migrated, StoreError>> {
    Box::pin(async move { prepare(url).await.map(|(migrated, _)| migrated) })
}

/// Brings the schema up to date, and asks for the encoding of the database.
async fn prepare(url: &str) -> Result<(Migrated, String), StoreError> {
    let target = address::parse(url)?;
    let mut connection = within(CONNECT_TIMEOUT, target.connect()).await?;
    let encoding = sqlx::query_scalar("SELECT current_setting('server_encoding')").fetch_one(&mut connection);
    let encoding = within(CONNECT_TIMEOUT, encoding).await?;
    let migrated = run_migrations(&mut connection).await;
    // What it has done is committed, so a failure to say goodbye loses nothing.
    let _ = connection.close().await;
    Ok((migrated?, encoding))
}

async fn run_migrations(connection: &mut PgConnection) -> Result<Migrated, StoreError> {
    let found = within(CONNECT_TIMEOUT, newest_migration(connection)).await?;
    let planned = migrate::plan(&migrate::POSTGRES, found)?;
    let run = async { Ok(migrate::POSTGRES.run(connection).await) };
    within(MIGRATION_TIMEOUT, run).await?.map_err(|error| migrate::explain(error, &planned))?;
    Ok(planned)
}

async fn newest_migration(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let table = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(table).fetch_one(&mut *connection).await? {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").fetch_one(connection).await
}

/// Waits for an answer, but not for ever: a server that is away without saying so does not even refuse.
async fn within<T>(time: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(time, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(errors::explain(error)),
        Err(_) => Err(StoreError::unavailable(format!("no answer within {} s", time.as_secs()))),
    }
}

/// The options of every connection.
fn quiet(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("muster").disable_statement_logging()
}
