-- The notice that the capacity under a worker will be taken away, and the worker that was started in its place.
ALTER TABLE workers ADD COLUMN noticed_at BIGINT;
ALTER TABLE workers ADD COLUMN interrupt_deadline BIGINT;
ALTER TABLE workers ADD COLUMN replaced_by TEXT;

-- Of which tier of its pool's capacity a worker is, and on which type of instance it runs.
ALTER TABLE workers ADD COLUMN tier TEXT;
ALTER TABLE workers ADD COLUMN instance_type TEXT;
