//! What was used, summed by account.

use std::sync::LazyLock;

use muster_domain::Usage;
use muster_domain::budget::Scope;

use crate::sql::{Batched, RowFields, SqlValue, Statement};
use crate::{StoreError, UsageAdded};

/// A sum, which is never above [`MOST`].
macro_rules! sum {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN usage_totals.",
            $column,
            " + excluded.",
            $column,
            " > 1152921504606846976 THEN 1152921504606846976 ELSE usage_totals.",
            $column,
            " + excluded.",
            $column,
            " END"
        )
    };
}

static ADD: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        5,
        concat!(
            "WITH e (scope, name, input_tokens, output_tokens, cost_micros) AS (VALUES {rows}) \
             INSERT INTO usage_totals (scope, name, input_tokens, output_tokens, cost_micros) \
             SELECT e.scope, e.name, e.input_tokens, e.output_tokens, e.cost_micros FROM e WHERE e.scope IS NOT NULL \
             ON CONFLICT (scope, name) DO UPDATE SET ",
            sum!("input_tokens"),
            ", ",
            sum!("output_tokens"),
            ", ",
            sum!("cost_micros")
        ),
    )
});

const PAGE: &str = "SELECT name, input_tokens, output_tokens, cost_micros FROM usage_totals \
    WHERE scope = $1 AND name > $2 ORDER BY name LIMIT CAST($3 AS BIGINT)";

const PRUNE: &str = "DELETE FROM usage_totals WHERE scope = 'agent' AND name IN (SELECT u.name FROM usage_totals u \
    WHERE u.scope = 'agent' AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.agent_id = u.name) LIMIT CAST($1 AS BIGINT))";

/// No sum is above this: an agent may say any number, and no two such sums overflow. It stands in the statement too.
pub(crate) const MOST: u64 = 1 << 60;

pub(crate) fn add(added: &[UsageAdded]) -> Vec<Statement> {
    let count = |number: u64| SqlValue::count(number.min(MOST));
    let rows = added.iter().enumerate().map(|(place, UsageAdded { scope, name, usage })| {
        let fields = vec![
            SqlValue::text(scope),
            SqlValue::text(name),
            count(usage.input_tokens),
            count(usage.output_tokens),
            count(usage.cost_micros),
        ];
        (place, (scope.to_string(), name.clone()), fields)
    });
    ADD.steps(rows).into_iter().map(|(step, _)| step).collect()
}

/// Accounts of a scope after this name, in order.
pub(crate) fn page(scope: Scope, after: &str, limit: u32) -> Statement {
    Statement::new(PAGE, vec![SqlValue::text(scope), SqlValue::text(after), SqlValue::count(limit)])
}

/// Reads a row of [`page`].
pub(crate) fn read(mut fields: RowFields) -> Result<(String, Usage), StoreError> {
    let name = fields.text()?;
    let (input_tokens, output_tokens, cost_micros) = (fields.count()?, fields.count()?, fields.count()?);
    Ok((name, Usage { input_tokens, output_tokens, cost_micros }))
}

/// Agents that are forgotten.
pub(crate) fn prune(limit: u32) -> Statement {
    Statement::new(PRUNE, vec![SqlValue::count(limit)])
}
