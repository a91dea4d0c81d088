-- By which machine's clock a life went: another machine's may be a little behind, and was not set for that. Null for a life of an
-- earlier version.
ALTER TABLE lives ADD COLUMN host    TEXT;
ALTER TABLE lives ADD COLUMN boot_id TEXT;

-- The step of a clock for which a task's wait was moved last: the tasks of a step move some at a time, and each once.
ALTER TABLE tasks ADD COLUMN moved_for TEXT;
