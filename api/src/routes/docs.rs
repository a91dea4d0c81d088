//! The description of the API.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use utoipa_axum::routes;

use super::Routes;
use crate::openapi::DOCUMENT;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(document)).routes(routes!(page))
}

/// This description as an OpenAPI 3.1 document
#[utoipa::path(get, path = "/api/openapi.json", tag = "docs", responses(
    (status = 200, description = "The document", body = Object),
))]
async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.json.as_str())
}

/// This description as a page to read
#[utoipa::path(get, path = "/api/docs", tag = "docs", responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
))]
async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)], DOCUMENT.page.as_str())
}
