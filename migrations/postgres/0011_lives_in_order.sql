-- Only SQLite has something to change here.
SELECT 1;
