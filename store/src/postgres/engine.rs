//! The engine over PostgreSQL connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use muster_domain::Fence;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{Connection, Either, Executor, PgConnection, Row as _, TypeInfo, ValueRef};

use super::address;
use super::charset::Charset;
use super::connections::{BorrowedConnection, ConnectionPool};
use super::errors::{explain, is_refusal};
use crate::StoreError;
use crate::leader::{self, LeaderSql};
use crate::sql::{Engine, Row, SqlValue, Statement, StatementResult, TransactionMode, Unit, join, refuse};

/// How long one transaction or one read may take, and how much longer for each row that it is about.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const TIME_PER_ROW: Duration = Duration::from_millis(2);

/// Locks the leader's row until the end of the transaction. In the same round trip, and for this transaction only (so that
/// it holds behind PgBouncer too): the server gives up on a supervisor that falls silent in the middle, and answers a COMMIT
/// only when it is written, also where it is configured not to. The others are those of `PLANNING`, which a bouncer's
/// connections do not have: a table that was just filled would else be read whole for each of the rows of a statement.
const GUARD: &str = "SELECT fence, set_config('idle_in_transaction_session_timeout', '5000', true), \
    set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
    set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true), \
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
    ELSE current_setting('synchronous_commit') END, true) FROM leader WHERE id = 1 FOR UPDATE";

/// PostgreSQL.
pub struct PostgresEngine {
    connections: ConnectionPool,
    place: String,
    pgbouncer: bool,
    encoding: String,
    charset: Charset,
}

impl fmt::Debug for PostgresEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEngine").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresEngine {
    pub(super) fn new(options: PgConnectOptions, pgbouncer: bool, most_connections: u32, encoding: String) -> Self {
        let (place, charset) = (address::describe(&options), Charset::of(&encoding));
        Self {
            connections: ConnectionPool::new(options, !pgbouncer, most_connections),
            place,
            pgbouncer,
            encoding,
            charset,
        }
    }

    /// Runs steps on a connection, within a time. A connection whose work failed or was given up is not used again, and not
    /// given back: what it still has to say is nobody's answer any more.
    async fn run(
        &self,
        mut lent: BorrowedConnection<'_>,
        steps: &[Arc<Statement>],
        guard: Option<(Fence, TransactionMode)>,
    ) -> Result<Vec<StatementResult>, StoreError> {
        let rows: usize = steps.iter().map(|step| step.rows).sum();
        let time = ANSWER_TIMEOUT + TIME_PER_ROW * u32::try_from(rows).unwrap_or(u32::MAX);
        // A read alone needs no transaction, unless somebody changes servers in between.
        let alone = guard.is_none() && !self.pgbouncer;
        let work = async {
            let (connection, persistent, charset) = (&mut lent.connection, !self.pgbouncer, self.charset);
            let mut session = Session { connection, persistent, charset };
            match alone {
                true => session.send_all(steps).await.map(Ok),
                false => transact(session, steps, guard).await,
            }
        };
        let answers = match tokio::time::timeout(time, work).await {
            Ok(answers) => answers.map_err(explain).inspect_err(|error| {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.connections.note_break();
                }
            })?,
            Err(_) => {
                // Whoever asks next is not to wait for this one.
                drop(lent);
                return Err(self.connections.missed(time).await);
            }
        };
        lent.give_back();
        answers
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    fn describe(&self) -> String {
        let through = if self.pgbouncer { " through pgbouncer" } else { "" };
        format!("postgres at {}{through}", self.place)
    }

    fn leader_sql(&self) -> &'static LeaderSql {
        &leader::POSTGRES
    }

    async fn commit(
        &self,
        fence: Fence,
        steps: Vec<Arc<Statement>>,
        mode: TransactionMode,
    ) -> Result<Vec<StatementResult>, StoreError> {
        self.run(self.connections.writer().await?, &steps, Some((fence, mode))).await
    }

    async fn update(&self, step: Statement) -> Result<StatementResult, StoreError> {
        let mut answers = self.run(self.connections.writer().await?, &[Arc::new(step)], None).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    async fn read_all(&self, steps: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        let steps: Vec<Arc<Statement>> = steps.into_iter().map(Arc::new).collect();
        let answers = self.run(self.connections.reader().await?, &steps, None).await?;
        Ok(answers.into_iter().map(|answer| answer.rows).collect())
    }

    /// Nothing to do: the server's own cleaning does it.
    async fn shrink(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        (self.charset != Charset::All).then(|| {
            format!(
                "the database's encoding is {}, not UTF8: characters that it lacks are stored as JSON writes them, e.g. \\u00e9",
                self.encoding
            )
        })
    }

    async fn close(&self) {
        self.connections.close().await;
    }
}

/// A connection, and how it is spoken to.
struct Session<'c> {
    connection: &'c mut PgConnection,
    /// Whether statements are kept prepared.
    persistent: bool,
    charset: Charset,
}

