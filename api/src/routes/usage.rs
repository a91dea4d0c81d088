//! What was used.

use axum::Json;
use muster_domain::budget::Scope;
use muster_supervisor::UsageView;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::Routes;
use crate::json::page;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{MAX_PAGE, StrictQuery, page_limit};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(usage))
}

/// Whose usage to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// `agent`, `project`, `tenant` or `pool`; a task shows its own usage.
    #[param(inline)]
    scope: AccountScope,
    /// Accounts of a page, 1 to 1,000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// By what accounts are summed.
// Not the domain's `Scope`: a task's own usage is shown with the task.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AccountScope {
    Agent,
    Project,
    Tenant,
    Pool,
}

impl From<AccountScope> for Scope {
    fn from(scope: AccountScope) -> Self {
        match scope {
            AccountScope::Agent => Self::Agent,
            AccountScope::Project => Self::Project,
            AccountScope::Tenant => Self::Tenant,
            AccountScope::Pool => Self::Pool,
        }
    }
}

page! {
    /// Accounts in the order of their names.
    UsagePage of UsageView, from String
}

/// Lists what was used by the attempts that are over, summed by account
#[utoipa::path(get, path = "/api/v1/usage", tag = "tasks", params(UsageQuery), responses(
    (status = 200, description = "A page of accounts, in the order of their names", body = UsagePage),
    (status = 422, description = "There is no such scope (`invalid_parameter`)"),
))]
async fn usage(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<UsageQuery>,
) -> Result<Json<UsagePage>, Problem> {
    let limit = page_limit(query.limit, MAX_PAGE)?;
    let after = query.cursor.as_deref().unwrap_or_default();
    Ok(Json(caller.tasks().usage(query.scope.into(), after, limit).await?.into()))
}
