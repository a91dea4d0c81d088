-- The columns of the key come first in a table without row ids: SQLite 3.40, which Debian 12 has, else says of a healthy file
-- "NULL value in lives.began_at" where somebody asks it for `PRAGMA integrity_check`.
CREATE TABLE lives_in_order (
    fence    BIGINT NOT NULL,
    part     BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL,
    PRIMARY KEY (fence, part)
) WITHOUT ROWID;
INSERT INTO lives_in_order (fence, part, began_at, seen_at) SELECT fence, part, began_at, seen_at FROM lives;
DROP TABLE lives;
ALTER TABLE lives_in_order RENAME TO lives;
