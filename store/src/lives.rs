//! Since when supervisors lived, and what is done where a clock was set.
//!
//! A delay and the wait before another attempt are durations. They are stored as the moment at which they end, by the clock of
//! their time; where the clock is set, these moments move with it. What a person named, a `not_before` or an `expires_at`,
//! does not move.

use muster_domain::{Fence, PoolName, Timestamp};

use crate::sql::{RowFields, SqlValue, Statement};
use crate::{LifeRow, Machine, StoreError};

/// Lives that are read: whoever has that many has not lived long in any of them.
const MOST: u32 = 10_000;

/// Tasks that one [`shift`] moves at the most, so that none takes long, however many there are.
pub(crate) const MOST_MOVED: u32 = 500;

const NOTE: &str = "INSERT INTO lives (fence, part, began_at, seen_at, host, boot_id) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (fence, part) DO UPDATE SET seen_at = excluded.seen_at";

const ALL: &str = "SELECT fence, part, began_at, seen_at, host, boot_id FROM lives ORDER BY fence DESC, part DESC \
    LIMIT CAST($1 AS BIGINT)";

const PRUNE: &str = "DELETE FROM lives WHERE (fence, part) IN (SELECT l.fence, l.part FROM lives l \
    WHERE l.fence < $1 OR (l.fence = $1 AND l.part < $2) LIMIT CAST($3 AS BIGINT))";

/// Tasks whose wait is a duration and was not moved for this step of the clock: of all pools where `$2` is empty.
const SHIFT: &str = "UPDATE tasks SET due_at = due_at + $1, version = version + 1, moved_for = $3 WHERE task_id IN (\
    SELECT t.task_id FROM tasks t WHERE t.line = 'delayed' AND ($2 = '' OR t.pool_name = $2) \
    AND (t.attempt > 0 OR t.not_before IS NULL) AND (t.moved_for IS NULL OR t.moved_for <> $3) LIMIT CAST($4 AS BIGINT))";

const BRING_BACK: [&str; 6] = [
    "UPDATE tasks SET finished_at = $1 WHERE task_id IN (\
        SELECT t.task_id FROM tasks t WHERE t.finished_at > $1 LIMIT CAST($2 AS BIGINT))",
    "UPDATE agents SET ended_at = $1 WHERE agent_id IN (\
        SELECT a.agent_id FROM agents a WHERE a.ended_at > $1 LIMIT CAST($2 AS BIGINT))",
    "UPDATE workers SET ended_at = $1 WHERE process_id IN (\
        SELECT w.process_id FROM workers w WHERE w.ended_at > $1 LIMIT CAST($2 AS BIGINT))",
    "UPDATE events SET at = $1 WHERE seq IN (SELECT e.seq FROM events e WHERE e.at > $1 LIMIT CAST($2 AS BIGINT))",
    "UPDATE idempotency_keys SET created_at = $1 WHERE (caller, route, idempotency_key) IN (\
        SELECT k.caller, k.route, k.idempotency_key FROM idempotency_keys k WHERE k.created_at > $1 \
        LIMIT CAST($2 AS BIGINT))",
    // Two rows can't be of one time, and nobody knows of which time these are. They go.
    "DELETE FROM pool_metrics WHERE (pool_name, tier, at) IN (SELECT m.pool_name, m.tier, m.at FROM pool_metrics m \
        WHERE m.tier IN ('raw', '5m', '1h') AND m.at > $1 LIMIT CAST($2 AS BIGINT))",
];

pub(crate) fn note(life: &LifeRow) -> Statement {
    let LifeRow { fence, part, began_at, seen_at, machine } = life;
    let time = |at: &Timestamp| SqlValue::int(at.as_millis());
    let of_machine = |text: fn(&Machine) -> &String| SqlValue::text_or_null(machine.as_ref().map(text));
    let (host, boot_id) = (of_machine(|machine| &machine.host), of_machine(|machine| &machine.boot_id));
    let values =
        vec![SqlValue::count(fence.0), SqlValue::int((*part).into()), time(began_at), time(seen_at), host, boot_id];
    Statement::new(NOTE, values)
}

pub(crate) fn all() -> Statement {
    Statement::new(ALL, vec![SqlValue::count(MOST)])
}

/// Reads a row of [`all`].
pub(crate) fn read(mut fields: RowFields) -> Result<LifeRow, StoreError> {
    Ok(LifeRow {
        fence: Fence(fields.count()?),
        part: fields.count()?,
        began_at: Timestamp::from_millis(fields.int()?),
        seen_at: Timestamp::from_millis(fields.int()?),
        machine: match (fields.text_or_null()?, fields.text_or_null()?) {
            (Some(host), Some(boot_id)) => Some(Machine { host: host.to_string(), boot_id: boot_id.to_string() }),
            _ => None,
        },
    })
}

/// Those before this one.
pub(crate) fn prune(oldest: &LifeRow, limit: u32) -> Statement {
    Statement::new(
        PRUNE,
        vec![SqlValue::count(oldest.fence.0), SqlValue::int(oldest.part.into()), SqlValue::count(limit)],
    )
}

/// Some of them; none are left where this changes nothing.
pub(crate) fn shift(pool: Option<&PoolName>, by_millis: i64, step: &str) -> Statement {
    let pool = pool.map_or_else(|| SqlValue::shared(""), SqlValue::text);
    Statement::new(SHIFT, vec![SqlValue::int(by_millis), pool, SqlValue::text(step), SqlValue::count(MOST_MOVED)])
}

/// At most `limit` of each kind in a step of its own.
pub(crate) fn bring_back(to: Timestamp, limit: u32) -> Vec<Statement> {
    let step = |sql: &&'static str| Statement::new(sql, vec![SqlValue::int(to.as_millis()), SqlValue::count(limit)]);
    BRING_BACK.iter().map(step).collect()
}
