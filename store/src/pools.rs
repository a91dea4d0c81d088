//! Pools: their transitions and their rows.

use muster_domain::scaling::WorkerTarget;
use muster_domain::{Gate, PoolName, PoolSpec, Timestamp};

use crate::sql::{RowFields, SqlValue, Statement};
use crate::{PoolRow, StoreError};

const ADD: &str = "INSERT INTO pools (pool_name, role_type, runtime, config, origin, draining, created_at, \
    workers_spawned, workers_terminated) VALUES ($1, $2, $3, $4, $5, 0, $6, 0, 0) ON CONFLICT (pool_name) DO NOTHING";

const CHANGE: &str = "UPDATE pools SET role_type = $2, runtime = $3, config = $4, origin = $5 WHERE pool_name = $1";

const DRAIN: &str = "UPDATE pools SET draining = 1 WHERE pool_name = $1 AND draining = 0";

const REMOVE: &str = "DELETE FROM pools WHERE pool_name = $1 \
    AND NOT EXISTS (SELECT 1 FROM workers WHERE pool_name = $1 AND ended_at IS NULL) \
    AND NOT EXISTS (SELECT 1 FROM agents WHERE pool_name = $1 AND (rest IS NULL OR process_id IS NOT NULL)) \
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE pool_name = $1 AND state IN ('queued', 'running'))";

const GATE: &str = "UPDATE pools SET paused = $2, intake_closed = $3 WHERE pool_name = $1";

const SCALE: &str = "UPDATE pools SET target_workers = $2, last_scaled_at = $3, target_is_persons = $4, person_until = $5 \
    WHERE pool_name = $1";

const PAUSE_ALL: &str = "UPDATE system SET paused = $1 WHERE id = 1";

const ALL_PAUSED: &str = "SELECT paused FROM system WHERE id = 1";

const ALL: &str = "SELECT pool_name, role_type, runtime, config, origin, draining, created_at, workers_spawned, \
    workers_terminated, paused, intake_closed, target_workers, last_scaled_at, target_is_persons, \
    person_until FROM pools ORDER BY pool_name";

pub(crate) fn add(spec: &PoolSpec, at: Timestamp) -> Statement {
    let mut args = spec_args(spec);
    args.push(SqlValue::int(at.as_millis()));
    Statement::new(ADD, args)
}

pub(crate) fn change(spec: &PoolSpec) -> Statement {
    Statement::new(CHANGE, spec_args(spec))
}

pub(crate) fn drain(pool: &PoolName) -> Statement {
    Statement::new(DRAIN, vec![SqlValue::text(pool)])
}

pub(crate) fn remove(pool: &PoolName) -> Statement {
    Statement::new(REMOVE, vec![SqlValue::text(pool)])
}

pub(crate) fn gate(pool: &PoolName, gate: Gate) -> Statement {
    Statement::new(
        GATE,
        vec![SqlValue::text(pool), SqlValue::int(gate.paused.into()), SqlValue::int(gate.closed.into())],
    )
}

pub(crate) fn scale(pool: &PoolName, target: &WorkerTarget) -> Statement {
    let WorkerTarget { workers, last_scaled_at, is_persons, person_until } = *target;
    let moment = |at: Option<Timestamp>| SqlValue::int_or_null(at.map(Timestamp::as_millis));
    let workers = SqlValue::int_or_null(workers.map(i64::from));
    let args = vec![SqlValue::text(pool), workers, moment(last_scaled_at), SqlValue::int(is_persons.into())];
    Statement::new(SCALE, args.into_iter().chain([moment(person_until)]).collect())
}

pub(crate) fn pause_all(paused: bool) -> Statement {
    Statement::new(PAUSE_ALL, vec![SqlValue::int(paused.into())])
}

/// Asks whether the queues of all pools are paused.
pub(crate) const fn all_paused() -> Statement {
    Statement::new(ALL_PAUSED, Vec::new())
}

pub(crate) const fn all() -> Statement {
    Statement::new(ALL, Vec::new())
}

fn spec_args(spec: &PoolSpec) -> Vec<SqlValue> {
    vec![
        SqlValue::text(&spec.pool_name),
        SqlValue::text(&spec.role_type),
        SqlValue::text(&spec.runtime),
        SqlValue::json(&spec.config),
        SqlValue::text(spec.origin.as_str()),
    ]
}

/// Reads a row of [`all`].
pub(crate) fn read(mut fields: RowFields) -> Result<PoolRow, StoreError> {
    Ok(PoolRow {
        spec: PoolSpec {
            pool_name: fields.parsed()?,
            role_type: fields.text()?,
            runtime: fields.text()?,
            config: fields.json()?,
            origin: fields.parsed()?,
        },
        draining: fields.int()? != 0,
        created_at: Timestamp::from_millis(fields.int()?),
        workers_spawned: fields.count()?,
        workers_terminated: fields.count()?,
        gate: Gate { paused: fields.int()? != 0, closed: fields.int()? != 0 },
        target: WorkerTarget {
            workers: fields.count_or_null()?,
            last_scaled_at: fields.int_or_null()?.map(Timestamp::from_millis),
            is_persons: fields.int()? != 0,
            person_until: fields.int_or_null()?.map(Timestamp::from_millis),
        },
    })
}
