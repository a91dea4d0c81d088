-- How often a person has sent a task to the queue again. Each time it has all its attempts before it.
ALTER TABLE tasks ADD COLUMN redrives BIGINT NOT NULL DEFAULT 0;
