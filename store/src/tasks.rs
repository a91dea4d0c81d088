//! Tasks: their transitions.
//!
//! A batch of tasks becomes a few statements over many rows. Each row carries its task's id and what its precondition
//! compares; the statement returns the ids of the tasks that it changed. In which order is not promised.

use std::sync::LazyLock;

use muster_domain::{AttemptEnd, AttemptRecord, FollowUp, TaskError, TaskId, TaskState, Timestamp};

use crate::keys::delete_keys_of;
use crate::sql::{Batched, MAX_ROWS, SqlValue, Statement};
use crate::task_steps::{TaskSteps, Tells};
use crate::{IdempotencyKey, NewTask, TaskEnding, TaskHalting, TaskStart, TaskVerdict, keys};

/// The columns of a new task's row, as they are given.
macro_rules! new_task {
    () => {
        "task_id, pool_name, tenant, priority, project_id, agent_id, is_check, max_attempts, timeout_ms, not_before, \
         due_at, expires_at, attempt, run_agent_id, run_epoch, process_id, created_at, input"
    };
}

const NEW_TASK_FIELDS: usize = 18;

/// The line of a task that is ready now.
macro_rules! ready {
    ($task:literal) => {
        concat!("CASE WHEN ", $task, "agent_id IS NULL THEN 'shared' ELSE 'own' END")
    };
}

macro_rules! add {
    ($condition:literal) => {
        concat!(
            "WITH e (",
            new_task!(),
            ") AS (VALUES {rows}) INSERT INTO tasks (",
            new_task!(),
            ", state, line, started_at) SELECT ",
            new_task!(),
            ", CASE WHEN attempt = 0 THEN 'queued' ELSE 'running' END, \
             CASE WHEN attempt > 0 THEN NULL WHEN due_at IS NOT NULL THEN 'delayed' ELSE ",
            ready!("e."),
            " END, CASE WHEN attempt > 0 THEN created_at END FROM e \
             WHERE EXISTS (SELECT 1 FROM pools p WHERE p.pool_name = e.pool_name)",
            $condition,
            " ON CONFLICT (task_id) DO NOTHING RETURNING task_id"
        )
    };
}

static ADD: LazyLock<Batched> = LazyLock::new(|| Batched::new(NEW_TASK_FIELDS, add!("")));

/// One task, where the key is its own.
static ADD_KEYED: LazyLock<String> = LazyLock::new(|| {
    let template = add!(
        " AND EXISTS (SELECT 1 FROM idempotency_keys k \
          WHERE k.caller = $19 AND k.route = $20 AND k.idempotency_key = $21 AND k.made_id = e.task_id)"
    );
    let numbers: Vec<String> = (1..=NEW_TASK_FIELDS).map(|n| format!("${n}")).collect();
    template.replace("{rows}", &format!("({})", numbers.join(", ")))
});

static START: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        6,
        "WITH e (task_id, number, agent_id, epoch, process_id, at) AS (VALUES {rows}) \
         UPDATE tasks SET state = 'running', line = NULL, due_at = NULL, attempt = e.number, \
         run_agent_id = e.agent_id, run_epoch = e.epoch, process_id = e.process_id, started_at = e.at, \
         version = version + 1 FROM e \
         WHERE tasks.task_id = e.task_id AND tasks.state = 'queued' AND tasks.attempt = e.number - 1 \
         RETURNING tasks.task_id",
    )
});

static HALT: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        3,
        "WITH e (task_id, number, halt) AS (VALUES {rows}) \
         UPDATE tasks SET halt = e.halt, version = version + 1 FROM e \
         WHERE tasks.task_id = e.task_id AND tasks.state = 'running' AND tasks.attempt = e.number \
         AND (tasks.halt IS NULL OR e.halt = 'cancelled') RETURNING tasks.task_id",
    )
});

static END: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        13,
        concat!(
            "WITH e (task_id, number, at, state, due_at, error, output, record, spent, spoiled, input_tokens, \
             output_tokens, cost_micros) AS (VALUES {rows}) \
             UPDATE tasks SET state = e.state, due_at = e.due_at, line = CASE WHEN e.state <> 'queued' THEN NULL \
             WHEN e.due_at IS NOT NULL THEN 'delayed' ELSE ",
            ready!("tasks."),
            " END, run_agent_id = NULL, run_epoch = NULL, process_id = NULL, halt = NULL, error = e.error, \
             output = e.output, history = history || e.record, spent = e.spent, spoiled = e.spoiled, \
             input_tokens = e.input_tokens, output_tokens = e.output_tokens, cost_micros = e.cost_micros, \
             finished_at = CASE WHEN e.state <> 'queued' THEN e.at END, version = version + 1 FROM e \
             WHERE tasks.task_id = e.task_id AND tasks.state = 'running' AND tasks.attempt = e.number \
             RETURNING tasks.task_id"
        ),
    )
});

