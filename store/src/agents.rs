//! Agents: their transitions.
//!
//! An agent is live while `ended_at` is null: it is to run, or holds a slot, or waits in quarantine. Only live agents
//! hold slots, so counting a worker's slots reads the small index of live agents.

use std::sync::LazyLock;

use muster_domain::{AgentId, AgentState, Assignment, Ending, Epoch, FinalState, StopReason, Timestamp};

use crate::NewAgent;
use crate::keys::delete_keys_of;
use crate::sql::{Batched, SqlValue, Statement};

// One statement counts the worker's slots and takes one of them, or none. Writers are one after the other, so two of
// them never count the same free slot.
const ADD: &str = "INSERT INTO agents (agent_id, pool_name, role_type, project_id, human_name, heartbeat_interval_ms, \
    max_idle_time_ms, on_demand, intent, process_id, epoch, restarts, created_at, updated_at) \
    SELECT $1, p.pool_name, $3, $4, $5, $6, $7, $8, 'run', w.process_id, CASE WHEN w.process_id IS NULL THEN 0 ELSE 1 END, \
    0, $10, $10 FROM pools p LEFT JOIN workers w ON w.process_id = $9 AND w.state IN ('starting', 'ready') \
    AND (SELECT COUNT(*) FROM agents a WHERE a.process_id = $9 AND a.ended_at IS NULL) < w.capacity \
    WHERE p.pool_name = $2 AND ($11 IS NULL OR EXISTS (SELECT 1 FROM idempotency_keys WHERE caller = $11 \
    AND route = $12 AND idempotency_key = $13 AND made_id = $1)) \
    ON CONFLICT (agent_id) DO NOTHING RETURNING agent_id, process_id";

/// New agents. Those for the same worker are numbered, so that each counts those before it too.
macro_rules! add_many {
    ($condition:literal) => {
        concat!(
            "WITH e (place, agent_id, pool_name, role_type, project_id, human_name, heartbeat_interval_ms, max_idle_time_ms, \
             on_demand, process_id, at) AS (VALUES {rows}), \
             r AS (SELECT e.*, ROW_NUMBER() OVER (PARTITION BY e.process_id ORDER BY e.place) AS nth \
             FROM e JOIN pools p ON p.pool_name = e.pool_name",
            $condition,
            ") \
             INSERT INTO agents (agent_id, pool_name, role_type, project_id, human_name, heartbeat_interval_ms, \
             max_idle_time_ms, on_demand, intent, process_id, epoch, restarts, created_at, updated_at) \
             SELECT r.agent_id, r.pool_name, r.role_type, r.project_id, r.human_name, r.heartbeat_interval_ms, \
             r.max_idle_time_ms, r.on_demand, 'run', w.process_id, CASE WHEN w.process_id IS NULL THEN 0 ELSE 1 END, 0, r.at, r.at \
             FROM r LEFT JOIN workers w ON w.process_id = r.process_id AND w.state IN ('starting', 'ready') \
             AND (SELECT COUNT(*) FROM agents a WHERE a.process_id = r.process_id AND a.ended_at IS NULL) + r.nth <= w.capacity \
             WHERE r.agent_id IS NOT NULL ON CONFLICT (agent_id) DO NOTHING RETURNING agent_id, process_id"
        )
    };
}

/// Without a key.
pub(crate) static ADD_MANY: LazyLock<Batched> = LazyLock::new(|| Batched::new(ADD_FIELDS, add_many!("")));

/// Those that have got their keys, in the same transaction.
pub(crate) static ADD_KEYED: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(ADD_FIELDS, add_many!(" WHERE EXISTS (SELECT 1 FROM idempotency_keys k WHERE k.made_id = e.agent_id)"))
});

/// Fields of a row of [`ADD_MANY`] and [`ADD_KEYED`].
pub(crate) const ADD_FIELDS: usize = 11;

