//! Decisions about how many workers a pool is to have.

use muster_domain::scaling::{DecisionState, ScalingRecord};
use muster_domain::{DecisionId, PoolName, Timestamp};

use crate::StoreError;
use crate::sql::{RowFields, SqlValue, Statement};

const ADD: &str = "INSERT INTO scaling_decisions (decision_id, pool_name, at, actor, from_count, to_count, max_agents, hold, \
    advised, decided_by, reason, inputs, state, ended_at, result) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (decision_id) DO NOTHING";

const END: &str = "UPDATE scaling_decisions SET state = $2, result = $3, ended_at = $4 \
    WHERE decision_id = $1 AND state = 'pending'";

// Those of a pool that is made again with the same name are none of its.
const FORGET: &str = "DELETE FROM scaling_decisions WHERE pool_name = $1 \
    AND NOT EXISTS (SELECT 1 FROM pools WHERE pool_name = $1)";

const PAGE: &str = "SELECT decision_id, pool_name, at, actor, from_count, to_count, max_agents, hold, advised, decided_by, \
    reason, inputs, state, ended_at, result FROM scaling_decisions WHERE pool_name = $1 \
    AND ($2 IS NULL OR decision_id < $2) ORDER BY decision_id DESC LIMIT CAST($3 AS BIGINT)";

const PRUNE: &str = "DELETE FROM scaling_decisions WHERE decision_id IN (SELECT decision_id FROM scaling_decisions \
    WHERE at < $1 AND state <> 'pending' LIMIT CAST($2 AS BIGINT))";

pub(crate) fn add(record: &ScalingRecord) -> Statement {
    let count = |workers: Option<u32>| SqlValue::int_or_null(workers.map(i64::from));
    let args = vec![
        SqlValue::text(record.decision_id),
        SqlValue::text(&record.pool_name),
        SqlValue::int(record.at.as_millis()),
        SqlValue::shared(record.actor.as_str()),
        count(record.from),
        count(record.to),
        SqlValue::count(record.max_agents),
        SqlValue::text_or_null(record.hold.map(muster_domain::scaling::HoldKind::as_str)),
        SqlValue::int(record.advised.into()),
        SqlValue::text_or_null(record.decided_by.as_ref()),
        SqlValue::text(&record.reason),
        SqlValue::json(&record.inputs),
        SqlValue::shared(record.state.as_str()),
        SqlValue::int_or_null(record.ended_at.map(Timestamp::as_millis)),
        SqlValue::text_or_null(record.result.as_ref()),
    ];
    Statement::new(ADD, args)
}

pub(crate) fn end(id: DecisionId, state: DecisionState, result: &str, at: Timestamp) -> Statement {
    let args = vec![
        SqlValue::text(id),
        SqlValue::shared(state.as_str()),
        SqlValue::text(result),
        SqlValue::int(at.as_millis()),
    ];
    Statement::new(END, args)
}

/// Deletes those of a pool that is gone.
pub(crate) fn forget(pool: &PoolName) -> Statement {
    Statement::new(FORGET, vec![SqlValue::text(pool)])
}

pub(crate) fn page(pool: &PoolName, before: Option<DecisionId>, limit: u32) -> Statement {
    Statement::new(PAGE, vec![SqlValue::text(pool), SqlValue::text_or_null(before), SqlValue::count(limit)])
}

pub(crate) fn prune(before: Timestamp, limit: u32) -> Statement {
    Statement::new(PRUNE, vec![SqlValue::int(before.as_millis()), SqlValue::count(limit)])
}

/// Reads a row of [`page`].
pub(crate) fn read(mut fields: RowFields) -> Result<ScalingRecord, StoreError> {
    Ok(ScalingRecord {
        decision_id: fields.parsed()?,
        pool_name: fields.parsed()?,
        at: Timestamp::from_millis(fields.int()?),
        actor: fields.parsed()?,
        from: fields.count_or_null()?,
        to: fields.count_or_null()?,
        max_agents: fields.count()?,
        hold: fields.parsed_or_null()?,
        advised: fields.int()? != 0,
        decided_by: fields.text_or_null()?.map(|text| text.as_ref().to_owned()),
        reason: fields.text()?,
        inputs: fields.json()?,
        state: fields.parsed()?,
        ended_at: fields.int_or_null()?.map(Timestamp::from_millis),
        result: fields.text_or_null()?.map(|text| text.as_ref().to_owned()),
    })
}