static SETTLE: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        4,
        "WITH e (task_id, at, state, error) AS (VALUES {rows}) \
         UPDATE tasks SET state = e.state, line = NULL, due_at = NULL, error = e.error, finished_at = e.at, \
         version = version + 1 FROM e \
         WHERE tasks.task_id = e.task_id AND tasks.state = 'queued' AND e.state IS NOT NULL \
         RETURNING tasks.task_id",
    )
});

static PROMOTE: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        1,
        concat!(
            "UPDATE tasks SET due_at = NULL, version = version + 1, line = ",
            ready!(""),
            " WHERE task_id IN (VALUES {rows}) AND due_at IS NOT NULL RETURNING task_id"
        ),
    )
});

// Nobody takes care of a queued task whose pool is gone.
static REDRIVE: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        1,
        concat!(
            "UPDATE tasks SET state = 'queued', spent = 0, spoiled = 0, redrives = redrives + 1, error = NULL, output = NULL, \
             expires_at = NULL, finished_at = NULL, version = version + 1, line = ",
            ready!(""),
            " WHERE task_id IN (VALUES {rows}) AND state IN ('dead', 'failed') \
             AND EXISTS (SELECT 1 FROM pools p WHERE p.pool_name = tasks.pool_name) RETURNING task_id"
        ),
    )
});

static WITHDRAW: LazyLock<Batched> =
    LazyLock::new(|| Batched::new(1, "DELETE FROM tasks WHERE task_id IN (VALUES {rows}) RETURNING task_id"));

/// In an order, so that the keys that go are those of the tasks that go.
macro_rules! old {
    () => {
        "SELECT task_id FROM tasks WHERE finished_at < $1 ORDER BY finished_at, task_id LIMIT CAST($2 AS BIGINT)"
    };
}
const PRUNE_KEYS: &str = delete_keys_of!(old!());
const PRUNE: &str = concat!("DELETE FROM tasks WHERE task_id IN (", old!(), ")");

/// Makes tasks. One with an idempotency key is a statement of its own, after the one that claims the key.
pub(crate) fn add(tasks: &[NewTask]) -> TaskSteps {
    let mut steps = TaskSteps::of(tasks.len());
    let places = || tasks.iter().enumerate().map(|(place, task)| (place, task.spec.task_id, task));
    let plain = places().filter(|(.., task)| task.key.is_none());
    steps.push_all(&ADD, plain.map(|(place, id, task)| (place, id, new_fields(task))));
    for (place, id, task) in places() {
        let Some(key) = &task.key else { continue };
        let claim = keys::claim(key, id, &task.spec.pool_name, task.at).with_next();
        steps.push(claim, Tells::Holder(id, place));
        steps.push(add_keyed(task, key), Tells::Changed(vec![(id, place)]));
    }
    steps
}

fn add_keyed(task: &NewTask, key: &IdempotencyKey) -> Statement {
    let mut args = new_fields(task);
    args.extend([SqlValue::text(&key.caller), SqlValue::text(&key.route), SqlValue::text(&key.key)]);
    Statement::new(&ADD_KEYED, args)
}

fn new_fields(task: &NewTask) -> Vec<SqlValue> {
    let NewTask { spec, input, start, at, .. } = task;
    vec![
        SqlValue::text(spec.task_id),
        SqlValue::text(&spec.pool_name),
        SqlValue::text(&spec.tenant),
        SqlValue::int(spec.priority.get().into()),
        SqlValue::text_or_null(spec.project_id.as_ref()),
        SqlValue::text_or_null(spec.agent_id),
        SqlValue::int(spec.check.into()),
        SqlValue::int(spec.max_attempts.into()),
        SqlValue::int_or_null(spec.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX))),
        time(spec.not_before),
        time(task.due_at()),
        time(spec.expires_at),
        SqlValue::int(start.map_or(0, |attempt| attempt.number.into())),
        SqlValue::text_or_null(start.map(|attempt| attempt.agent_id)),
        SqlValue::int_or_null(start.map(|attempt| i64::try_from(attempt.epoch.0).unwrap_or(i64::MAX))),
        SqlValue::text_or_null(start.map(|attempt| attempt.process_id)),
        time(Some(*at)),
        SqlValue::shared(input.clone()),
    ]
}

pub(crate) fn start(starts: &[TaskStart]) -> TaskSteps {
    let fields = |start: &TaskStart| {
        let attempt = start.attempt;
        vec![
            SqlValue::text(start.task_id),
            SqlValue::int(attempt.number.into()),
            SqlValue::text(attempt.agent_id),
            SqlValue::count(attempt.epoch.0),
            SqlValue::text(attempt.process_id),
            time(Some(start.at)),
        ]
    };
    TaskSteps::over(&START, starts, |start| start.task_id, fields)
}

