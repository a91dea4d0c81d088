-- Tasks. The rows with state queued are the queue; the others are its history.
ALTER TABLE idempotency_keys RENAME COLUMN agent_id TO made_id;
CREATE INDEX idempotency_keys_by_made ON idempotency_keys (made_id);

-- task_id is a UUIDv7: its order is the order of age. line says where a queued task waits, and is null for all others:
-- 'shared' (for any agent), 'own' (for the one in agent_id) or 'delayed' (until due_at, which is null for all others).
-- not_before is what was asked for; the wait after a failed attempt changes due_at only. run_agent_id, run_epoch and
-- process_id are the open attempt. history is one line of JSON per attempt that is over. The long columns come last, so
-- that reading the others does not go through them. A rowid table, since rows may be large.
CREATE TABLE tasks (
    task_id       TEXT   NOT NULL PRIMARY KEY,
    pool_name     TEXT   NOT NULL,
    state         TEXT   NOT NULL,
    line          TEXT,
    tenant        TEXT   NOT NULL,
    priority      BIGINT NOT NULL,
    project_id    TEXT,
    agent_id      TEXT,
    is_check      BIGINT NOT NULL,
    max_attempts  BIGINT NOT NULL,
    timeout_ms    BIGINT,
    not_before    BIGINT,
    due_at        BIGINT,
    expires_at    BIGINT,
    attempt       BIGINT NOT NULL,
    run_agent_id  TEXT,
    run_epoch     BIGINT,
    process_id    TEXT,
    halt          TEXT,
    spent         BIGINT NOT NULL DEFAULT 0,
    spoiled       BIGINT NOT NULL DEFAULT 0,
    input_tokens  BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cost_micros   BIGINT NOT NULL DEFAULT 0,
    version       BIGINT NOT NULL DEFAULT 1,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT,
    finished_at   BIGINT,
    error         TEXT,
    input         TEXT   NOT NULL,
    output        TEXT,
    history       TEXT   NOT NULL DEFAULT ''
);
-- Each of these costs something with every task, so there are few: what runs and what is dead is found by state too.
CREATE INDEX tasks_by_state ON tasks (pool_name, state, task_id);
CREATE INDEX tasks_ended ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_of_project ON tasks (project_id, task_id) WHERE project_id IS NOT NULL;
-- These hold waiting tasks only.
CREATE INDEX tasks_shared ON tasks (pool_name, tenant, priority, task_id) WHERE line = 'shared';
CREATE INDEX tasks_of_agent ON tasks (pool_name, agent_id, task_id, line)
    WHERE line IS NOT NULL AND agent_id IS NOT NULL;
CREATE INDEX tasks_delayed ON tasks (pool_name, due_at, task_id) WHERE line = 'delayed';
CREATE INDEX tasks_expiring ON tasks (pool_name, expires_at, task_id)
    WHERE line IS NOT NULL AND expires_at IS NOT NULL;

-- A transaction travels to SQLite as a whole now, and asks for the fence itself.
DROP VIEW fence_in_force;
