-- Leadership, pools, workers, agents, idempotency keys and events.
-- Times are milliseconds since 1970 in UTC; ids are lower-case hyphenated UUIDs; truth values are 0 and 1.
-- What is sorted compares bytewise (COLLATE "C"), whatever the language of the database.

-- One row. The fence rises with every change of leader; until_ms is by this database's clock.
CREATE TABLE leader (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    fence    BIGINT NOT NULL,
    holder   TEXT   NOT NULL,
    address  TEXT   NOT NULL,
    until_ms BIGINT NOT NULL
);
INSERT INTO leader (id, fence, holder, address, until_ms) VALUES (1, 0, '', '', 0);

CREATE TABLE pools (
    pool_name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role_type          TEXT   NOT NULL,
    runtime            TEXT   NOT NULL,
    config             TEXT   NOT NULL,
    origin             TEXT   NOT NULL,
    draining           BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    workers_spawned    BIGINT NOT NULL,
    workers_terminated BIGINT NOT NULL
);

CREATE TABLE workers (
    process_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    pool_name  TEXT   NOT NULL,
    capacity   BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    identity   TEXT,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX workers_open ON workers (pool_name) WHERE ended_at IS NULL;
CREATE INDEX workers_ended ON workers (ended_at) WHERE ended_at IS NOT NULL;

-- process_id is the open assignment. ended_at is set where rest is terminated or failed, so an agent that holds a slot
-- has none: one small index finds both the agents of a worker and the agents that a supervisor must know.
CREATE TABLE agents (
    agent_id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
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
);
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
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Numbered 1, 2, 3, ... without gaps, and pruned from the lowest on.
CREATE TABLE events (
    seq        BIGINT NOT NULL PRIMARY KEY,
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
);
INSERT INTO event_mark (id, seq) VALUES (1, 0);
