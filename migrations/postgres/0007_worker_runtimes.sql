-- The version of the runtime's definition by which a worker starts programs. NULL is a worker of a Muster that kept none.
ALTER TABLE workers ADD COLUMN runtime_version TEXT;
