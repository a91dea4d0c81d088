-- Which launcher started a worker: it stays with that one. Null for a worker of an earlier version, which had one only: local.
ALTER TABLE workers ADD COLUMN launcher TEXT;
