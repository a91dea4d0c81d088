//! Workers: their transitions and their rows.

use std::sync::LazyLock;

use muster_domain::tiers::WorkerSource;
use muster_domain::{
    Interruption, PoolName, ProcessId, TierName, Timestamp, WorkerEnding, WorkerIdentity, WorkerKey, WorkerState,
    launcher,
};

use crate::sql::{Batched, RowFields, SqlValue, Statement};
use crate::{StoreError, WorkerRow, WorkerSpec};

// The pool's counter goes first, under the condition that the row's own statement is going to meet: after it, the
// row would no longer tell whether this statement changed it.
pub(crate) static COUNT_SPAWNED: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        9,
        "WITH e (process_id, pool_name, capacity, secret, runtime_version, launcher, instance_type, tier, at) AS (VALUES {rows}) \
         UPDATE pools SET workers_spawned = workers_spawned + (SELECT COUNT(*) FROM e WHERE e.pool_name = pools.pool_name \
         AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.process_id = e.process_id)) \
         WHERE pool_name IN (SELECT e.pool_name FROM e)",
    )
});

pub(crate) static ADD: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        9,
        "WITH e (process_id, pool_name, capacity, secret, runtime_version, launcher, instance_type, tier, at) AS (VALUES {rows}) \
         INSERT INTO workers \
         (process_id, pool_name, capacity, state, secret, runtime_version, launcher, instance_type, tier, created_at) \
         SELECT e.process_id, p.pool_name, e.capacity, 'starting', e.secret, e.runtime_version, e.launcher, e.instance_type, \
         e.tier, e.at FROM e \
         JOIN pools p ON p.pool_name = e.pool_name \
         WHERE e.process_id IS NOT NULL ON CONFLICT (process_id) DO NOTHING RETURNING process_id",
    )
});

pub(crate) static IDENTIFY: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        2,
        "WITH e (process_id, identity) AS (VALUES {rows}) UPDATE workers SET identity = e.identity FROM e \
         WHERE workers.process_id = e.process_id AND ended_at IS NULL RETURNING workers.process_id",
    )
});

pub(crate) static DRAIN: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        1,
        "UPDATE workers SET state = 'draining' WHERE process_id IN (VALUES {rows}) \
         AND state IN ('starting', 'ready') RETURNING process_id",
    )
});

pub(crate) static COUNT_TERMINATED: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        4,
        "WITH e (process_id, state, ending, at) AS (VALUES {rows}), \
         gone AS (SELECT w.pool_name FROM workers w JOIN e ON e.process_id = w.process_id WHERE w.ended_at IS NULL) \
         UPDATE pools SET workers_terminated = workers_terminated + \
         (SELECT COUNT(*) FROM gone WHERE gone.pool_name = pools.pool_name) \
         WHERE pool_name IN (SELECT pool_name FROM gone)",
    )
});

pub(crate) static END: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        4,
        "WITH e (process_id, state, ending, at) AS (VALUES {rows}) \
         UPDATE workers SET state = e.state, ending = e.ending, ended_at = e.at FROM e \
         WHERE workers.process_id = e.process_id AND ended_at IS NULL RETURNING workers.process_id",
    )
});

macro_rules! select_workers {
    ($($rest:literal),+) => {
        concat!(
            "SELECT process_id, pool_name, capacity, state, identity, secret, runtime_version, launcher, instance_type, ",
            "tier, noticed_at, interrupt_deadline, replaced_by, created_at, ended_at, ending FROM workers ",
            $($rest),+
        )
    };
}

const OPEN: &str = select_workers!("WHERE ended_at IS NULL ORDER BY process_id");
const ONE: &str = select_workers!("WHERE process_id = $1");
const ENDED: &str =
    select_workers!("WHERE ended_at IS NOT NULL AND process_id < $1 ORDER BY process_id DESC LIMIT CAST($2 AS BIGINT)");
const ENDED_OF_POOL: &str = select_workers!(
    "WHERE ended_at IS NOT NULL AND process_id < $1 AND pool_name = $3 ",
    "ORDER BY process_id DESC LIMIT CAST($2 AS BIGINT)"
);

const INTERRUPT: &str = "UPDATE workers SET noticed_at = $2, interrupt_deadline = $3, replaced_by = $4 \
    WHERE process_id = $1 AND ended_at IS NULL";

/// Sorts after every id.
const PAST_ALL: &str = "g";

// The row of a worker stays as long as an agent is placed on it, dead or not.
const PRUNE: &str = "DELETE FROM workers WHERE process_id IN (SELECT process_id FROM workers w \
    WHERE w.ended_at < $1 AND NOT EXISTS \
    (SELECT 1 FROM agents a WHERE a.process_id = w.process_id AND a.ended_at IS NULL) \
    LIMIT CAST($2 AS BIGINT)) RETURNING process_id";

