-- How a worker ended, as JSON: its cause, its last words, what followed. Null while it lives, and for one that ended under an
-- earlier version.
ALTER TABLE workers ADD COLUMN ending TEXT;
