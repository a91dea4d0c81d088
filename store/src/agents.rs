//! Agents: their transitions.
//!
//! An agent is live while `ended_at` is null: it is to run, or holds a slot, or waits in quarantine. Only live agents
//! hold slots, so counting a worker's slots reads the small index of live agents.

use muster_domain::{AgentId, Assignment, Ending, Epoch, StopReason, Timestamp};

use crate::keys::delete_keys_of;
use crate::sql::{Step, Value};
use crate::{AfterRelease, NewAgent, Rest};

// One statement counts the worker's slots and takes one of them, or none. Writers are one after the other, so two of
// them never count the same free slot.
const ADD: &str = "INSERT INTO agents (agent_id, pool_name, role_type, project_id, human_name, heartbeat_interval_ms, \
    max_idle_time_ms, intent, process_id, epoch, restarts, created_at, updated_at) \
    SELECT $1, p.pool_name, $3, $4, $5, $6, $7, 'run', w.process_id, CASE WHEN w.process_id IS NULL THEN 0 ELSE 1 END, \
    0, $9, $9 FROM pools p LEFT JOIN workers w ON w.process_id = $8 AND w.state IN ('starting', 'ready') \
    AND (SELECT COUNT(*) FROM agents a WHERE a.process_id = $8 AND a.ended_at IS NULL) < w.capacity \
    WHERE p.pool_name = $2 AND ($10 IS NULL OR EXISTS (SELECT 1 FROM idempotency_keys WHERE caller = $10 \
    AND route = $11 AND idempotency_key = $12 AND made_id = $1)) \
    ON CONFLICT (agent_id) DO NOTHING RETURNING process_id";

const ASSIGN: &str = "UPDATE agents SET process_id = $2, epoch = $3, updated_at = $4 WHERE agent_id = $1 \
    AND intent = 'run' AND rest IS NULL AND process_id IS NULL AND epoch = $3 - 1 \
    AND (SELECT COUNT(*) FROM agents a WHERE a.process_id = $2 AND a.ended_at IS NULL) < \
    (SELECT w.capacity FROM workers w WHERE w.process_id = $2 AND w.state IN ('starting', 'ready'))";

const STOP: &str = "UPDATE agents SET intent = 'stop', stop_reason = $2, \
    rest = CASE WHEN process_id IS NULL THEN 'terminated' ELSE rest END, \
    ended_at = CASE WHEN process_id IS NULL THEN $3 ELSE ended_at END, \
    updated_at = $3 WHERE agent_id = $1 AND intent = 'run'";

// Every expression sees the row as it was, so all of them ask for the intent before this change.
// $4: what comes after intent "run"; $5: after intent "stop"; $6: the reason to stop that a "run" becomes.
const RELEASE: &str = "UPDATE agents SET process_id = NULL, last_ending = $3, updated_at = $8, \
    intent = CASE WHEN $6 IS NULL THEN intent ELSE 'stop' END, \
    stop_reason = CASE WHEN intent = 'run' THEN $6 ELSE stop_reason END, \
    rest = CASE WHEN intent = 'run' THEN $4 ELSE $5 END, \
    ended_at = CASE WHEN intent = 'run' AND $6 IS NULL THEN NULL ELSE $8 END, \
    restarts = restarts + CASE WHEN intent = 'run' THEN $7 ELSE 0 END \
    WHERE agent_id = $1 AND epoch = $2 AND process_id IS NOT NULL";

const RESTART: &str = "UPDATE agents SET restart_of = $2, updated_at = $3 \
    WHERE agent_id = $1 AND intent = 'run' AND process_id IS NOT NULL AND epoch = $2";

const REVIVE: &str = "UPDATE agents SET intent = 'run', stop_reason = NULL, rest = NULL, ended_at = NULL, \
    restarts = restarts + 1, updated_at = $2 WHERE agent_id = $1 AND rest IN ('failed', 'quarantined')";

/// Makes an agent. The row that comes back has its worker or null; there is none where nothing was made.
pub(crate) fn add(agent: &NewAgent) -> Step {
    let NewAgent { spec, worker, key, at } = agent;
    let key = key.as_ref();
    let args = vec![
        Value::text(spec.agent_id),
        Value::text(&spec.pool_name),
        Value::text(&spec.role_type),
        Value::text(&spec.project_id),
        Value::text(&spec.human_name),
        Value::count(spec.heartbeat_interval.as_millis()),
        Value::count(spec.max_idle_time.as_millis()),
        Value::text_or_null(*worker),
        Value::int(at.as_millis()),
        Value::text_or_null(key.map(|k| &k.caller)),
        Value::text_or_null(key.map(|k| &k.route)),
        Value::text_or_null(key.map(|k| &k.key)),
    ];
    Step::new(ADD, args)
}

pub(crate) fn assign(agent_id: AgentId, to: Assignment, at: Timestamp) -> Step {
    let args =
        vec![Value::text(agent_id), Value::text(to.process_id), Value::count(to.epoch.0), Value::int(at.as_millis())];
    Step::new(ASSIGN, args)
}

pub(crate) fn stop(agent_id: AgentId, reason: StopReason, at: Timestamp) -> Step {
    Step::new(STOP, vec![Value::text(agent_id), Value::text(reason.as_str()), Value::int(at.as_millis())])
}

pub(crate) fn release(agent_id: AgentId, epoch: Epoch, ending: &Ending, then: AfterRelease, at: Timestamp) -> Step {
    let (rest, stop) = match then {
        AfterRelease::RunAgain => (None, None),
        AfterRelease::Terminated(reason) => (Some(Rest::Terminated), Some(reason)),
        AfterRelease::Failed(reason) => (Some(Rest::Failed), Some(reason)),
        AfterRelease::Quarantined => (Some(Rest::Quarantined), None),
    };
    let rest_if_stopped = if rest == Some(Rest::Failed) { Rest::Failed } else { Rest::Terminated };
    let args = vec![
        Value::text(agent_id),
        Value::count(epoch.0),
        Value::json(ending),
        Value::text_or_null(rest.map(Rest::as_str)),
        Value::text(rest_if_stopped.as_str()),
        Value::text_or_null(stop.map(StopReason::as_str)),
        Value::int(i64::from(then == AfterRelease::RunAgain)),
        Value::int(at.as_millis()),
    ];
    Step::new(RELEASE, args)
}

pub(crate) fn restart(agent_id: AgentId, epoch: Epoch, at: Timestamp) -> Step {
    Step::new(RESTART, vec![Value::text(agent_id), Value::count(epoch.0), Value::int(at.as_millis())])
}

pub(crate) fn revive(agent_id: AgentId, at: Timestamp) -> Step {
    Step::new(REVIVE, vec![Value::text(agent_id), Value::int(at.as_millis())])
}

/// In an order, so that the keys that go are those of the agents that go.
macro_rules! old {
    () => {
        "SELECT agent_id FROM agents WHERE ended_at < $1 ORDER BY ended_at, agent_id LIMIT CAST($2 AS BIGINT)"
    };
}
const PRUNE_KEYS: &str = delete_keys_of!(old!());
const PRUNE: &str = concat!("DELETE FROM agents WHERE agent_id IN (", old!(), ") RETURNING agent_id");

pub(crate) fn prune(ended_before: Timestamp, limit: u32) -> Vec<Step> {
    let step = |sql| Step::new(sql, vec![Value::int(ended_before.as_millis()), Value::count(limit)]);
    vec![step(PRUNE_KEYS), step(PRUNE)]
}
