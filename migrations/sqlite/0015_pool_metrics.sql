-- What pools were and did over a time that ends `at`, and all pools together under the name ''. Figures of single moments are sums over
-- `looks`, so that rows add up: their mean is the sum / looks. tier: raw (as measured), 5m, 1h.
CREATE TABLE pool_metrics (
    pool_name              TEXT   NOT NULL,
    tier                   TEXT   NOT NULL,
    at                     BIGINT NOT NULL,
    covers_ms              BIGINT NOT NULL,
    looks                  BIGINT NOT NULL,
    workers                BIGINT NOT NULL,
    slots                  BIGINT NOT NULL,
    taken_slots            BIGINT NOT NULL,
    busy_slots             BIGINT NOT NULL,
    health_millionths      BIGINT NOT NULL,
    active_agents          BIGINT NOT NULL,
    idle_agents            BIGINT NOT NULL,
    busy_agents            BIGINT NOT NULL,
    waiting_agents         BIGINT NOT NULL,
    failed_agents          BIGINT NOT NULL,
    queue_depth            BIGINT NOT NULL,
    running_tasks          BIGINT NOT NULL,
    oldest_wait_ms         BIGINT NOT NULL,
    attempts               BIGINT NOT NULL,
    attempts_succeeded     BIGINT NOT NULL,
    attempts_failed        BIGINT NOT NULL,
    tasks_ended            BIGINT NOT NULL,
    response_ms            BIGINT NOT NULL,
    waits                  TEXT   NOT NULL,
    runs                   TEXT   NOT NULL,
    input_tokens           BIGINT NOT NULL,
    output_tokens          BIGINT NOT NULL,
    cost_micros            BIGINT NOT NULL,
    measured_looks         BIGINT NOT NULL,
    cpu_millionths         BIGINT NOT NULL,
    memory_bytes           BIGINT NOT NULL,
    cpu_granted_millionths BIGINT NOT NULL,
    memory_granted_bytes   BIGINT NOT NULL,
    pressure_looks         BIGINT NOT NULL,
    cpu_pressure           BIGINT NOT NULL,
    memory_pressure        BIGINT NOT NULL,
    io_pressure            BIGINT NOT NULL,
    PRIMARY KEY (pool_name, tier, at)
) WITHOUT ROWID;

-- Old rows go tier by tier, and a tier is summed up from the one before.
CREATE INDEX pool_metrics_by_time ON pool_metrics (tier, at);

-- The latest day in the words of an earlier system: usage in percent of what the host grants, null where it was not measured.
CREATE VIEW cluster_metrics AS SELECT
    pool_name AS cluster_id,
    queue_depth AS queue_length,
    CASE WHEN cpu_granted_millionths > 0 THEN 100.0 * cpu_millionths / cpu_granted_millionths END AS cpu_usage,
    CASE WHEN memory_granted_bytes > 0 THEN 100.0 * memory_bytes / memory_granted_bytes END AS memory_usage,
    active_agents, idle_agents, busy_agents,
    strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS timestamp
FROM pool_metrics WHERE tier = 'raw' AND pool_name <> '';
