-- Who has said how many workers a pool is to have, and until when a person's word holds its policies.
ALTER TABLE pools ADD COLUMN target_is_persons BIGINT NOT NULL DEFAULT 1;
ALTER TABLE pools ADD COLUMN person_until BIGINT;

-- Agents that a pool started by itself for its tasks: they end when workers leave, the others move.
ALTER TABLE agents ADD COLUMN on_demand BIGINT NOT NULL DEFAULT 0;

-- What was decided about how many workers a pool is to have, by whom and why, and what came of it.
CREATE TABLE scaling_decisions (
    decision_id TEXT   NOT NULL PRIMARY KEY,
    pool_name   TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    from_count  BIGINT,
    to_count    BIGINT,
    max_agents  BIGINT NOT NULL,
    hold        TEXT,
    advised     BIGINT NOT NULL,
    decided_by  TEXT,
    reason      TEXT   NOT NULL,
    inputs      TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    ended_at    BIGINT,
    result      TEXT
);
CREATE INDEX scaling_decisions_of_pool ON scaling_decisions (pool_name, decision_id);
CREATE INDEX scaling_decisions_by_time ON scaling_decisions (at);
