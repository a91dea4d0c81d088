//! The small layer between the transitions, which are written once, and the engines, which are two.
//!
//! A transition is planned as [`Statement`]s: static SQL that both engines understand (`$1` to `$n`, `ON CONFLICT`,
//! `RETURNING`, no engine's own functions), with its arguments. No step is chosen by the answer to another: what depends
//! on the state of the database is a condition inside the SQL. So an engine may send a whole batch at once.
//!
//! A limit is written `LIMIT CAST($1 AS BIGINT)`: SQLite looks at the value of a bare parameter when it plans, and so it would
//! prepare the text anew each time that one is bound.

mod apart;
mod batch;
mod value;

use std::sync::Arc;

use async_trait::async_trait;
use muster_domain::Fence;

use crate::StoreError;
use crate::leader::LeaderSql;
pub(crate) use apart::{Unit, join, refuse};
pub(crate) use batch::{Batched, MAX_ROWS};
pub(crate) use value::{Row, RowFields, SqlValue};

/// One statement with its arguments.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The text. `$` stands before a parameter's number and nowhere else.
    pub(crate) sql: &'static str,
    /// `$1`, `$2`, ...
    pub(crate) args: Vec<SqlValue>,
    /// Rows that it is about, as a measure of its work.
    pub(crate) rows: usize,
    /// The statement over many rows that it is one of, if so.
    pub(crate) many: Option<&'static Batched>,
    /// Whether it stands or falls with the step after it.
    pub(crate) with_next: bool,
}

impl Statement {
    pub(crate) const fn new(sql: &'static str, args: Vec<SqlValue>) -> Self {
        Self { sql, args, rows: 1, many: None, with_next: false }
    }

    pub(crate) fn with_next(self) -> Self {
        Self { with_next: true, ..self }
    }
}

/// What a step did.
#[derive(Debug, Default)]
pub struct StatementResult {
    /// Rows inserted, updated or deleted.
    pub(crate) changed: u64,
    /// Rows returned.
    pub(crate) rows: Vec<Row>,
    /// Rows of the step that were left out, by their places in it, since the engine will never take a value of theirs.
    pub(crate) refused: Vec<RefusedRow>,
}

/// A row that was left out, and why.
#[derive(Debug)]
pub(crate) struct RefusedRow {
    pub(crate) row: usize,
    pub(crate) why: Arc<str>,
}

/// How the steps of a transaction hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionMode {
    /// All of them or none.
    Together,
    /// What the engine refuses for a value is left out, and named in its answer; all else is carried out. Slower.
    Apart,
}

/// A database.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The engine's name and where its data is, without secrets.
    fn describe(&self) -> String;

    /// The texts about leadership that the engines do not share.
    fn leader_sql(&self) -> &'static LeaderSql;

    /// Carries out all steps in one transaction, if the fence is the one in force ([`StoreError::Fenced`] otherwise),
    /// with one answer per step. After an error nothing of it stands, except where the connection broke during the
    /// commit itself: then nobody can know.
    async fn commit(
        &self,
        fence: Fence,
        steps: Vec<Arc<Statement>>,
        mode: TransactionMode,
    ) -> Result<Vec<StatementResult>, StoreError>;

    /// Carries out one step in a transaction of its own, whoever leads: for leadership itself.
    async fn update(&self, step: Statement) -> Result<StatementResult, StoreError>;

    /// Reads, with one list of rows per step. What others commit meanwhile may be in one of them and not in another.
    async fn read_all(&self, steps: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError>;

    /// Reads with one step.
    async fn read(&self, step: Statement) -> Result<Vec<Row>, StoreError> {
        Ok(self.read_all(vec![step]).await?.pop().unwrap_or_default())
    }

    /// Gives back room that deletions have left, if there is much of it. For engines that do not do so by themselves.
    async fn shrink(&self) -> Result<(), StoreError>;

    /// What somebody should change about the database though it works, in words.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Closes every connection.
    async fn close(&self);
}
