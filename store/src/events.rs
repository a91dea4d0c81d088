//! Events: numbered by the store, in the order of their commits.
//!
//! A reader that has seen number n asks for what is above n, and must never miss one. So no number may become visible
//! after a higher one did. That holds because writers are one after the other: SQLite has one writer, and in PostgreSQL
//! every batch locks the leader's row before its first event is numbered, and keeps it locked until its commit. A
//! sequence would not do: it hands out numbers before the commit, in any order of commits, and leaves gaps.

use std::sync::LazyLock;

use muster_domain::{EventDraft, Timestamp};

use crate::sql::{Batched, RowFields, SqlValue, Statement};
use crate::{EventRow, StoreError};

// The mark stands in where all events were pruned; it is never above the highest event that is still there.
const ADD_ONE: &str = "INSERT INTO events (seq, at, kind, pool_name, agent_id, process_id, reason) \
    SELECT 1 + COALESCE((SELECT MAX(seq) FROM events), seq), $1, $2, $3, $4, $5, $6 FROM event_mark";

static ADD: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        7,
        "WITH e (place, at, kind, pool_name, agent_id, process_id, reason) AS (VALUES {rows}), \
         r AS (SELECT e.*, ROW_NUMBER() OVER (ORDER BY e.place) AS nth FROM e WHERE e.place IS NOT NULL) \
         INSERT INTO events (seq, at, kind, pool_name, agent_id, process_id, reason) \
         SELECT r.nth + COALESCE((SELECT MAX(seq) FROM events), m.seq), r.at, r.kind, r.pool_name, r.agent_id, \
         r.process_id, r.reason FROM r, event_mark m",
    )
});

const AFTER: &str = "SELECT seq, at, kind, pool_name, agent_id, process_id, reason FROM events WHERE seq > $1 \
    ORDER BY seq LIMIT CAST($2 AS BIGINT)";

const BOUNDS: &str = "SELECT COALESCE((SELECT MIN(seq) FROM events), CASE WHEN seq = 0 THEN 0 ELSE seq + 1 END), \
    COALESCE((SELECT MAX(seq) FROM events), seq) FROM event_mark";

// Pruning takes events from the lowest on, up to the first that is young enough, even where a clock that was set back
// made a later one look older: so the numbers that are left have no gap, and the highest is not forgotten.
const FIRST_YOUNG: &str = "SELECT COALESCE((SELECT seq FROM events WHERE at >= $1 ORDER BY seq LIMIT 1), \
    (SELECT MAX(seq) + 1 FROM events), 0)";

const MARK: &str = "UPDATE event_mark SET seq = COALESCE((SELECT MAX(events.seq) FROM events), event_mark.seq)";

const PRUNE: &str =
    "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq < $1 ORDER BY seq LIMIT CAST($2 AS BIGINT))";

/// The statements that write events, each with the places of its own. One alone, as a spawn has it, needs no numbering.
pub(crate) fn add(events: &[(usize, &EventDraft)]) -> Vec<(Statement, Vec<usize>)> {
    if let [(place, event)] = events {
        return vec![(Statement::new(ADD_ONE, fields(*place, event).split_off(1)), vec![*place])];
    }
    let rows = events.iter().map(|(place, event)| (*place, *place, fields(*place, event)));
    let places = |told: Vec<(usize, usize)>| told.into_iter().map(|(_, place)| place).collect();
    ADD.steps(rows).into_iter().map(|(step, told)| (step, places(told))).collect()
}

/// A row of [`ADD`].
fn fields(place: usize, event: &EventDraft) -> Vec<SqlValue> {
    vec![
        SqlValue::count(place),
        SqlValue::int(event.at.as_millis()),
        SqlValue::shared(event.kind.as_str()),
        SqlValue::text_or_null(event.pool_name.as_ref()),
        SqlValue::text_or_null(event.agent_id),
        SqlValue::text_or_null(event.process_id),
        SqlValue::text(&event.reason),
    ]
}

pub(crate) fn after(seq: u64, limit: u32) -> Statement {
    Statement::new(AFTER, vec![SqlValue::count(seq), SqlValue::count(limit)])
}

pub(crate) const fn bounds() -> Statement {
    Statement::new(BOUNDS, Vec::new())
}

/// Asks for the number up to which, itself excluded, everything may go.
pub(crate) fn first_young(before: Timestamp) -> Statement {
    Statement::new(FIRST_YOUNG, vec![SqlValue::int(before.as_millis())])
}

/// Deletes at most `limit` events below `seq`; the last of these steps says how many.
pub(crate) fn prune(seq: u64, limit: u32) -> Vec<Statement> {
    vec![Statement::new(MARK, Vec::new()), Statement::new(PRUNE, vec![SqlValue::count(seq), SqlValue::count(limit)])]
}

/// Reads a row of [`after`].
pub(crate) fn read(mut fields: RowFields) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        seq: fields.count()?,
        event: EventDraft {
            at: Timestamp::from_millis(fields.int()?),
            kind: fields.parsed()?,
            pool_name: fields.parsed_or_null()?,
            agent_id: fields.parsed_or_null()?,
            process_id: fields.parsed_or_null()?,
            reason: fields.text()?,
        },
    })
}
