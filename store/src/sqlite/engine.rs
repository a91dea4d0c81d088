//! The engine over SQLite's connections.

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use muster_domain::Fence;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Either, Executor, Row as _, SqliteConnection, TypeInfo, ValueRef};
use tokio::sync::Mutex;

use super::text::{STATEMENTS_OF_BEGIN, Text};
use crate::StoreError;
use crate::leader::{self, LeaderSql};
use crate::sql::{Answer, Engine, Row, Step, Value};

/// Statements that travel as one text. Enough for the batches of single requests; large batches make several journeys, so
/// that the texts stay few and are found prepared.
const STEPS_PER_TEXT: usize = 8;

/// SQLite.
pub struct SqliteEngine {
    path: PathBuf,
    writer: Mutex<Option<Writer>>,
    readers: SqlitePool,
}

/// The connection that writes.
struct Writer {
    connection: SqliteConnection,
    /// Whether a transaction was begun whose end was not seen: an error, or a caller that went away in the middle.
    unfinished: bool,
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEngine").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteEngine {
    pub(super) fn new(path: &Path, connection: SqliteConnection, readers: SqlitePool) -> Self {
        let writer = Mutex::new(Some(Writer { connection, unfinished: false }));
        Self { path: path.to_owned(), writer, readers }
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    fn describe(&self) -> String {
        format!("sqlite in {}", self.path.display())
    }

    fn leader_sql(&self) -> &'static LeaderSql {
        &leader::SQLITE
    }

    async fn commit(&self, fence: Fence, steps: &[Step]) -> Result<Vec<Answer>, StoreError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or_else(closed)?;
        writer.settle().await?;
        writer.unfinished = true;
        match transact(&mut writer.connection, fence, steps).await {
            Ok(answers) => {
                writer.unfinished = false;
                Ok(answers)
            }
            Err(error) => {
                writer.settle().await?;
                if !is_fenced(&error) {
                    return Err(unavailable(error));
                }
                let row = run(&mut writer.connection, leader::current_step()).await?;
                let (current, ..) = leader::read(row.rows)?;
                Err(StoreError::Fenced { ours: fence, current })
            }
        }
    }

    async fn update(&self, step: &Step) -> Result<Answer, StoreError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or_else(closed)?;
        writer.settle().await?;
        run(&mut writer.connection, step.clone()).await
    }

    async fn read(&self, step: &Step) -> Result<Vec<Row>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(unavailable)?;
        Ok(run(&mut reader, step.clone()).await?.rows)
    }

    async fn close(&self) {
        self.readers.close().await;
        let Some(mut writer) = self.writer.lock().await.take() else { return };
        // The log is part of the database until it is folded in, so a failure here loses nothing.
        let folded = async {
            writer.settle().await?;
            run(&mut writer.connection, Step::new("PRAGMA wal_checkpoint(TRUNCATE)", Vec::new())).await?;
            writer.connection.close().await.map_err(unavailable)
        };
        if let Err(error) = folded.await {
            tracing::warn!(%error, store.path = %self.path.display(), "could not close the database properly");
        }
    }
}

impl Writer {
    /// Rolls back what was left behind. SQLite itself may have done so already (a full disk), hence the question.
    async fn settle(&mut self) -> Result<(), StoreError> {
        if self.unfinished {
            match self.connection.execute("ROLLBACK").await {
                Ok(_) => {}
                Err(sqlx::Error::Database(error)) if error.message().contains("no transaction is active") => {}
                Err(error) => return Err(unavailable(error)),
            }
            self.unfinished = false;
        }
        Ok(())
    }
}

/// Runs a transaction, in as few journeys as its size allows. An error ends the text before its COMMIT.
async fn transact(connection: &mut SqliteConnection, fence: Fence, steps: &[Step]) -> Result<Vec<Answer>, sqlx::Error> {
    let mut text = Text::default();
    text.begin(Value::count(fence.0));
    let mut answers = Vec::with_capacity(steps.len() + STATEMENTS_OF_BEGIN + 1);
    for (index, step) in steps.iter().enumerate() {
        if index > 0 && index % STEPS_PER_TEXT == 0 {
            send(connection, std::mem::take(&mut text), &mut answers).await?;
        }
        text.add(step);
    }
    text.commit();
    send(connection, text, &mut answers).await?;
    answers.truncate(STATEMENTS_OF_BEGIN + steps.len());
    answers.drain(..STATEMENTS_OF_BEGIN);
    Ok(answers)
}

async fn run(connection: &mut SqliteConnection, step: Step) -> Result<Answer, StoreError> {
    let mut answers = Vec::with_capacity(1);
    let text = Text { sql: step.sql.to_owned(), args: step.args };
    send(connection, text, &mut answers).await.map_err(unavailable)?;
    Ok(answers.pop().unwrap_or_default())
}

async fn send(connection: &mut SqliteConnection, text: Text, answers: &mut Vec<Answer>) -> Result<(), sqlx::Error> {
    // The text is made of this crate's own statements; what comes from outside is an argument.
    let query = text.args.into_iter().fold(sqlx::query(AssertSqlSafe(text.sql)), bind);
    let mut results = connection.fetch_many(query);
    let mut rows = Vec::new();
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Right(row) => rows.push(read_row(&row)?),
            Either::Left(done) => {
                answers.push(Answer { changed: done.rows_affected(), rows: std::mem::take(&mut rows) })
            }
        }
    }
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bind(query: Query<'_>, value: Value) -> Query<'_> {
    match value {
        Value::Text(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
    }
}

fn read_row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let read = |index: usize| {
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            Ok(Value::Text(None))
        } else if raw.type_info().name() == "INTEGER" {
            row.try_get(index).map(Value::Int)
        } else {
            row.try_get(index).map(Value::Text)
        }
    };
    (0..row.len()).map(read).collect::<Result<_, _>>().map(Row)
}

/// Whether the guard of the transaction spoke.
fn is_fenced(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message() == "fenced")
}

fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

fn closed() -> StoreError {
    StoreError::Unavailable("it was closed".into())
}
