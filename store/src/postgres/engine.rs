//! The engine over a pool of PostgreSQL connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use muster_domain::Fence;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgRow};
use sqlx::{Connection, Either, Executor, PgConnection, Row as _, TypeInfo, ValueRef};

use super::{address, within};
use crate::StoreError;
use crate::leader::{self, LeaderSql};
use crate::sql::{Answer, Engine, Row, Step, Value};

/// How long one transaction or one read may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long the connection of the last commit is taken for the next one as it is. One from the pool is asked before whether it
/// still works, and once more when it goes back: two round trips, where a commit takes four.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Locks the leader's row until the end of the transaction. In the same round trip, and for this transaction only (so that
/// it holds behind PgBouncer too): the server gives up on a supervisor that falls silent in the middle, and answers a COMMIT
/// only when it is written, also where it is configured not to.
const GUARD: &str = "SELECT fence, set_config('idle_in_transaction_session_timeout', '5000', true), \
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
    ELSE current_setting('synchronous_commit') END, true) FROM leader WHERE id = 1 FOR UPDATE";

/// PostgreSQL.
pub struct PostgresEngine {
    pool: PgPool,
    /// That of the last commit, and when it ended. None where the pool has only one, which others wait for.
    last: Mutex<Option<(PgPooled, Instant)>>,
    place: String,
    pgbouncer: bool,
}

impl fmt::Debug for PostgresEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEngine").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresEngine {
    pub(super) fn new(pool: PgPool, options: &PgConnectOptions, pgbouncer: bool) -> Self {
        Self { pool, last: Mutex::default(), place: address::describe(options), pgbouncer }
    }

    async fn acquire(&self) -> Result<PgPooled, StoreError> {
        within(ANSWER_TIMEOUT, self.pool.acquire()).await
    }

    fn last(&self) -> MutexGuard<'_, Option<(PgPooled, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs steps on a connection, within a time. A connection whose work failed or was given up is not used again, and not
    /// given back: what it still has to say is nobody's answer any more.
    async fn run(&self, mut connection: PgPooled, steps: &[Arc<Step>], guard: Option<Fence>) -> Run {
        // A read alone needs no transaction, unless somebody changes servers in between.
        let alone = guard.is_none() && !self.pgbouncer;
        let work = async {
            match alone {
                true => send_all(&mut connection, steps, true).await.map(Ok),
                false => transact(&mut connection, steps, guard, !self.pgbouncer).await,
            }
        };
        match within(ANSWER_TIMEOUT, work).await {
            Ok(answers) => (Some(connection), answers),
            Err(error) => {
                connection.close_on_drop();
                (None, Err(error))
            }
        }
    }
}

type PgPooled = PoolConnection<sqlx::Postgres>;
/// What was run, and the connection where that can be used again.
type Run = (Option<PgPooled>, Result<Vec<Answer>, StoreError>);

#[async_trait]
impl Engine for PostgresEngine {
    fn describe(&self) -> String {
        let through = if self.pgbouncer { " through pgbouncer" } else { "" };
        format!("postgres at {}{through}", self.place)
    }

    fn leader_sql(&self) -> &'static LeaderSql {
        &leader::POSTGRES
    }

    async fn commit(&self, fence: Fence, steps: Vec<Arc<Step>>) -> Result<Vec<Answer>, StoreError> {
        let last = self.last().take().filter(|(_, used)| used.elapsed() < TRUSTED_FOR);
        let connection = match last {
            Some((connection, _)) => connection,
            None => self.acquire().await?,
        };
        let (connection, answers) = self.run(connection, &steps, Some(fence)).await;
        let mut last = self.last();
        // Whoever closes the pool marks it before it takes this one away, and waits for all that are out.
        if self.pool.options().get_max_connections() > 1 && !self.pool.is_closed() {
            *last = connection.map(|connection| (connection, Instant::now()));
        }
        answers
    }

    async fn update(&self, step: Step) -> Result<Answer, StoreError> {
        let (_, answers) = self.run(self.acquire().await?, &[Arc::new(step)], None).await;
        Ok(answers?.pop().unwrap_or_default())
    }

    async fn read_all(&self, steps: Vec<Step>) -> Result<Vec<Vec<Row>>, StoreError> {
        let steps: Vec<Arc<Step>> = steps.into_iter().map(Arc::new).collect();
        let (_, answers) = self.run(self.acquire().await?, &steps, None).await;
        Ok(answers?.into_iter().map(|answer| answer.rows).collect())
    }

    /// Nothing to do: the server's own cleaning does it.
    async fn shrink(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {
        // From this call on none is kept; the wait is for every connection.
        let closing = self.pool.close();
        drop(self.last().take());
        closing.await;
    }
}

/// Runs steps in a transaction that is rolled back unless it reaches its end.
async fn transact(
    connection: &mut PgConnection,
    steps: &[Arc<Step>],
    guard: Option<Fence>,
    persistent: bool,
) -> Result<Result<Vec<Answer>, StoreError>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    if let Some(ours) = guard {
        let current = match locked_fence(&mut transaction, persistent).await? {
            Ok(current) => current,
            Err(error) => return Ok(Err(error)),
        };
        if current != ours {
            transaction.rollback().await?;
            return Ok(Err(StoreError::Fenced { ours, current }));
        }
    }
    let answers = send_all(&mut transaction, steps, persistent).await?;
    transaction.commit().await?;
    Ok(Ok(answers))
}

/// The fence in force, which stays so until the end of the transaction.
async fn locked_fence(
    connection: &mut PgConnection,
    persistent: bool,
) -> Result<Result<Fence, StoreError>, sqlx::Error> {
    let answer = send(connection, &Step::new(GUARD, Vec::new()), persistent).await?;
    let Some(row) = answer.rows.into_iter().next() else {
        return Ok(Err(StoreError::Corrupt("the leader's row is missing".to_owned())));
    };
    Ok(row.into_fields().count().map(Fence))
}

async fn send_all(
    connection: &mut PgConnection,
    steps: &[Arc<Step>],
    persistent: bool,
) -> Result<Vec<Answer>, sqlx::Error> {
    let mut answers = Vec::with_capacity(steps.len());
    for step in steps {
        answers.push(send(connection, step, persistent).await?);
    }
    Ok(answers)
}

async fn send(connection: &mut PgConnection, step: &Step, persistent: bool) -> Result<Answer, sqlx::Error> {
    let query = step.args.iter().fold(sqlx::query(step.sql), bind).persistent(persistent);
    let mut results = connection.fetch_many(query);
    let mut answer = Answer::default();
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Right(row) => answer.rows.push(read_row(&row)?),
            Either::Left(done) => answer.changed += done.rows_affected(),
        }
    }
    Ok(answer)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bind<'q>(query: Query<'q>, value: &'q Value) -> Query<'q> {
    match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Int(int) => query.bind(*int),
    }
}

fn read_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let read = |index: usize| {
        let raw = row.try_get_raw(index)?;
        match raw.type_info().name() {
            _ if raw.is_null() => Ok(Value::Text(None)),
            "INT8" => row.try_get(index).map(Value::Int),
            _ => row.try_get::<&str, _>(index).map(Value::shared),
        }
    };
    (0..row.len()).map(read).collect::<Result<_, _>>().map(Row)
}
