-- A restart that somebody asked for is stored before it is acknowledged: the epoch that is to end, so that another follows.
-- A later epoch is the one that followed, so nobody needs to take the mark away.
ALTER TABLE agents ADD COLUMN restart_of BIGINT;
