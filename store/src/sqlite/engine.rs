//! The engine over SQLite's connections.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use muster_domain::Fence;
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, TransactionBehavior};

use super::errors::{explain, is_full};
use super::folding::Folding;
use super::threads::Threads;
use crate::StoreError;
use crate::leader::{self, LeaderSql};
use crate::sql::{Engine, Row, SqlValue, Statement, StatementResult, TransactionMode, Unit, join, refuse};

/// How many free pages the file has above a tenth of its pages; those will be used again. None where the file was made by a
/// version that did not keep it ready to shrink (`auto_vacuum` 0): it uses its free pages again, and keeps its size.
const SPARE_PAGES: &str = "SELECT CASE WHEN auto_vacuum = 0 THEN 0 ELSE freelist_count - page_count / 10 END \
    FROM pragma_auto_vacuum, pragma_freelist_count, pragma_page_count";
/// Gives back a few of them: a step that writers in between wait for a few milliseconds.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(256)";
const FOLD_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// SQLite.
pub struct SqliteEngine {
    pub(super) path: PathBuf,
    /// One connection, so writers are one after the other.
    pub(super) writer: Threads,
    pub(super) readers: Threads,
    pub(super) folding: Folding,
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEngine").field("path", &self.path).finish_non_exhaustive()
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

    async fn commit(
        &self,
        fence: Fence,
        steps: Vec<Arc<Statement>>,
        mode: TransactionMode,
    ) -> Result<Vec<StatementResult>, StoreError> {
        let again = steps.clone();
        let answers = self.write(move |connection| transact(connection, fence, &steps, mode)).await;
        match answers {
            // The log may hold room that is only waiting to be folded.
            Err(error) if is_full(&error) && self.folding.make_room().await => {
                self.write(move |connection| transact(connection, fence, &again, mode)).await
            }
            answers => answers,
        }
    }

    async fn update(&self, step: Statement) -> Result<StatementResult, StoreError> {
        self.write(move |connection| run(connection, &step)).await
    }

    async fn read_all(&self, steps: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        let read =
            move |connection: &mut Connection| steps.iter().map(|step| Ok(run(connection, step)?.rows)).collect();
        self.readers.run(read).await?
    }

    async fn shrink(&self) -> Result<(), StoreError> {
        loop {
            let spare = self.update(Statement::new(SPARE_PAGES, Vec::new())).await?;
            let spare = spare.rows.into_iter().next().map_or(Ok(0), |row| row.into_fields().int())?;
            if spare <= 0 {
                return Ok(());
            }
            self.update(Statement::new(GIVE_BACK, Vec::new())).await?;
        }
    }

    async fn close(&self) {
        self.folding.close().await;
        self.readers.close().await;
        // The log is part of the database until it is folded in, so a failure here loses nothing.
        match self.update(Statement::new(FOLD_LOG, Vec::new())).await {
            Ok(_) => self.writer.close().await,
            Err(error) => {
                self.writer.close().await;
                tracing::warn!(%error, store.path = %self.path.display(), "could not close the database properly");
            }
        }
    }
}

impl SqliteEngine {
    /// Has the writer do something, and looks at the log that it leaves.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.writer.run(job).await?;
        self.folding.look();
        done
    }
}

/// Runs a transaction. What is dropped before its commit is rolled back.
fn transact(
    connection: &mut Connection,
    ours: Fence,
    steps: &[Arc<Statement>],
    mode: TransactionMode,
) -> Result<Vec<StatementResult>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
    let (current, ..) = leader::read(run(&transaction, &leader::current_step())?.rows)?;
    if current != ours {
        return Err(StoreError::Fenced { ours, current });
    }
    let answers = match mode {
        TransactionMode::Together => steps.iter().map(|step| run(&transaction, step)).collect::<Result<_, _>>()?,
        TransactionMode::Apart => run_apart(&transaction, steps)?,
    };
    transaction.commit().map_err(explain)?;
    Ok(answers)
}

/// Carries out each unit under a savepoint of its own, and row by row where it is refused.
fn run_apart(connection: &Connection, steps: &[Arc<Statement>]) -> Result<Vec<StatementResult>, StoreError> {
    let mut all = Vec::with_capacity(steps.len());
    for unit in Unit::divide(steps) {
        let mut answers = Vec::new();
        match (run_unit(connection, &unit)?, unit.rows()) {
            (Ok(done), _) => answers = done,
            (Err(error), rows) if rows.is_empty() => answers = refuse(&unit, &error),
            (Err(_), rows) => {
                for (number, row) in rows.iter().enumerate() {
                    let done = run_unit(connection, row)?;
                    join(&mut answers, number, done.unwrap_or_else(|error| refuse(row, &error)));
                }
            }
        }
        all.append(&mut answers);
    }
    Ok(all)
}

/// Carries out a unit, or nothing of it where it is refused for a value.
fn run_unit(connection: &Connection, unit: &Unit) -> Result<Result<Vec<StatementResult>, StoreError>, StoreError> {
    let execute = |sql| connection.execute_batch(sql).map_err(explain);
    execute("SAVEPOINT unit")?;
    match unit.0.iter().map(|step| run(connection, step)).collect() {
        Ok(answers) => {
            execute("RELEASE unit")?;
            Ok(Ok(answers))
        }
        Err(error @ StoreError::Refused(_)) => {
            execute("ROLLBACK TO unit; RELEASE unit")?;
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}

/// Carries out a statement to its end.
pub(super) fn run(connection: &Connection, step: &Statement) -> Result<StatementResult, StoreError> {
    // `$1` would be a name to SQLite; `?1` is the number 1.
    let mut statement = connection.prepare_cached(&step.sql.replace('$', "?")).map_err(explain)?;
    for (index, value) in step.args.iter().enumerate() {
        match value {
            SqlValue::Text(Some(text)) => statement.raw_bind_parameter(index + 1, text.as_ref()),
            SqlValue::Int(Some(int)) => statement.raw_bind_parameter(index + 1, int),
            SqlValue::Text(None) | SqlValue::Int(None) => statement.raw_bind_parameter(index + 1, Null),
        }
        .map_err(explain)?;
    }
    let columns = statement.column_count();
    let mut answer = StatementResult::default();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(explain)? {
        answer.rows.push(Row((0..columns).map(|index| read_field(row, index)).collect::<Result<_, _>>()?));
    }
    answer.changed = connection.changes();
    Ok(answer)
}

fn read_field(row: &rusqlite::Row<'_>, index: usize) -> Result<SqlValue, StoreError> {
    match row.get_ref(index).map_err(explain)? {
        ValueRef::Null => Ok(SqlValue::Text(None)),
        ValueRef::Integer(int) => Ok(SqlValue::int(int)),
        other => other.as_str().map(SqlValue::shared).map_err(|error| StoreError::Corrupt(error.to_string())),
    }
}
