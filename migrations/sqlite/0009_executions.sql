-- Attempts at tasks that are over: all of them, and those that ended well and badly. Kept over masters, whatever is pruned.
ALTER TABLE system ADD COLUMN executions           BIGINT NOT NULL DEFAULT 0;
ALTER TABLE system ADD COLUMN executions_succeeded BIGINT NOT NULL DEFAULT 0;
ALTER TABLE system ADD COLUMN executions_failed    BIGINT NOT NULL DEFAULT 0;

-- The stretches of time in which a supervisor led, each without a step of the clock: from when to when it was seen. What is kept for
-- a time after its end is kept for so much of them.
CREATE TABLE lives (
    fence    BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL,
    part     BIGINT NOT NULL,
    PRIMARY KEY (fence, part)
) WITHOUT ROWID;
