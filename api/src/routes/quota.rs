//! What tenants may do.

use axum::Json;
use axum::http::HeaderValue;
use axum::response::Response;
use muster_supervisor::{LeftView, QuotaView, Tasks};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::StrictQuery;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(quota))
}

/// Whose quota to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantQuery {
    /// The tenant: 1 to 128 characters without control characters. Default `default`.
    #[param(min_length = 1, max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    tenant: Option<String>,
}

/// Shows what a tenant may do, and what is left of it
#[utoipa::path(get, path = "/api/v1/quota", tag = "tasks", params(TenantQuery), responses(
    (status = 200, description = "Its limits", body = QuotaView),
    (status = 422, description = "That is no tenant's name (`invalid_field`)"),
))]
async fn quota(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<TenantQuery>,
) -> Result<Json<QuotaView>, Problem> {
    Ok(Json(caller.tasks().quota(query.tenant).await?))
}

/// Adds what is left to an answer to a tenant that has limits.
pub(super) async fn tell(tasks: &Tasks, tenant: Option<String>, mut response: Response) -> Response {
    // The answer is what it is, whether this can be told or not.
    if let Ok(view) = tasks.quota(tenant).await
        && let Some(text) = rate_limit(&view.left)
        && let Ok(value) = HeaderValue::try_from(text)
    {
        response.headers_mut().insert("ratelimit", value);
    }
    response
}

/// What is left as the header `RateLimit` (draft-ietf-httpapi-ratelimit-headers): a limit's name in the configuration, what
/// remains, and where it is known the seconds until there is more. Nothing where there are no limits.
fn rate_limit(left: &LeftView) -> Option<String> {
    let rate = left.at_once.map(|tasks| format!("\"rate\";r={tasks}"));
    let day = left.today.map(|tasks| format!("\"per_day\";r={tasks};t={}", left.day_ends_in.as_secs()));
    let parts: Vec<String> = rate.into_iter().chain(day).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::TenantLimits;
    use serde_json::json;
    use std::time::Duration;

    fn left(at_once: Option<u64>, today: Option<u64>) -> LeftView {
        LeftView { at_once, today, day_ends_in: Duration::from_millis(90_500) }
    }

    #[test]
    fn a_quota_says_what_may_be_done_and_what_is_left() {
        let limits = TenantLimits { max_running: Some(3), per_day: Some(100), ..TenantLimits::default() };
        let view =
            QuotaView { tenant: "acme".to_owned(), limits: limits.into(), running: 2, left: left(None, Some(7)) };
        let expected = json!({"tenant": "acme", "running": 2,
            "limits": {"weight": 1, "max_running": 3, "rate": null, "per_day": 100},
            "left": {"at_once": null, "today": 7, "day_ends_in_seconds": 90.5}});
        assert_eq!(serde_json::to_value(view).expect("an object"), expected);
    }

    #[test]
    fn the_header_has_what_is_limited() {
        assert_eq!(rate_limit(&left(None, None)), None);
        assert_eq!(rate_limit(&left(Some(4), None)).as_deref(), Some("\"rate\";r=4"));
        let both = rate_limit(&left(Some(0), Some(7)));
        assert_eq!(both.as_deref(), Some("\"rate\";r=0, \"per_day\";r=7;t=90"));
    }
}
