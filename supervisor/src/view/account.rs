//! What tenants may do, and what was used.

use std::time::Duration;

use muster_domain::budget::Budget;
use muster_domain::{TenantLimits, Usage};
use muster_policy::quota::QuotaLeft;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::number::seconds;

/// A tenant's limits, and what is left of them. Null is no limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = QuotaJson)]
pub struct QuotaView {
    /// The tenant.
    pub tenant: String,
    /// What it may do.
    pub limits: LimitsView,
    /// Its tasks that run; counted only where some tenant has a `max_running`.
    pub running: u32,
    /// What is left of its rate and of its day.
    pub left: LeftView,
}

/// What a tenant may do, as the configuration says.
// Not the setting itself, which leaves out what has no bound: an answer has every field.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitsJson)]
pub struct LimitsView {
    /// Its share while others wait too.
    pub weight: u32,
    /// Tasks that run at a time.
    pub max_running: Option<u32>,
    /// Tasks that it may submit per second.
    pub rate: Option<f64>,
    /// Tasks that it may submit in a day of UTC.
    pub per_day: Option<u64>,
}

impl From<TenantLimits> for LimitsView {
    fn from(limits: TenantLimits) -> Self {
        let TenantLimits { weight, max_running, rate, per_day } = limits;
        Self { weight, max_running, rate, per_day }
    }
}

/// What a tenant may submit now.
// Not the policy's own type: a duration is seconds here.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LeftJson)]
pub struct LeftView {
    /// Tasks that its rate lets in at once.
    pub at_once: Option<u64>,
    /// Tasks that its day lets in.
    pub today: Option<u64>,
    /// Seconds until its day ends.
    #[serde(rename = "day_ends_in_seconds", serialize_with = "seconds")]
    #[schema(value_type = f64)]
    pub day_ends_in: Duration,
}

impl From<QuotaLeft> for LeftView {
    fn from(left: QuotaLeft) -> Self {
        let QuotaLeft { at_once, today, day_ends_in } = left;
        Self { at_once, today, day_ends_in }
    }
}

/// What was used on one account by attempts that are over, and what may be.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AccountJson)]
pub struct UsageView {
    /// The agent's id, or the name of the project, tenant or pool.
    pub name: String,
    /// What was used.
    #[serde(serialize_with = "usage")]
    #[schema(value_type = UsageFigures)]
    pub usage: Usage,
    /// Null where there is no budget.
    pub budget: Option<BudgetFigures>,
}

/// What was used.
// Not the domain's own type: that counts millionths of a dollar, so that sums are exact.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = UsageJson)]
pub struct UsageFigures {
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// In US dollars.
    pub cost_usd: f64,
}

impl From<Usage> for UsageFigures {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: usage.cost_micros as f64 / 1e6,
        }
    }
}

/// Usage, as it is shown.
pub(super) fn usage<S: Serializer>(usage: &Usage, serializer: S) -> Result<S::Ok, S::Error> {
    UsageFigures::from(*usage).serialize(serializer)
}

/// What may be used. Null is no bound.
// Not the setting itself, which leaves out what has no bound: an answer has every field.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BudgetJson)]
pub struct BudgetFigures {
    /// Tokens read and written.
    pub tokens: Option<u64>,
    /// In US dollars.
    pub cost_usd: Option<f64>,
}

impl From<Budget> for BudgetFigures {
    fn from(budget: Budget) -> Self {
        Self { tokens: budget.tokens, cost_usd: budget.cost.map(|cost| cost.micros as f64 / 1e6) }
    }
}
