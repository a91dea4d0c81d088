//! What was used, summed by account.

use muster_domain::Usage;
use muster_domain::budget::Scope;

use crate::sql::{Fields, Step, Value};
use crate::{StoreError, UsageAdded};

const ADD: &str = "INSERT INTO usage_totals (scope, name, input_tokens, output_tokens, cost_micros) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (scope, name) DO UPDATE SET \
    input_tokens = CASE WHEN usage_totals.input_tokens + excluded.input_tokens > $6 THEN $6 \
    ELSE usage_totals.input_tokens + excluded.input_tokens END, \
    output_tokens = CASE WHEN usage_totals.output_tokens + excluded.output_tokens > $6 THEN $6 \
    ELSE usage_totals.output_tokens + excluded.output_tokens END, \
    cost_micros = CASE WHEN usage_totals.cost_micros + excluded.cost_micros > $6 THEN $6 \
    ELSE usage_totals.cost_micros + excluded.cost_micros END";

const PAGE: &str = "SELECT name, input_tokens, output_tokens, cost_micros FROM usage_totals \
    WHERE scope = $1 AND name > $2 ORDER BY name LIMIT CAST($3 AS BIGINT)";

const PRUNE: &str = "DELETE FROM usage_totals WHERE scope = 'agent' AND name IN (SELECT u.name FROM usage_totals u \
    WHERE u.scope = 'agent' AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.agent_id = u.name) LIMIT CAST($1 AS BIGINT))";

/// No sum is above this: an agent may say any number, and no two such sums overflow.
const MOST: u64 = 1 << 60;

pub(crate) fn add(added: &UsageAdded) -> Step {
    let count = |number: u64| Value::count(number.min(MOST));
    let UsageAdded { scope, name, usage } = added;
    let args = vec![
        Value::text(scope),
        Value::text(name),
        count(usage.input_tokens),
        count(usage.output_tokens),
        count(usage.cost_micros),
        Value::count(MOST),
    ];
    Step::new(ADD, args)
}

/// Accounts of a scope after this name, in order.
pub(crate) fn page(scope: Scope, after: &str, limit: u32) -> Step {
    Step::new(PAGE, vec![Value::text(scope), Value::text(after), Value::count(limit)])
}

/// Reads a row of [`page`].
pub(crate) fn read(mut fields: Fields) -> Result<(String, Usage), StoreError> {
    let name = fields.text()?;
    let (input_tokens, output_tokens, cost_micros) = (fields.count()?, fields.count()?, fields.count()?);
    Ok((name, Usage { input_tokens, output_tokens, cost_micros }))
}

/// Agents that are forgotten.
pub(crate) fn prune(limit: u32) -> Step {
    Step::new(PRUNE, vec![Value::count(limit)])
}
