//! Workers: their transitions and their rows.

use muster_domain::{PoolName, ProcessId, Timestamp, WorkerIdentity, WorkerState};

use crate::sql::{Fields, Step, Value};
use crate::{StoreError, WorkerRow};

// The pool's counter goes first, under the condition that the row's own statement is going to meet: after it, the
// row would no longer tell whether this statement changed it.
const COUNT_SPAWNED: &str = "UPDATE pools SET workers_spawned = workers_spawned + 1 WHERE pool_name = $1 \
    AND NOT EXISTS (SELECT 1 FROM workers WHERE process_id = $2)";

const ADD: &str = "INSERT INTO workers (process_id, pool_name, capacity, state, created_at) \
    SELECT $1, pool_name, $3, 'starting', $4 FROM pools WHERE pool_name = $2 ON CONFLICT (process_id) DO NOTHING";

const IDENTIFY: &str = "UPDATE workers SET identity = $2 WHERE process_id = $1 AND ended_at IS NULL";

const DRAIN: &str = "UPDATE workers SET state = 'draining' WHERE process_id = $1 AND state IN ('starting', 'ready')";

const COUNT_TERMINATED: &str = "UPDATE pools SET workers_terminated = workers_terminated + 1 \
    WHERE pool_name = (SELECT pool_name FROM workers WHERE process_id = $1 AND ended_at IS NULL)";

const END: &str = "UPDATE workers SET state = $2, ended_at = $3 WHERE process_id = $1 AND ended_at IS NULL";

const OPEN: &str = "SELECT process_id, pool_name, capacity, state, identity, created_at, ended_at FROM workers \
    WHERE ended_at IS NULL ORDER BY process_id";

const ONE: &str = "SELECT process_id, pool_name, capacity, state, identity, created_at, ended_at FROM workers \
    WHERE process_id = $1";

// The row of a worker stays as long as an agent is placed on it, dead or not.
const PRUNE: &str = "DELETE FROM workers WHERE process_id IN (SELECT process_id FROM workers w \
    WHERE w.ended_at < $1 AND NOT EXISTS \
    (SELECT 1 FROM agents a WHERE a.process_id = w.process_id AND a.ended_at IS NULL) \
    LIMIT CAST($2 AS BIGINT)) RETURNING process_id";

pub(crate) fn add(process_id: ProcessId, pool: &PoolName, capacity: u32, at: Timestamp) -> Vec<Step> {
    let count = Step::new(COUNT_SPAWNED, vec![Value::text(pool), Value::text(process_id)]);
    let args = vec![Value::text(process_id), Value::text(pool), Value::count(capacity), Value::int(at.as_millis())];
    vec![count, Step::new(ADD, args)]
}

pub(crate) fn identify(process_id: ProcessId, identity: &WorkerIdentity) -> Step {
    Step::new(IDENTIFY, vec![Value::text(process_id), Value::json(identity)])
}

pub(crate) fn drain(process_id: ProcessId) -> Step {
    Step::new(DRAIN, vec![Value::text(process_id)])
}

pub(crate) fn end(process_id: ProcessId, lost: bool, at: Timestamp) -> Vec<Step> {
    let state = if lost { WorkerState::Lost } else { WorkerState::Stopped };
    let count = Step::new(COUNT_TERMINATED, vec![Value::text(process_id)]);
    let args = vec![Value::text(process_id), Value::text(state.as_str()), Value::int(at.as_millis())];
    vec![count, Step::new(END, args)]
}

pub(crate) const fn open() -> Step {
    Step::new(OPEN, Vec::new())
}

pub(crate) fn one(process_id: ProcessId) -> Step {
    Step::new(ONE, vec![Value::text(process_id)])
}

pub(crate) fn prune(ended_before: Timestamp, limit: u32) -> Step {
    Step::new(PRUNE, vec![Value::int(ended_before.as_millis()), Value::count(limit)])
}

/// Reads a row of [`open`] or [`one`].
pub(crate) fn read(mut fields: Fields) -> Result<WorkerRow, StoreError> {
    Ok(WorkerRow {
        process_id: fields.parsed()?,
        pool_name: fields.parsed()?,
        capacity: fields.count()?,
        state: fields.parsed()?,
        identity: fields.json_or_null()?,
        created_at: Timestamp::from_millis(fields.int()?),
        ended_at: fields.int_or_null()?.map(Timestamp::from_millis),
    })
}