pub(crate) fn halt(haltings: &[TaskHalting]) -> TaskSteps {
    let fields = |halting: &TaskHalting| {
        vec![
            SqlValue::text(halting.task_id),
            SqlValue::int(halting.number.into()),
            SqlValue::shared(halting.halt.as_str()),
        ]
    };
    TaskSteps::over(&HALT, haltings, |halting| halting.task_id, fields)
}

pub(crate) fn end(endings: &[TaskEnding]) -> TaskSteps {
    TaskSteps::over(&END, endings, |ending| ending.task_id, end_fields)
}

fn end_fields(ending: &TaskEnding) -> Vec<SqlValue> {
    let TaskEnding { task_id, record, then, output, usage, tally } = ending;
    let due_at = match then {
        FollowUp::Retry { not_before } => not_before.filter(|not_before| *not_before > record.ended_at),
        _ => None,
    };
    vec![
        SqlValue::text(task_id),
        SqlValue::int(record.number.into()),
        time(Some(record.ended_at)),
        SqlValue::shared(state_after(then).as_str()),
        time(due_at),
        SqlValue::json_or_null(error_of(then)),
        SqlValue::Text(output.clone().map(Into::into)),
        record_line(record),
        SqlValue::int(tally.spent.into()),
        SqlValue::int(tally.spoiled.into()),
        SqlValue::count(usage.input_tokens),
        SqlValue::count(usage.output_tokens),
        SqlValue::count(usage.cost_micros),
    ]
}

/// A line of the history: the JSON has no line break of its own. What never began is no part of it, since a task whose
/// agents are not there may be turned away any number of times.
fn record_line(record: &AttemptRecord) -> SqlValue {
    match record.end {
        AttemptEnd::NotBegun { .. } => SqlValue::shared(""),
        _ => SqlValue::json_line(record),
    }
}

/// Ends tasks that wait. `Succeed` and `Retry` are no verdicts on them, and change nothing.
pub(crate) fn settle(verdicts: &[TaskVerdict]) -> TaskSteps {
    let fields = |verdict: &TaskVerdict| {
        let state = match &verdict.then {
            FollowUp::Succeed | FollowUp::Retry { .. } => None,
            then => Some(state_after(then).as_str()),
        };
        vec![
            SqlValue::text(verdict.task_id),
            time(Some(verdict.at)),
            SqlValue::text_or_null(state),
            SqlValue::json_or_null(error_of(&verdict.then)),
        ]
    };
    TaskSteps::over(&SETTLE, verdicts, |verdict| verdict.task_id, fields)
}

pub(crate) fn promote(tasks: &[TaskId]) -> TaskSteps {
    TaskSteps::over(&PROMOTE, tasks, |id| *id, |id| vec![SqlValue::text(id)])
}

pub(crate) fn redrive(tasks: &[TaskId]) -> TaskSteps {
    TaskSteps::over(&REDRIVE, tasks, |id| *id, |id| vec![SqlValue::text(id)])
}

/// Deletes tasks, and before them the keys that name them.
pub(crate) fn withdraw(tasks: &[TaskId]) -> TaskSteps {
    let mut steps = TaskSteps::of(tasks.len());
    for ids in tasks.chunks(MAX_ROWS) {
        steps.push(keys::forget(ids), Tells::Nothing);
    }
    steps.push_all(&WITHDRAW, tasks.iter().enumerate().map(|(place, id)| (place, *id, vec![SqlValue::text(id)])));
    steps
}

pub(crate) fn prune(ended_before: Timestamp, limit: u32) -> Vec<Statement> {
    let step = |sql| Statement::new(sql, vec![SqlValue::int(ended_before.as_millis()), SqlValue::count(limit)]);
    vec![step(PRUNE_KEYS), step(PRUNE)]
}

fn time(at: Option<Timestamp>) -> SqlValue {
    SqlValue::int_or_null(at.map(Timestamp::as_millis))
}

const fn state_after(then: &FollowUp) -> TaskState {
    match then {
        FollowUp::Succeed => TaskState::Succeeded,
        FollowUp::Retry { .. } => TaskState::Queued,
        FollowUp::Fail(_) => TaskState::Failed,
        FollowUp::Cancel => TaskState::Cancelled,
        FollowUp::Die(_) => TaskState::Dead,
    }
}

const fn error_of(then: &FollowUp) -> Option<&TaskError> {
    match then {
        FollowUp::Fail(error) | FollowUp::Die(error) => Some(error),
        FollowUp::Succeed | FollowUp::Retry { .. } | FollowUp::Cancel => None,
    }
}
