-- What tasks have used, summed for each agent, project, tenant and pool; written with the end of the attempt that used it.
CREATE TABLE usage_totals (
    scope         TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    input_tokens  BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_micros   BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
