-- How many workers a pool is to have, where somebody has said so, and when that was changed last.
ALTER TABLE pools ADD COLUMN target_workers BIGINT;
ALTER TABLE pools ADD COLUMN last_scaled_at BIGINT;