/// Of those for the same worker only those count that may have a slot at all.
pub(crate) static ASSIGN: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        5,
        "WITH e (place, agent_id, process_id, epoch, at) AS (VALUES {rows}), \
         r AS (SELECT e.*, ROW_NUMBER() OVER (PARTITION BY e.process_id ORDER BY e.place) AS nth \
         FROM e JOIN agents a ON a.agent_id = e.agent_id AND a.intent = 'run' AND a.rest IS NULL \
         AND a.process_id IS NULL AND a.epoch = e.epoch - 1) \
         UPDATE agents SET process_id = r.process_id, epoch = r.epoch, updated_at = r.at FROM r \
         WHERE agents.agent_id = r.agent_id \
         AND (SELECT COUNT(*) FROM agents a WHERE a.process_id = r.process_id AND a.ended_at IS NULL) + r.nth <= \
         (SELECT w.capacity FROM workers w WHERE w.process_id = r.process_id AND w.state IN ('starting', 'ready')) \
         RETURNING agents.agent_id",
    )
});

pub(crate) static STOP: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        3,
        "WITH e (agent_id, reason, at) AS (VALUES {rows}) \
         UPDATE agents SET intent = 'stop', stop_reason = e.reason, \
         rest = CASE WHEN process_id IS NULL THEN 'terminated' ELSE rest END, \
         ended_at = CASE WHEN process_id IS NULL THEN e.at ELSE ended_at END, updated_at = e.at FROM e \
         WHERE agents.agent_id = e.agent_id AND intent = 'run' RETURNING agents.agent_id",
    )
});

// Every expression sees the row as it was, so all of them ask for the intent before this change.
// e.rest: what comes after intent "run"; e.rest_if_stopped: after intent "stop"; e.reason: the reason to stop that a "run"
// becomes.
pub(crate) static RELEASE: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        8,
        "WITH e (agent_id, epoch, ending, rest, rest_if_stopped, reason, again, at) AS (VALUES {rows}) \
         UPDATE agents SET process_id = NULL, last_ending = e.ending, updated_at = e.at, \
         intent = CASE WHEN e.reason IS NULL THEN intent ELSE 'stop' END, \
         stop_reason = CASE WHEN intent = 'run' THEN e.reason ELSE stop_reason END, \
         rest = CASE WHEN intent = 'run' THEN e.rest ELSE e.rest_if_stopped END, \
         ended_at = CASE WHEN intent = 'run' AND e.reason IS NULL THEN NULL ELSE e.at END, \
         restarts = restarts + CASE WHEN intent = 'run' THEN e.again ELSE 0 END FROM e \
         WHERE agents.agent_id = e.agent_id AND agents.epoch = e.epoch AND process_id IS NOT NULL \
         RETURNING agents.agent_id",
    )
});

pub(crate) static RESTART: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        3,
        "WITH e (agent_id, epoch, at) AS (VALUES {rows}) \
         UPDATE agents SET restart_of = e.epoch, updated_at = e.at FROM e \
         WHERE agents.agent_id = e.agent_id AND intent = 'run' AND process_id IS NOT NULL AND agents.epoch = e.epoch \
         RETURNING agents.agent_id",
    )
});

pub(crate) static REVIVE: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        2,
        "WITH e (agent_id, at) AS (VALUES {rows}) \
         UPDATE agents SET intent = 'run', stop_reason = NULL, rest = NULL, ended_at = NULL, restarts = restarts + 1, \
         updated_at = e.at FROM e WHERE agents.agent_id = e.agent_id AND rest <> 'terminated' \
         RETURNING agents.agent_id",
    )
});

/// Makes one agent. The row that comes back has its worker or null; there is none where nothing was made.
pub(crate) fn add(agent: &NewAgent) -> Statement {
    let key = agent.key.as_ref();
    // The same fields without the place.
    let mut args = add_fields(0, agent).split_off(1);
    args.push(SqlValue::text_or_null(key.map(|k| &k.caller)));
    args.push(SqlValue::text_or_null(key.map(|k| &k.route)));
    args.push(SqlValue::text_or_null(key.map(|k| &k.key)));
    Statement::new(ADD, args)
}

