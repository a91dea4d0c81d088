//! What needs a person.

use axum::Json;

use crate::door::Leader;
use crate::json::AlertJson;

/// Lists the alerts that last, and those that are over, the newest first
///
/// At most 1,000 are kept, in memory: a new supervisor begins with what it sees.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "watching", responses(
    (status = 200, description = "The alerts", body = Vec<AlertJson>),
))]
pub(super) async fn list(Leader(handle): Leader) -> Json<Vec<AlertJson>> {
    Json(handle.alerts().into_iter().map(AlertJson::from).collect())
}