/// Runs steps in a transaction that is rolled back unless it reaches its end. What it relies on is the lock on the leader's
/// row, so a stricter isolation, as a role may have by default, would only refuse what is right.
async fn transact(
    outer: Session<'_>,
    steps: &[Arc<Statement>],
    guard: Option<(Fence, TransactionMode)>,
) -> Result<Result<Vec<StatementResult>, StoreError>, sqlx::Error> {
    let Session { connection, persistent, charset } = outer;
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let mut session = Session { connection: &mut transaction, persistent, charset };
    let mut mode = TransactionMode::Together;
    if let Some((ours, how)) = guard {
        mode = how;
        let current = match session.locked_fence().await? {
            Ok(current) => current,
            Err(error) => return Ok(Err(error)),
        };
        if current != ours {
            transaction.rollback().await?;
            return Ok(Err(StoreError::Fenced { ours, current }));
        }
    }
    let answers = match mode {
        TransactionMode::Together => session.send_all(steps).await?,
        TransactionMode::Apart => session.send_apart(steps).await?,
    };
    transaction.commit().await?;
    Ok(Ok(answers))
}

impl Session<'_> {
    /// The fence in force, which stays so until the end of the transaction.
    async fn locked_fence(&mut self) -> Result<Result<Fence, StoreError>, sqlx::Error> {
        let answer = self.send(&Statement::new(GUARD, Vec::new())).await?;
        let Some(row) = answer.rows.into_iter().next() else {
            return Ok(Err(StoreError::Corrupt("the leader's row is missing".to_owned())));
        };
        Ok(row.into_fields().count().map(Fence))
    }

    async fn send_all(&mut self, steps: &[Arc<Statement>]) -> Result<Vec<StatementResult>, sqlx::Error> {
        let mut answers = Vec::with_capacity(steps.len());
        for step in steps {
            answers.push(self.send(step).await?);
        }
        Ok(answers)
    }

    /// Carries out each unit under a savepoint of its own, and row by row where it is refused.
    async fn send_apart(&mut self, steps: &[Arc<Statement>]) -> Result<Vec<StatementResult>, sqlx::Error> {
        let mut all = Vec::with_capacity(steps.len());
        for unit in Unit::divide(steps) {
            let mut answers = Vec::new();
            match (self.send_unit(&unit).await?, unit.rows()) {
                (Ok(done), _) => answers = done,
                (Err(error), rows) if rows.is_empty() => answers = refuse(&unit, &error),
                (Err(_), rows) => {
                    for (number, row) in rows.iter().enumerate() {
                        let done = self.send_unit(row).await?;
                        join(&mut answers, number, done.unwrap_or_else(|error| refuse(row, &error)));
                    }
                }
            }
            all.append(&mut answers);
        }
        Ok(all)
    }

    /// Carries out a unit, or nothing of it where it is refused for a value.
    async fn send_unit(&mut self, unit: &Unit) -> Result<Result<Vec<StatementResult>, StoreError>, sqlx::Error> {
        self.connection.execute("SAVEPOINT unit").await?;
        let error = match self.send_all(&unit.0).await {
            Ok(answers) => {
                self.connection.execute("RELEASE SAVEPOINT unit").await?;
                return Ok(Ok(answers));
            }
            Err(error) if is_refusal(&error) => explain(error),
            Err(error) => return Err(error),
        };
        self.connection.execute("ROLLBACK TO SAVEPOINT unit").await?;
        self.connection.execute("RELEASE SAVEPOINT unit").await?;
        Ok(Err(error))
    }

    async fn send(&mut self, step: &Statement) -> Result<StatementResult, sqlx::Error> {
        let bind = |query, value| bind(query, value, self.charset);
        let query = step.args.iter().fold(sqlx::query(step.sql), bind).persistent(self.persistent);
        let mut results = self.connection.fetch_many(query);
        let mut answer = StatementResult::default();
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Right(row) => answer.rows.push(read_row(&row)?),
                Either::Left(done) => answer.changed += done.rows_affected(),
            }
        }
        Ok(answer)
    }
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bind<'q>(query: PgQuery<'q>, value: &'q SqlValue, charset: Charset) -> PgQuery<'q> {
    match value {
        SqlValue::Text(text) => query.bind(text.as_deref().map(|text| charset.storable(text))),
        SqlValue::Int(int) => query.bind(*int),
    }
}

fn read_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let read = |index: usize| {
        let raw = row.try_get_raw(index)?;
        match raw.type_info().name() {
            _ if raw.is_null() => Ok(SqlValue::Text(None)),
            "INT8" => row.try_get(index).map(SqlValue::Int),
            _ => row.try_get::<&str, _>(index).map(SqlValue::shared),
        }
    };
    (0..row.len()).map(read).collect::<Result<_, _>>().map(Row)
}
