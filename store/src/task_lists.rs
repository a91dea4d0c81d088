//! Tasks that wait or run: queues, what is due, what runs. Each question is a small range of one index.

use std::sync::LazyLock;
use std::time::Duration;

use muster_domain::{AgentId, Attempt, Epoch, Payload, PoolName, TaskId, Timestamp};

use crate::sql::{Batched, RowFields, SqlValue, Statement};
use crate::task_pages::{take_priority, take_tally, take_usage};
use crate::{
    AttemptTotals, QueueCounts, QueueKey, QueueRow, QueueSlice, QueuedTask, RunningTask, SHORT_INPUT, StoreError,
};

/// The fields of a [`QueuedTask`] but its input.
macro_rules! queued_fields {
    () => {
        "task_id, tenant, priority, project_id, agent_id, is_check, max_attempts, timeout_ms, expires_at, attempt, \
         spent, spoiled, input_tokens, output_tokens, cost_micros, created_at"
    };
}

/// `$1`: up to which length an input is read, too.
macro_rules! select_queued {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            queued_fields!(),
            ", CASE WHEN octet_length(input) <= $1 THEN input END FROM tasks WHERE ",
            $rest
        )
    };
}

// A queue is asked for as a range from (priority, task) to priority, and its order as of both, where `priority = $4` would
// mean the same: PostgreSQL would then know two indexes that are in the order of the ids, and take the primary key where it
// believes that most tasks are in this queue.
const SHARED_QUEUE: &str = select_queued!(
    "pool_name = $2 AND tenant = $3 AND line = 'shared' AND (priority, task_id) > ($4, $5) AND priority <= $4 \
     ORDER BY priority, task_id LIMIT CAST($6 AS BIGINT)"
);
const OWN_QUEUE: &str = select_queued!(
    "pool_name = $2 AND line = 'own' AND (agent_id, task_id) > ($3, $4) AND agent_id <= $3 \
     ORDER BY agent_id, task_id LIMIT CAST($5 AS BIGINT)"
);
const OF_AGENT: &str = select_queued!(
    "pool_name = $2 AND line IS NOT NULL AND (agent_id, task_id) > ($3, $4) AND agent_id <= $3 \
     ORDER BY agent_id, task_id LIMIT CAST($5 AS BIGINT)"
);
const DUE: &str = select_queued!(
    "pool_name = $2 AND line = 'delayed' AND due_at <= $3 ORDER BY due_at, task_id LIMIT CAST($4 AS BIGINT)"
);
const EXPIRED: &str = select_queued!(
    "pool_name = $2 AND line IS NOT NULL AND expires_at <= $3 ORDER BY expires_at, task_id LIMIT CAST($4 AS BIGINT)"
);

const NEXT_DUE: &str = "SELECT due_at FROM tasks WHERE pool_name = $1 AND line = 'delayed' AND due_at > $2 \
    ORDER BY due_at, task_id LIMIT 1";
const NEXT_EXPIRY: &str = "SELECT expires_at FROM tasks WHERE pool_name = $1 AND line IS NOT NULL \
    AND expires_at > $2 ORDER BY expires_at, task_id LIMIT 1";

const MADE_SINCE: &str = "SELECT COUNT(*) FROM tasks WHERE task_id >= $1 AND tenant = $2";

const RUNNING: &str = concat!(
    "SELECT ",
    queued_fields!(),
    ", NULL, run_agent_id, run_epoch, process_id, halt, started_at FROM tasks \
     WHERE pool_name = $1 AND state = 'running' ORDER BY task_id"
);

const QUEUES: &str = "SELECT CAST(NULL AS TEXT), tenant, priority, COUNT(*), MIN(task_id) FROM tasks \
    WHERE pool_name = $1 AND line = 'shared' GROUP BY tenant, priority UNION ALL \
    SELECT agent_id, '', 0, COUNT(*), MIN(task_id) FROM tasks \
    WHERE pool_name = $1 AND agent_id IS NOT NULL AND line = 'own' GROUP BY agent_id";

const COUNTS: &str = "SELECT (SELECT COUNT(*) FROM tasks WHERE pool_name = $1 AND line = 'delayed'), \
    (SELECT COUNT(*) FROM tasks WHERE pool_name = $1 AND state = 'dead')";

static INPUTS: LazyLock<Batched> =
    LazyLock::new(|| Batched::new(1, "SELECT task_id, input FROM tasks WHERE task_id IN (VALUES {rows})"));

/// Sorts before every id.
pub(crate) const BEFORE_ALL: &str = "";

pub(crate) fn ready_queues(pool: &PoolName) -> Statement {
    Statement::new(QUEUES, vec![SqlValue::text(pool)])
}

pub(crate) fn slice(pool: &PoolName, slice: &QueueSlice) -> Statement {
    let mut args = vec![SqlValue::count(SHORT_INPUT), SqlValue::text(pool)];
    let sql = match &slice.queue {
        QueueKey::Shared { tenant, priority } => {
            args.extend([SqlValue::text(tenant), SqlValue::int(priority.get().into())]);
            SHARED_QUEUE
        }
        QueueKey::Own(agent_id) => {
            args.push(SqlValue::text(agent_id));
            OWN_QUEUE
        }
    };
    args.extend([
        slice.after.map_or_else(|| SqlValue::shared(BEFORE_ALL), SqlValue::text),
        SqlValue::count(slice.limit),
    ]);
    Statement::new(sql, args)
}

