//! Tasks as people see them: one by one, and in pages.

use std::sync::LazyLock;
use std::time::Duration;

use muster_domain::{
    Attempt, AttemptRecord, Epoch, Payload, Priority, Tally, TaskError, TaskId, TaskSpec, TaskState, TaskStatus,
    Timestamp, Usage,
};

use crate::sql::{RowFields, SqlValue, Statement};
use crate::task_lists::BEFORE_ALL;
use crate::{AttemptTotals, ListOrder, StoreError, TaskFilter, TaskRow};

macro_rules! select_tasks {
    ($input:literal, $output:literal, $($condition:expr),+) => {
        concat!(
            "SELECT task_id, pool_name, tenant, project_id, agent_id, is_check, priority, max_attempts, timeout_ms, \
             not_before, expires_at, ",
            $input,
            ", state, error, due_at, attempt, run_agent_id, run_epoch, process_id, halt, version, spent, spoiled, redrives, ",
            $output,
            ", input_tokens, output_tokens, cost_micros, history, created_at, started_at, finished_at FROM tasks WHERE ",
            $($condition),+
        )
    };
}

/// The text of a page in both directions. In the template `{>}` and `{<=}` stand between what comes later in the list and what
/// comes before it, `{dir}` behind what it is ordered by, and `{end}` is behind every id.
struct PageSql {
    oldest_first: String,
    newest_first: String,
}

impl PageSql {
    fn new(template: &str) -> Self {
        let directed = |words: [&str; 5]| {
            let holes = ["{>}", "{<}", "{<=}", "{dir}", "{end}"];
            holes.iter().zip(words).fold(template.to_owned(), |text, (hole, word)| text.replace(hole, word))
        };
        Self {
            oldest_first: directed([">", "<", "<=", "", AFTER_ALL]),
            newest_first: directed(["<", ">", ">=", "DESC", BEFORE_ALL]),
        }
    }

