//! What tenants may do.

use axum::Json;
use axum::http::HeaderValue;
use axum::response::Response;
use muster_domain::DEFAULT_TENANT;
use muster_supervisor::Handle;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::door::Leader;
use crate::json::{QuotaJson, rate_limit};
use crate::problem::Problem;
use crate::query::StrictQuery;

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
    (status = 200, description = "Its limits", body = QuotaJson),
    (status = 422, description = "That is no tenant's name (`invalid_field`)"),
))]
pub(super) async fn quota(
    Leader(handle): Leader,
    StrictQuery(query): StrictQuery<TenantQuery>,
) -> Result<Json<QuotaJson>, Problem> {
    Ok(Json(handle.quota(query.tenant.as_deref().unwrap_or(DEFAULT_TENANT)).await?.into()))
}

/// Adds what is left to an answer to a tenant that has limits.
pub(super) async fn tell(handle: &Handle, tenant: &str, mut response: Response) -> Response {
    // The answer is what it is, whether this can be told or not.
    if let Ok(view) = handle.quota(tenant).await
        && let Some(text) = rate_limit(&view.left)
        && let Ok(value) = HeaderValue::try_from(text)
    {
        response.headers_mut().insert("ratelimit", value);
    }
    response
}
