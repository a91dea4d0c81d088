-- What a person has closed of a pool's queue, and of all queues.
ALTER TABLE pools ADD COLUMN paused BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pools ADD COLUMN intake_closed BIGINT NOT NULL DEFAULT 0;

-- One row.
CREATE TABLE system (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    paused BIGINT NOT NULL
);
INSERT INTO system (id, paused) VALUES (1, 0);