/// A row of [`ADD_MANY`] or [`ADD_KEYED`].
pub(crate) fn add_fields(place: usize, agent: &NewAgent) -> Vec<SqlValue> {
    let NewAgent { spec, worker, at, .. } = agent;
    vec![
        SqlValue::count(place),
        SqlValue::text(spec.agent_id),
        SqlValue::text(&spec.pool_name),
        SqlValue::text(&spec.role_type),
        SqlValue::text(&spec.project_id),
        SqlValue::text(&spec.human_name),
        SqlValue::count(spec.heartbeat_interval.as_millis()),
        SqlValue::count(spec.max_idle_time.as_millis()),
        SqlValue::int(spec.on_demand.into()),
        SqlValue::text_or_null(*worker),
        SqlValue::int(at.as_millis()),
    ]
}

/// A row of [`ASSIGN`].
pub(crate) fn assign_fields(place: usize, agent_id: AgentId, to: Assignment, at: Timestamp) -> Vec<SqlValue> {
    vec![
        SqlValue::count(place),
        SqlValue::text(agent_id),
        SqlValue::text(to.process_id),
        SqlValue::count(to.epoch.0),
        SqlValue::int(at.as_millis()),
    ]
}

/// A row of [`STOP`].
pub(crate) fn stop_fields(agent_id: AgentId, reason: StopReason, at: Timestamp) -> Vec<SqlValue> {
    vec![SqlValue::text(agent_id), SqlValue::shared(reason.as_str()), SqlValue::int(at.as_millis())]
}

/// A row of [`RELEASE`].
pub(crate) fn release_fields(
    agent_id: AgentId,
    epoch: Epoch,
    ending: &Ending,
    then: Option<FinalState>,
    at: Timestamp,
) -> Vec<SqlValue> {
    let state_if_stopped = then.map_or(AgentState::Terminated, FinalState::state_if_stopped);
    vec![
        SqlValue::text(agent_id),
        SqlValue::count(epoch.0),
        SqlValue::json(ending),
        SqlValue::text_or_null(then.map(|state| state.state().as_str())),
        SqlValue::shared(state_if_stopped.as_str()),
        SqlValue::text_or_null(then.and_then(FinalState::stop_reason).map(StopReason::as_str)),
        SqlValue::int(i64::from(then.is_none())),
        SqlValue::int(at.as_millis()),
    ]
}

/// A row of [`RESTART`].
pub(crate) fn restart_fields(agent_id: AgentId, epoch: Epoch, at: Timestamp) -> Vec<SqlValue> {
    vec![SqlValue::text(agent_id), SqlValue::count(epoch.0), SqlValue::int(at.as_millis())]
}

/// A row of [`REVIVE`].
pub(crate) fn revive_fields(agent_id: AgentId, at: Timestamp) -> Vec<SqlValue> {
    vec![SqlValue::text(agent_id), SqlValue::int(at.as_millis())]
}

/// In an order, so that the keys that go are those of the agents that go.
macro_rules! old {
    () => {
        "SELECT agent_id FROM agents WHERE ended_at < $1 ORDER BY ended_at, agent_id LIMIT CAST($2 AS BIGINT)"
    };
}
const PRUNE_KEYS: &str = delete_keys_of!(old!());
const PRUNE: &str = concat!("DELETE FROM agents WHERE agent_id IN (", old!(), ") RETURNING agent_id");

pub(crate) fn prune(ended_before: Timestamp, limit: u32) -> Vec<Statement> {
    let step = |sql| Statement::new(sql, vec![SqlValue::int(ended_before.as_millis()), SqlValue::count(limit)]);
    vec![step(PRUNE_KEYS), step(PRUNE)]
}