/// A row of [`ADD`] and [`COUNT_SPAWNED`].
pub(crate) fn add_fields(
    process_id: ProcessId,
    pool: &PoolName,
    capacity: u32,
    key: &WorkerKey,
    spec: &WorkerSpec,
    at: Timestamp,
) -> Vec<SqlValue> {
    let WorkerSpec { runtime_version, source, tier } = spec;
    vec![
        SqlValue::text(process_id),
        SqlValue::text(pool),
        SqlValue::count(capacity),
        SqlValue::text(key.to_hex()),
        SqlValue::text_or_null(runtime_version.as_deref()),
        SqlValue::text(&source.launcher),
        SqlValue::text_or_null(source.instance_type.as_deref()),
        SqlValue::text_or_null(tier.map(TierName::as_str)),
        SqlValue::int(at.as_millis()),
    ]
}

/// A row of [`IDENTIFY`].
pub(crate) fn identify_fields(process_id: ProcessId, identity: &WorkerIdentity) -> Vec<SqlValue> {
    vec![SqlValue::text(process_id), SqlValue::json(identity)]
}

/// A row of [`END`] and [`COUNT_TERMINATED`].
pub(crate) fn end_fields(process_id: ProcessId, lost: bool, ending: &WorkerEnding, at: Timestamp) -> Vec<SqlValue> {
    let state = if lost { WorkerState::Lost } else { WorkerState::Stopped };
    vec![
        SqlValue::text(process_id),
        SqlValue::shared(state.as_str()),
        SqlValue::json(ending),
        SqlValue::int(at.as_millis()),
    ]
}

pub(crate) const fn open() -> Statement {
    Statement::new(OPEN, Vec::new())
}

pub(crate) fn one(process_id: ProcessId) -> Statement {
    Statement::new(ONE, vec![SqlValue::text(process_id)])
}

pub(crate) fn ended(pool: Option<&PoolName>, before: Option<ProcessId>, limit: u32) -> Statement {
    let before = before.map_or_else(|| PAST_ALL.to_owned(), |id| id.to_string());
    let mut args = vec![SqlValue::text(before), SqlValue::count(limit)];
    args.extend(pool.map(SqlValue::text));
    Statement::new(if pool.is_some() { ENDED_OF_POOL } else { ENDED }, args)
}

pub(crate) fn prune(ended_before: Timestamp, limit: u32) -> Statement {
    Statement::new(PRUNE, vec![SqlValue::int(ended_before.as_millis()), SqlValue::count(limit)])
}

/// Notes the notice of an open worker.
pub(crate) fn interrupt(process_id: ProcessId, interruption: &Interruption) -> Statement {
    let Interruption { noticed_at, deadline, replaced_by } = *interruption;
    let moment = |at: Timestamp| SqlValue::int(at.as_millis());
    let args =
        vec![SqlValue::text(process_id), moment(noticed_at), moment(deadline), SqlValue::text_or_null(replaced_by)];
    Statement::new(INTERRUPT, args)
}

fn read_interruption(fields: &mut RowFields) -> Result<Option<Interruption>, StoreError> {
    let (noticed_at, deadline) = (fields.int_or_null()?, fields.int_or_null()?);
    let replaced_by = fields.parsed_or_null()?;
    Ok(noticed_at.zip(deadline).map(|(noticed_at, deadline)| Interruption {
        noticed_at: Timestamp::from_millis(noticed_at),
        deadline: Timestamp::from_millis(deadline),
        replaced_by,
    }))
}

/// Reads a row of [`open`], [`one`] or [`ended`].
pub(crate) fn read(mut fields: RowFields) -> Result<WorkerRow, StoreError> {
    Ok(WorkerRow {
        process_id: fields.parsed()?,
        pool_name: fields.parsed()?,
        capacity: fields.count()?,
        state: fields.parsed()?,
        identity: fields.json_or_null()?,
        key: fields.parsed_or_null()?,
        spec: WorkerSpec {
            runtime_version: fields.parsed_or_null()?,
            source: WorkerSource {
                launcher: fields.parsed_or_null()?.unwrap_or_else(|| launcher::LOCAL.to_owned()),
                instance_type: fields.parsed_or_null()?,
            },
            tier: fields.parsed_or_null()?,
        },
        interruption: read_interruption(&mut fields)?,
        created_at: Timestamp::from_millis(fields.int()?),
        ended_at: fields.int_or_null()?.map(Timestamp::from_millis),
        ending: fields.json_or_null()?,
    })
}
