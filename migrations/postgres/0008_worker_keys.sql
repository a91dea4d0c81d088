-- What a worker's messages are signed with, in hex: kept for the next supervisor. Null for a worker of an earlier version.
ALTER TABLE workers ADD COLUMN secret TEXT;
