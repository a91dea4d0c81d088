//! Since when supervisors lived, and what is done where a clock was set.
//!
//! A delay and the wait before another attempt are durations. They are stored as the moment at which they end, by the clock of
//! their time; where the clock is set, these moments move with it. What a person named, a `not_before` or an `expires_at`,
//! does not move.

use muster_domain::{Fence, PoolName, Timestamp};

use crate::sql::{Fields, Step, Value};
use crate::{Life, StoreError};

/// Lives that are read: whoever has that many has not lived long in any of them.
const MOST: u32 = 10_000;

const NOTE: &str = "INSERT INTO lives (fence, part, began_at, seen_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (fence, part) DO UPDATE SET seen_at = excluded.seen_at";

const ALL: &str =
    "SELECT fence, part, began_at, seen_at FROM lives ORDER BY fence DESC, part DESC LIMIT CAST($1 AS BIGINT)";

const PRUNE: &str = "DELETE FROM lives WHERE (fence, part) IN (SELECT l.fence, l.part FROM lives l \
    WHERE l.fence < $1 OR (l.fence = $1 AND l.part < $2) LIMIT CAST($3 AS BIGINT))";

/// Tasks whose wait is a duration: of all pools where `$2` is empty.
const SHIFT: &str = "UPDATE tasks SET due_at = due_at + $1, version = version + 1 WHERE line = 'delayed' \
    AND ($2 = '' OR pool_name = $2) AND (attempt > 0 OR not_before IS NULL)";

const BRING_BACK: [&str; 5] = [
    "UPDATE tasks SET finished_at = $1 WHERE finished_at > $1",
    "UPDATE agents SET ended_at = $1 WHERE ended_at > $1",
    "UPDATE workers SET ended_at = $1 WHERE ended_at > $1",
    "UPDATE events SET at = $1 WHERE at > $1",
    "UPDATE idempotency_keys SET created_at = $1 WHERE created_at > $1",
];

pub(crate) fn note(life: &Life) -> Step {
    let Life { fence, part, began_at, seen_at } = life;
    let time = |at: &Timestamp| Value::int(at.as_millis());
    Step::new(NOTE, vec![Value::count(fence.0), Value::int((*part).into()), time(began_at), time(seen_at)])
}

pub(crate) fn all() -> Step {
    Step::new(ALL, vec![Value::count(MOST)])
}

/// Reads a row of [`all`].
pub(crate) fn read(mut fields: Fields) -> Result<Life, StoreError> {
    Ok(Life {
        fence: Fence(fields.count()?),
        part: fields.count()?,
        began_at: Timestamp::from_millis(fields.int()?),
        seen_at: Timestamp::from_millis(fields.int()?),
    })
}

/// Those before this one.
pub(crate) fn prune(oldest: &Life, limit: u32) -> Step {
    Step::new(PRUNE, vec![Value::count(oldest.fence.0), Value::int(oldest.part.into()), Value::count(limit)])
}

pub(crate) fn shift(pool: Option<&PoolName>, by_millis: i64) -> Step {
    let pool = pool.map_or_else(|| Value::shared(""), Value::text);
    Step::new(SHIFT, vec![Value::int(by_millis), pool])
}

pub(crate) fn bring_back(to: Timestamp) -> Vec<Step> {
    BRING_BACK.iter().map(|sql| Step::new(sql, vec![Value::int(to.as_millis())])).collect()
}
