-- Leadership, pools, workers, agents, idempotency keys and events.
-- Times are milliseconds since 1970 in UTC; ids are lower-case hyphenated UUIDs; truth values are 0 and 1.

-- One row. The fence rises with every change of leader; until_ms is used by PostgreSQL only.
CREATE TABLE leader (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    fence    BIGINT NOT NULL,
    holder   TEXT   NOT NULL,
    address  TEXT   NOT NULL,
    until_ms BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO leader (id, fence, holder, address, until_ms) VALUES (1, 0, '', '', 0);

-- Writing a fence here fails unless it is the one in force. It lets a whole batch travel to SQLite as one text that
-- stops before its COMMIT, instead of waiting for the answer to a question in between.
CREATE VIEW fence_in_force AS SELECT fence FROM leader;
CREATE TRIGGER fence_in_force_is_ours INSTEAD OF INSERT ON fence_in_force
WHEN NEW.fence <> (SELECT fence FROM leader WHERE id = 1)
BEGIN
    SELECT RAISE(ABORT, 'fenced');
END;

CREATE TABLE pools (
    pool_name          TEXT   NOT NULL PRIMARY KEY,
    role_type          TEXT   NOT NULL,
    runtime            TEXT   NOT NULL,
    config             TEXT   NOT NULL,
    origin             TEXT   NOT NULL,
    draining           BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    workers_spawned    BIGINT NOT NULL,
    workers_terminated BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    process_id TEXT   NOT NULL PRIMARY KEY,
    pool_name  TEXT   NOT NULL,
    capacity   BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    identity   TEXT,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT
) WITHOUT ROWID;
CREATE INDEX workers_open ON workers (pool_name) WHERE ended_at IS NULL;
CREATE INDEX workers_ended ON workers (ended_at) WHERE ended_at IS NOT NULL;

-- process_id is the open assignment. ended_at is set where rest is terminated or failed, so an agent that holds a slot
-- has none: one small index finds both the agents of a worker and the agents that a supervisor must know.
CREATE TABLE agents (
    agent_id              TEXT   NOT NULL PRIMARY KEY,
    pool_name             TEXT   NOT NULL,
    role_type             TEXT   NOT NULL,
    project_id            TEXT   NOT NULL,
    human_name            TEXT   NOT NULL,
    heartbeat_interval_ms BIGINT NOT NULL,
    max_idle_time_ms      BIGINT NOT NULL,
    intent                TEXT   NOT NULL,
    stop_reason           TEXT,
    process_id            TEXT,
    epoch                 BIGINT NOT NULL,
    rest                  TEXT,
    last_ending           TEXT,
    restarts              BIGINT NOT NULL,
    created_at            BIGINT NOT NULL,
    updated_at            BIGINT NOT NULL,
    ended_at              BIGINT
) WITHOUT ROWID;
CREATE INDEX agents_live ON agents (process_id) WHERE ended_at IS NULL;
CREATE INDEX agents_ended ON agents (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX agents_of_pool ON agents (pool_name, agent_id);
CREATE INDEX agents_of_project ON agents (project_id, agent_id);

CREATE TABLE idempotency_keys (
    caller          TEXT   NOT NULL,
    route           TEXT   NOT NULL,
    idempotency_key TEXT   NOT NULL,
    body_hash       TEXT   NOT NULL,
    agent_id        TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (caller, route, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Numbered 1, 2, 3, ... without gaps, and pruned from the lowest on.
CREATE TABLE events (
    seq        INTEGER NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    pool_name  TEXT,
    agent_id   TEXT,
    process_id TEXT,
    reason     TEXT   NOT NULL
);

-- One row: the highest number at the time of the last pruning, so that no number is used twice.
CREATE TABLE event_mark (
    id  BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO event_mark (id, seq) VALUES (1, 0);