    fn text(&'static self, order: ListOrder) -> &'static str {
        match order {
            ListOrder::OldestFirst => &self.oldest_first,
            ListOrder::NewestFirst => &self.newest_first,
        }
    }
}

/// Sorts after every id.
const AFTER_ALL: &str = "~";

/// A page: `$1` after which id, `$2` how many, `$3` of which tenant, or null, `$4` whether inputs and outputs are read. The
/// ids come first, from an index, so that only the rows of the page itself are read.
macro_rules! page {
    ($($ids:expr),+) => {
        LazyLock::new(|| PageSql::new(select_tasks!(
            "CASE WHEN $4 = 1 THEN input ELSE 'null' END", "CASE WHEN $4 = 1 THEN output END",
            "task_id IN (", $($ids),+, " LIMIT CAST($2 AS BIGINT)) ORDER BY task_id {dir}"
        )))
    };
}

macro_rules! of_tenant {
    () => {
        " AND ($3 IS NULL OR t.tenant = $3) "
    };
}

/// After `$1` in one range of an index, whose order is that of the column and the id: why both are said, the lines of tasks
/// (`task_lists`) explain.
macro_rules! after {
    ($column:literal, $is:literal) => {
        concat!("(t.", $column, ", t.task_id) {>} (", $is, ", $1) AND t.", $column, " {<=} ", $is, of_tenant!())
    };
}

/// In several ranges of the index by pool and state, of which each holds its tasks in order: as many as fit are taken from
/// each, and of these the first. `$pools`: the table `pools`; `$5` to `$10` are the states, filled with nulls.
macro_rules! page_of_parts {
    ($pools:literal) => {
        page!(
            "WITH RECURSIVE ",
            $pools,
            ", states (state) AS (VALUES ($5), ($6), ($7), ($8), ($9), ($10)), \
             parts (pool_name, state) AS (SELECT p.pool_name, s.state FROM pools p CROSS JOIN states s \
             WHERE p.pool_name IS NOT NULL AND s.state IS NOT NULL), \
             upto (pool_name, state, task_id) AS (SELECT pool_name, state, COALESCE((SELECT t.task_id FROM tasks t \
             WHERE t.pool_name = parts.pool_name AND ",
            after!("state", "parts.state"),
            "ORDER BY t.state {dir}, t.task_id {dir} LIMIT 1 OFFSET $2), '{end}') FROM parts), \
             ids (task_id) AS MATERIALIZED (SELECT t.task_id FROM upto CROSS JOIN tasks t \
             WHERE t.pool_name = upto.pool_name AND t.state = upto.state \
             AND t.task_id {>} $1 AND t.task_id {<} upto.task_id",
            of_tenant!(),
            ") SELECT task_id FROM ids ORDER BY task_id {dir}"
        )
    };
}

const ONE: &str = select_tasks!("input", "output", "task_id = $1");
static PAGE: LazyLock<PageSql> =
    page!("SELECT t.task_id FROM tasks t WHERE t.task_id {>} $1", of_tenant!(), "ORDER BY t.task_id {dir}");
static PAGE_OF_PROJECT: LazyLock<PageSql> = page!(
    "SELECT t.task_id FROM tasks t WHERE ",
    after!("project_id", "$11"),
    "AND ($12 IS NULL OR t.pool_name = $12) AND t.state IN ($5, $6, $7, $8, $9, $10) \
     ORDER BY t.project_id {dir}, t.task_id {dir}"
);
static PAGE_OF_TENANT: LazyLock<PageSql> = page!(
    "SELECT t.task_id FROM tasks t WHERE ",
    after!("tenant", "$3"),
    "AND ($5 IS NULL OR t.pool_name = $5) ORDER BY t.tenant {dir}, t.task_id {dir}"
);
static PAGE_OF_POOL_AND_STATE: LazyLock<PageSql> = page!(
    "SELECT t.task_id FROM tasks t WHERE t.pool_name = $5 AND ",
    after!("state", "$6"),
    "ORDER BY t.state {dir}, t.task_id {dir}"
);
static PAGE_OF_POOL: LazyLock<PageSql> = page_of_parts!("pools (pool_name) AS (VALUES ($11))");
// The pools that tasks name, one look into the index for each: some may be gone.
static PAGE_OF_STATES: LazyLock<PageSql> = page_of_parts!(
    "pools (pool_name) AS (SELECT MIN(t.pool_name) FROM tasks t UNION ALL \
     SELECT (SELECT MIN(t.pool_name) FROM tasks t WHERE t.pool_name > pools.pool_name) FROM pools \
     WHERE pools.pool_name IS NOT NULL)"
);

pub(crate) fn one(task_id: TaskId) -> Statement {
    Statement::new(ONE, vec![SqlValue::text(task_id)])
}

pub(crate) fn page(filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Statement {
    let TaskFilter { pool, project, tenant, states, brief, order } = filter;
    let start = match order {
        ListOrder::OldestFirst => BEFORE_ALL,
        ListOrder::NewestFirst => AFTER_ALL,
    };
    let after = after.map_or_else(|| SqlValue::shared(start), SqlValue::text);
    let whole = SqlValue::int(i64::from(!*brief));
    let mut args = vec![after, SqlValue::count(limit), SqlValue::text_or_null(tenant.as_ref()), whole];
    let page = match (project, pool, states.as_slice()) {
        // Of some states it is read by those: most tasks that are kept have succeeded.
        (None, pool, []) if tenant.is_some() => {
            args.push(SqlValue::text_or_null(pool.as_ref()));
            &PAGE_OF_TENANT
        }
        (None, None, []) => &PAGE,
        (None, Some(pool), [state]) => {
            args.extend([SqlValue::text(pool), SqlValue::text(state)]);
            &PAGE_OF_POOL_AND_STATE
        }
        (Some(project), pool, states) => {
            args.extend(states_or_all(states));
            args.extend([SqlValue::text(project), SqlValue::text_or_null(pool.as_ref())]);
            &PAGE_OF_PROJECT
        }
        (None, pool, states) => {
            args.extend(states_or_all(states));
            args.extend(pool.as_ref().map(SqlValue::text));
            if pool.is_some() { &PAGE_OF_POOL } else { &PAGE_OF_STATES }
        }
    };
    Statement::new(page.text(*order), args)
}

/// These states once each, or all where there are none; the rest is filled with nulls.
fn states_or_all(states: &[TaskState]) -> [SqlValue; TaskState::ALL.len()] {
    TaskState::ALL.map(|state| match states.is_empty() || states.contains(&state) {
        true => SqlValue::shared(state.as_str()),
        false => SqlValue::Text(None),
    })
}

/// Reads a row of [`one`] or [`page`].
pub(crate) fn read(mut fields: RowFields) -> Result<TaskRow, StoreError> {
    let fields = &mut fields;
    let spec = take_spec(fields)?;
    let input = Payload::trusted(fields.shared_text()?);
    let (status, attempt) = take_status(fields)?;
    let version = fields.count()?;
    let tally = take_tally(fields)?;
    let redrives = fields.count()?;
    let output = fields.text_or_null()?.map(Payload::trusted);
    Ok(TaskRow {
        spec,
        input,
        status,
        version,
        totals: AttemptTotals { attempt, tally, usage: take_usage(fields)? },
        redrives,
        output,
        history: read_history(&fields.shared_text()?)?,
        created_at: Timestamp::from_millis(fields.int()?),
        started_at: fields.int_or_null()?.map(Timestamp::from_millis),
        finished_at: fields.int_or_null()?.map(Timestamp::from_millis),
    })
}

fn take_spec(fields: &mut RowFields) -> Result<TaskSpec, StoreError> {
    Ok(TaskSpec {
        task_id: fields.parsed()?,
        pool_name: fields.parsed()?,
        tenant: fields.text()?,
        project_id: fields.text_or_null()?.map(|text| text.as_ref().to_owned()),
        agent_id: fields.parsed_or_null()?,
        check: fields.int()? != 0,
        priority: take_priority(fields)?,
        max_attempts: fields.count()?,
        timeout: fields.count_or_null()?.map(Duration::from_millis),
        not_before: fields.int_or_null()?.map(Timestamp::from_millis),
        expires_at: fields.int_or_null()?.map(Timestamp::from_millis),
    })
}

/// The status, and the number of the latest attempt.
fn take_status(fields: &mut RowFields) -> Result<(TaskStatus, u32), StoreError> {
    let state: TaskState = fields.parsed()?;
    let error: Option<TaskError> = fields.json_or_null()?;
    let due_at = fields.int_or_null()?;
    let number = fields.count()?;
    let (agent_id, epoch) = (fields.parsed_or_null()?, fields.count_or_null()?);
    let (process_id, halt) = (fields.parsed_or_null()?, fields.parsed_or_null()?);
    let missing = || StoreError::Corrupt(format!("a task that is {state} lacks a field"));
    let attempt = || {
        let (agent_id, process_id) = (agent_id.ok_or_else(missing)?, process_id.ok_or_else(missing)?);
        Ok(Attempt { number, agent_id, epoch: Epoch(epoch.ok_or_else(missing)?), process_id })
    };
    let status = match (state, halt) {
        (TaskState::Queued, _) => TaskStatus::Queued { not_before: due_at.map(Timestamp::from_millis) },
        (TaskState::Running, None) => TaskStatus::Running(attempt()?),
        (TaskState::Running, Some(halt)) => TaskStatus::Halting(attempt()?, halt),
        (TaskState::Succeeded, _) => TaskStatus::Succeeded,
        (TaskState::Failed, _) => TaskStatus::Failed(error.ok_or_else(missing)?),
        (TaskState::Cancelled, _) => TaskStatus::Cancelled,
        (TaskState::Dead, _) => TaskStatus::Dead(error.ok_or_else(missing)?),
    };
    Ok((status, number))
}

pub(crate) fn take_priority(fields: &mut RowFields) -> Result<Priority, StoreError> {
    fields.count::<u8>()?.try_into().map_err(StoreError::Corrupt)
}

pub(crate) fn take_tally(fields: &mut RowFields) -> Result<Tally, StoreError> {
    Ok(Tally { spent: fields.count()?, spoiled: fields.count()? })
}

pub(crate) fn take_usage(fields: &mut RowFields) -> Result<Usage, StoreError> {
    Ok(Usage { input_tokens: fields.count()?, output_tokens: fields.count()?, cost_micros: fields.count()? })
}

/// One line of JSON per attempt that is over.
fn read_history(lines: &str) -> Result<Vec<AttemptRecord>, StoreError> {
    let read = |line| serde_json::from_str(line).map_err(|error| StoreError::Corrupt(format!("{line:?}: {error}")));
    lines.lines().map(read).collect()
}
