//! What was used, by account.

use muster_domain::Usage;
use muster_domain::budget::Budget;
use muster_supervisor::{Page, UsageView};
use serde::Serialize;
use utoipa::ToSchema;

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageJson {
    input_tokens: u64,
    output_tokens: u64,
    /// In US dollars.
    cost_usd: f64,
}

impl From<Usage> for UsageJson {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: usage.cost_micros as f64 / 1e6,
        }
    }
}

/// What was used on one account by attempts that are over, and what may be.
#[derive(Debug, Serialize, ToSchema)]
struct AccountJson {
    /// The agent's id, or the name of the project, tenant or pool.
    name: String,
    usage: UsageJson,
    /// Null where there is no budget.
    budget: Option<BudgetJson>,
}

/// What may be used. Null is no bound.
#[derive(Debug, Serialize, ToSchema)]
struct BudgetJson {
    tokens: Option<u64>,
    /// In US dollars.
    cost_usd: Option<f64>,
}

impl From<Budget> for BudgetJson {
    fn from(budget: Budget) -> Self {
        Self { tokens: budget.tokens, cost_usd: budget.cost.map(|cost| cost.micros as f64 / 1e6) }
    }
}

/// Accounts in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsagePage {
    items: Vec<AccountJson>,
    /// What `cursor` is for the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page<UsageView, String>> for UsagePage {
    fn from(page: Page<UsageView, String>) -> Self {
        let account = |view: UsageView| AccountJson {
            name: view.name,
            usage: view.usage.into(),
            budget: view.budget.map(Into::into),
        };
        Self { items: page.items.into_iter().map(account).collect(), next_cursor: page.next }
    }
}