pub(crate) fn of_agent(pool: &PoolName, agent_id: AgentId, limit: u32) -> Statement {
    let (pool, agent_id) = (SqlValue::text(pool), SqlValue::text(agent_id));
    Statement::new(
        OF_AGENT,
        vec![SqlValue::count(SHORT_INPUT), pool, agent_id, SqlValue::shared(BEFORE_ALL), SqlValue::count(limit)],
    )
}

pub(crate) fn due(pool: &PoolName, by: Timestamp, limit: u32) -> Statement {
    Statement::new(DUE, until(pool, by, limit))
}

pub(crate) fn expired(pool: &PoolName, by: Timestamp, limit: u32) -> Statement {
    Statement::new(EXPIRED, until(pool, by, limit))
}

fn until(pool: &PoolName, by: Timestamp, limit: u32) -> Vec<SqlValue> {
    vec![SqlValue::count(SHORT_INPUT), SqlValue::text(pool), SqlValue::int(by.as_millis()), SqlValue::count(limit)]
}

pub(crate) fn next_due(pool: &PoolName, after: Timestamp) -> Statement {
    Statement::new(NEXT_DUE, vec![SqlValue::text(pool), SqlValue::int(after.as_millis())])
}

pub(crate) fn next_expiry(pool: &PoolName, after: Timestamp) -> Statement {
    Statement::new(NEXT_EXPIRY, vec![SqlValue::text(pool), SqlValue::int(after.as_millis())])
}

/// Asks by the ids, which are in the order of time.
pub(crate) fn made_since(tenant: &str, since: Timestamp) -> Statement {
    Statement::new(MADE_SINCE, vec![SqlValue::text(TaskId::first_at(since)), SqlValue::text(tenant)])
}

pub(crate) fn running(pool: &PoolName) -> Statement {
    Statement::new(RUNNING, vec![SqlValue::text(pool)])
}

pub(crate) fn counts(pool: &PoolName) -> Statement {
    Statement::new(COUNTS, vec![SqlValue::text(pool)])
}

/// Asks for the inputs of at most [`MAX_ROWS`](crate::sql::MAX_ROWS) tasks.
pub(crate) fn inputs(tasks: &[TaskId]) -> Statement {
    INPUTS.step(tasks.iter().map(SqlValue::text).collect())
}

/// Reads a row of [`ready_queues`].
pub(crate) fn read_queue(mut fields: RowFields) -> Result<QueueRow, StoreError> {
    let agent_id: Option<AgentId> = fields.parsed_or_null()?;
    let (tenant, priority) = (fields.text()?, take_priority(&mut fields)?);
    Ok(QueueRow { queue: QueueKey::of(agent_id, &tenant, priority), count: fields.count()?, first: fields.parsed()? })
}

/// Reads a row of [`slice`], [`of_agent`], [`due`] or [`expired`].
pub(crate) fn read_queued(mut fields: RowFields) -> Result<QueuedTask, StoreError> {
    take_queued(&mut fields)
}

/// Reads a row of [`running`].
pub(crate) fn read_running(mut fields: RowFields) -> Result<RunningTask, StoreError> {
    let task = take_queued(&mut fields)?;
    let attempt = Attempt {
        number: task.totals.attempt,
        agent_id: fields.parsed()?,
        epoch: Epoch(fields.count()?),
        process_id: fields.parsed()?,
    };
    let halt = fields.parsed_or_null()?;
    Ok(RunningTask { task, attempt, halt, started_at: Timestamp::from_millis(fields.int()?) })
}

/// Reads a row of [`inputs`].
pub(crate) fn read_input(mut fields: RowFields) -> Result<(TaskId, Payload), StoreError> {
    Ok((fields.parsed()?, Payload::trusted(fields.shared_text()?)))
}

/// Reads the row of [`counts`].
pub(crate) fn read_counts(mut fields: RowFields) -> Result<QueueCounts, StoreError> {
    Ok(QueueCounts { delayed: fields.count()?, dead: fields.count()? })
}

/// Reads the row of [`next_due`] or [`next_expiry`].
pub(crate) fn read_time(mut fields: RowFields) -> Result<Timestamp, StoreError> {
    fields.int().map(Timestamp::from_millis)
}

fn take_queued(fields: &mut RowFields) -> Result<QueuedTask, StoreError> {
    Ok(QueuedTask {
        task_id: fields.parsed()?,
        tenant: fields.text()?,
        priority: take_priority(fields)?,
        project_id: fields.text_or_null()?.map(|text| text.as_ref().to_owned()),
        agent_id: fields.parsed_or_null()?,
        check: fields.int()? != 0,
        max_attempts: fields.count()?,
        timeout: fields.count_or_null()?.map(Duration::from_millis),
        expires_at: fields.int_or_null()?.map(Timestamp::from_millis),
        totals: AttemptTotals { attempt: fields.count()?, tally: take_tally(fields)?, usage: take_usage(fields)? },
        created_at: Timestamp::from_millis(fields.int()?),
        input: fields.text_or_null()?.map(Payload::trusted),
    })
}
